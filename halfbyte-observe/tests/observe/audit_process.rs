//! Processes that are killed while they record, or find the disk full: this test binary again, with a role to play.

use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use halfbyte_core::config::Config;
use halfbyte_observe::audit::{self, Event, verify, verify_to};

use crate::audit::{builder, record};

const MARK: &str = "> ";
const ROLE: &str = "AUDIT_ROLE";
const FOLDER: &str = "AUDIT_FOLDER";

fn play(mut command: Command, role: &str, folder: &Path) -> std::process::Child {
    command.args(["--exact", "audit_process::another_process", "--nocapture", "--test-threads", "1"]);
    command.envs([(ROLE, OsStr::new(role)), (FOLDER, folder.as_os_str())]).stdout(Stdio::piped()).spawn().unwrap()
}

fn said(line: &str) -> Option<String> {
    Some(line.split_once(MARK)?.1.to_owned())
}

fn say(what: impl std::fmt::Display) {
    io::stdout().write_all(format!("{MARK}{what}\n").as_bytes()).unwrap();
    io::stdout().flush().unwrap();
}

/// Does nothing unless it was started with a role.
#[test]
fn another_process() {
    let config = Config::from_env().unwrap();
    let (Some(role), Some(folder)) = (config.other.get(ROLE), config.other.get(FOLDER)) else { return };
    // The harness has left its line open.
    println!();
    let folder = Path::new(folder);
    match role {
        "record" => for_ever(folder),
        "fill" => fill(folder),
        other => panic!("no such role: {other}"),
    }
}

/// Four threads record for ever, with files that rotate all the time, and say what was acknowledged.
fn for_ever(folder: &Path) {
    let log = builder(folder).rotate_at(10_000).open().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for number in 0.. {
                    let link =
                        log.record_blocking(record(format!("{thread}-{number}")).detail("note", "x".repeat(900)));
                    say(link.unwrap().hash);
                }
            });
        }
    });
}

/// Records until the disk is full, and then hears that nothing more is recorded, each time.
fn fill(folder: &Path) {
    let log = builder(folder).open().unwrap();
    let mut taken = 0;
    let error = loop {
        match log.record_blocking(record(taken).detail("note", "x".repeat(900))) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    let source = std::error::Error::source(&error).unwrap().downcast_ref::<io::Error>().unwrap();
    assert!(error.is_storage());
    say(format!("{:?}", source.kind()));
    assert!(log.record_blocking(record(taken).detail("note", "x".repeat(900))).unwrap_err().is_storage());
    let verified = verify(folder.join("audit"), None).unwrap();
    assert_eq!((verified.records, verified.last), (taken, log.last()));
    drop(log);
    let log = builder(folder).open().unwrap();
    assert_eq!(log.last(), verified.last);
    say("whole");
}

#[test]
fn what_was_acknowledged_before_sigkill_is_in_the_log_and_the_chain_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..10 {
        let mut child = play(Command::new(std::env::current_exe().unwrap()), "record", folder.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut heard: Vec<_> = lines.by_ref().filter_map(|line| said(&line)).take(3 + 20 * round).collect();
        child.kill().unwrap();
        heard.extend(lines.filter_map(|line| said(&line)).filter(|hash| hash.len() == 64));
        child.wait().unwrap();
        acknowledged.extend(heard);
    }
    assert!(acknowledged.len() > 500, "{}", acknowledged.len());
    // Repairs what the last one has left.
    let log = builder(folder.path()).open().unwrap();
    log.record_blocking(record("after")).unwrap();
    let verified = verify(folder.path().join("audit"), None).unwrap();
    assert!(verified.records as usize > acknowledged.len());
    assert!(verified.repairs <= 10);
    let all: std::collections::HashSet<_> =
        audit::read(folder.path().join("audit")).unwrap().map(|entry| entry.unwrap().prev.to_string()).collect();
    for hash in &acknowledged {
        assert!(all.contains(hash), "{hash} was acknowledged and is not there");
    }
    let last = acknowledged.last().unwrap().parse().unwrap();
    verify_to(folder.path().join("audit"), None, last).unwrap();
    let repaired = audit::read(folder.path().join("audit")).unwrap();
    let repaired = repaired.filter(|entry| matches!(entry.as_ref().unwrap().event, Event::Repaired(_))).count();
    assert_eq!(repaired as u64, verified.repairs);
}

#[test]
fn a_file_that_cannot_grow_is_an_error_of_the_one_who_records() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    // In blocks of 512 or 1024 bytes, by the shell; the signal would kill it.
    command.args(["-c", "trap '' XFSZ; ulimit -f 100 && exec \"$@\"", "sh"]).arg(std::env::current_exe().unwrap());
    assert_eq!(outcome(play(command, "fill", folder.path())), ["FileTooLarge", "whole"]);
}

#[test]
fn a_full_file_system_is_an_error_of_the_one_who_records() {
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=160k,mode=700 audit \"${FOLDER}\"");
    let mut probe = Command::new("unshare");
    let probe = probe.args(["-rm", "sh", "-c", &mount]).env(FOLDER, folder.path()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("left out: this machine lets no user mount; the limit on files is tried without");
        return;
    }
    let script = format!("{mount} && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script, "sh"]).arg(std::env::current_exe().unwrap());
    assert_eq!(outcome(play(command, "fill", folder.path())), ["StorageFull", "whole"]);
}

fn outcome(child: std::process::Child) -> Vec<String> {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text.lines().filter_map(said).collect()
}
