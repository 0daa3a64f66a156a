//! Three records of who did what, and one byte that somebody changes later.

use std::fs;

use halfbyte::core::{Principal, ProductId, TenantId};
use halfbyte::observe::audit::{self, AuditLog, Key, Outcome as Result, Record, Who};
use jiff::Timestamp;

use crate::{Outcome, Scene, check, heading};

pub fn show(scene: &Scene<'_>) -> Outcome {
    heading("An audit log, and one byte of it changed");
    let folder = scene.home.join("audit");
    let key = Key::new(b"a key that attackers do not have").ok_or("a key has at least 32 bytes")?;
    let log = AuditLog::builder(&folder, &ProductId::new("shop")?, "1.0.0").key(key.clone()).open()?;
    let ada = Principal::builder("ada", TenantId::new("acme")?, Timestamp::MAX).build();
    let clerk = Principal::builder("clerk", TenantId::new("acme")?, Timestamp::MAX).build();
    for record in [
        Record::new("price.set", "item", "tea", Result::Allowed).by(ada).detail("cents", 499),
        Record::new("refund.pay", "order", "42", Result::denied("over the limit")).by(clerk),
        Record::new("order.archive", "order", "7", Result::Allowed).by(Who::System("nightly clean-up".to_owned())),
    ] {
        log.record_blocking(record)?;
    }
    let last = log.last();
    drop(log);
    let verified = audit::verify_to(&folder, Some(&key), last.hash)?;
    println!("as written    whole: {} records, the last hash is {}", verified.records, verified.last.hash);
    check(verified.records == 3, "a record is missing")?;

    let file = folder.join("audit-00000001.jsonl");
    let mut bytes = fs::read(&file)?;
    // With its name: a hash may have these digits too.
    const NAMED: &str = r#""cents":499"#;
    let amount = String::from_utf8(bytes.clone())?.find(NAMED).ok_or("the amount is not in the log")?;
    bytes[amount + NAMED.len() - 3] = b'1';
    fs::write(&file, bytes)?;
    let broken = audit::verify(&folder, Some(&key)).err().ok_or("a changed byte was not found")?;
    println!("499 made 199  line {}: {}", broken.line, broken.why);
    check(broken.line == 2, "the wrong line is blamed")
}
