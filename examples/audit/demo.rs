//! A log, what an attacker does with it, and what verifying says.

use std::error::Error;
use std::fs;

use halfbyte::core::{Principal, ProductId, TenantId};
use halfbyte::observe::audit::{self, AuditLog, Broken, Key, Outcome, Record, Verified, Who};
use jiff::Timestamp;

use crate::table;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub fn run() -> Result<()> {
    let home = tempfile::tempdir()?;
    let folder = home.path().join("audit");
    let parcel = ProductId::new("parcel")?;
    let key = Key::new(b"a key that attackers do not have").ok_or("a key has at least 32 bytes")?;
    let open = |key: Option<&Key>| {
        let builder = AuditLog::builder(&folder, &parcel, "1.2.3");
        key.cloned().map_or(builder.clone(), |key| builder.key(key)).open()
    };

    println!("# Records, each on the disk before its call returns\n");
    let log = open(Some(&key))?;
    for record in records()? {
        log.record_blocking(record)?;
    }
    let last = log.last();
    drop(log);
    table::print(&folder)?;

    let file = folder.join("audit-00000001.jsonl");
    let written = fs::read_to_string(&file)?;
    let lines: Vec<_> = written.split_inclusive('\n').collect();
    println!("\n# The same in the file\n\n{}", lines[2]);

    println!("# What verifying says\n");
    let verify = |what: &str, content: &str| -> Result<()> {
        fs::write(&file, content)?;
        say(what, audit::verify(&folder, Some(&key)));
        Ok(())
    };
    verify("as it was written", &written)?;
    verify("\"denied\" made \"allowed\"", &written.replacen("denied", "allowed", 1))?;
    verify("line 3 removed", &written.replacen(lines[2], "", 1))?;
    verify("line 3 twice", &written.replacen(lines[2], &lines[2].repeat(2), 1))?;
    verify("lines 3 and 4 swapped", &[lines[0], lines[1], lines[3], lines[2], lines[4]].concat())?;
    verify("the last line removed", &lines[..4].concat())?;
    say("the same, against the last hash", audit::verify_to(&folder, Some(&key), last.hash));
    fs::remove_file(&file)?;
    let forged = open(None)?;
    forged.record_blocking(Record::new("label.delete", "label", "L-17", Outcome::Allowed))?;
    drop(forged);
    say("all made anew without the key", audit::verify(&folder, Some(&key)));

    println!("\n# A process that was killed while it wrote\n");
    fs::write(&file, format!("{written}{}", &lines[4][..60]))?;
    say("before it is opened", audit::verify(&folder, Some(&key)));
    drop(open(Some(&key))?);
    say("afterwards", audit::verify(&folder, Some(&key)));
    println!();
    table::print(&folder)
}

fn records() -> Result<[Record; 4]> {
    let principal = |subject: &str| {
        Ok::<_, Box<dyn Error>>(Principal::builder(subject, TenantId::new("acme")?, Timestamp::MAX).build())
    };
    Ok([
        Record::new("label.make", "label", "L-17", Outcome::Allowed)
            .by(principal("ada")?)
            .from("192.0.2.7".parse()?)
            .detail("copies", 2),
        Record::new("label.delete", "label", "L-17", Outcome::denied("not the owner"))
            .by(principal("mallory")?)
            .from("198.51.100.9".parse()?),
        Record::new("label.print", "label", "L-17", Outcome::failed("out of paper")).by(principal("ada")?),
        Record::new("label.expire", "label", "L-3", Outcome::Allowed).by(Who::System("nightly clean-up".into())),
    ])
}

fn say(what: &str, outcome: std::result::Result<Verified, Broken>) {
    match outcome {
        Ok(verified) => println!("{what:34} whole: {} records, {} repairs", verified.records, verified.repairs),
        Err(broken) => println!("{what:34} line {}: {}", broken.line, broken.why),
    }
}
