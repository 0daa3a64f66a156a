//! The audit log as a product uses it, and as somebody would who wants to change it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use halfbyte_core::{Actor, Caller, Clock, Principal, PrincipalKind, ProductId, RequestId, TenantId, TraceId};
use halfbyte_observe::audit::{
    self, AuditLog, AuditLogBuilder, Broken, Event, Hash, Key, Link, Outcome, Record, Verified, Who, Why, verify,
    verify_to,
};
use jiff::{SignedDuration, Timestamp};

pub fn builder(folder: &Path) -> AuditLogBuilder {
    AuditLog::builder(folder.join("audit"), &ProductId::new("parcel").unwrap(), "1.2.3")
}

pub fn record(id: impl ToString) -> Record {
    Record::new("label.make", "label", id.to_string(), Outcome::Allowed)
}

fn key(byte: u8) -> Key {
    Key::new(&[byte; 32]).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.join("audit")).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some()).collect();
    files.sort();
    files
}

/// Two files of four lines: one by which the file begins, and three records.
fn written(folder: &Path, key: Option<Key>) -> Link {
    let mut last = None;
    for id in 0..6 {
        let builder = builder(folder).rotate_at(if id == 3 { 1 } else { u64::MAX });
        let builder = key.clone().map_or(builder.clone(), |key| builder.key(key));
        last = Some(builder.open().unwrap().record_blocking(record(id)).unwrap());
    }
    assert_eq!(files(folder).len(), 2);
    last.unwrap()
}

/// Makes the file anew: some file systems wait for the disk when one is emptied and written.
fn put(path: &Path, content: &[u8]) {
    _ = fs::remove_file(path);
    fs::write(path, content).unwrap();
}

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(folder).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn lines(content: &[u8]) -> Vec<Vec<u8>> {
    content.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn check(folder: &Path, key: Option<&Key>) -> Result<Verified, Broken> {
    verify(folder.join("audit"), key)
}

#[tokio::test]
async fn a_record_says_who_did_what_to_what_with_which_outcome_when_and_from_where() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual("2030-01-02T03:04:05.678Z".parse().unwrap());
    let log = builder(folder.path()).clock(clock).open().unwrap();
    let principal = Principal::builder("ada", TenantId::new("acme").unwrap(), Timestamp::MAX)
        .kind(PrincipalKind::Service)
        .issuer("https://id.example")
        .actors([Actor::new("bot"), Actor::new("boss").of_issuer("https://other.example")])
        .build();
    let record = Record::new("label.delete", "label", "L-17", Outcome::denied("not the \"owner\"\n"))
        .by(principal)
        .from("2001:db8::1".parse().unwrap())
        .request_id(RequestId::from_bytes(b"order-42").unwrap())
        .trace_id(TraceId([0xab; 16]))
        .detail("copies", 2)
        .detail("dry_run", false)
        .detail("note", "straße");
    let link = log.record(record).await.unwrap();
    assert_eq!(log.last(), link);
    let line = String::from_utf8(lines(&contents(folder.path())[0].1).remove(1)).unwrap();
    let (line, chain) = line.split_once(r#","prev":""#).unwrap();
    // A manual clock goes on by itself.
    let expected = r#"{"seq":2,"time":"2030-01-02T03:"#;
    assert!(line.starts_with(expected), "{line}");
    let expected = concat!(
        r#""product":"parcel","version":"1.2.3","event":"record","#,
        r#""who":{"kind":"service","subject":"ada","tenant":"acme","issuer":"https://id.example","#,
        r#""actors":[{"kind":"actor","subject":"bot","issuer":"https://id.example"},"#,
        r#"{"kind":"actor","subject":"boss","issuer":"https://other.example"}]},"#,
        r#""action":"label.delete","what":{"type":"label","id":"L-17"},"#,
        r#""outcome":"denied","reason":"not the \"owner\"\n","from":"2001:db8::1","request_id":"order-42","#,
        r#""trace_id":"abababababababababababababababab","#,
        r#""details":{"copies":2,"dry_run":false,"note":"straße"}"#,
    );
    assert_eq!(&line[line.find(r#""product""#).unwrap()..], expected);
    assert_eq!(&chain[64..], format!("\",\"hash\":\"{}\"}}\n", link.hash));
}

#[tokio::test]
async fn the_current_caller_is_who_did_it_unless_something_else_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let log = builder(folder.path()).open().unwrap();
    let principal = Principal::builder("ada", TenantId::new("acme").unwrap(), Timestamp::MAX).build();
    let mut caller = Caller::default();
    let records = caller.within(|| {
        Caller::tell(&principal);
        [record(0), record(1).by(Who::System("sweeper".to_owned())), record(2).by(Who::Anonymous)]
    });
    for record in records {
        log.record(record).await.unwrap();
    }
    log.record(record(3)).await.unwrap();
    let kinds: Vec<_> = audit::read(folder.path().join("audit"))
        .unwrap()
        .filter_map(|entry| match entry.unwrap().event {
            Event::Record(record) => Some((record.who.kind, record.who.subject)),
            _ => None,
        })
        .collect();
    let expected = [("user", Some("ada")), ("system", Some("sweeper")), ("anonymous", None), ("anonymous", None)];
    assert_eq!(kinds, expected.map(|(kind, subject)| (kind.to_owned(), subject.map(str::to_owned))));
}

#[test]
fn subjects_are_only_there_as_keyed_hashes_where_that_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    let log = builder(folder.path()).hash_subjects(key(1)).open().unwrap();
    for issuer in ["https://one.example", "https://two.example", "https://one.example"] {
        let principal = Principal::builder("ada-lovelace", TenantId::new("acme").unwrap(), Timestamp::MAX)
            .issuer(issuer)
            .actors([Actor::new("charles")])
            .build();
        log.record_blocking(record(0).by(principal)).unwrap();
    }
    let text = fs::read_to_string(&files(folder.path())[0]).unwrap();
    assert!(!text.contains("ada-lovelace") && !text.contains("charles"), "{text}");
    let hashes: Vec<_> = audit::read(folder.path().join("audit"))
        .unwrap()
        .filter_map(|entry| match entry.unwrap().event {
            Event::Record(record) => Some((record.who.subject_hash.unwrap(), record.who.actors[0].subject_hash)),
            _ => None,
        })
        .collect();
    assert_eq!(hashes[0], hashes[2]);
    assert_ne!(hashes[0], hashes[1], "a subject is one of an issuer");
}

#[test]
fn what_is_over_a_bound_is_refused_and_not_cut() {
    let folder = tempfile::tempdir().unwrap();
    let log = builder(folder.path()).open().unwrap();
    let long = |len| "x".repeat(len);
    let new = |action: &str, kind: &str, id: &str| Record::new(action, kind, id, Outcome::Allowed);
    let many = (0..33).fold(record(0), |record, detail| record.detail(format!("d{detail}"), 1));
    let refused = [
        new("", "label", "1"),
        new("two words", "label", "1"),
        new(&long(129), "label", "1"),
        new("make", "", "1"),
        new("make", "label", &long(1025)),
        Record::new("make", "label", "1", Outcome::failed(long(1025))),
        record(0).by(Who::System(long(1025))),
        record(0).detail("note", long(1025)),
        record(0).detail("", 1),
        many,
    ];
    for record in refused {
        let shown = format!("{record:?}");
        let error = log.record_blocking(record).unwrap_err();
        assert!(error.is_invalid() && !error.to_string().contains("xx"), "{error} of {shown}");
    }
    // The most that is taken, all of it in need of escapes.
    let bell = "\u{7}".repeat(1024);
    let most = (0..32).fold(Record::new(long(128), long(128), &bell, Outcome::failed(&bell)), |record, detail| {
        record.detail(format!("d{detail}"), bell.as_str())
    });
    log.record_blocking(most).unwrap();
    assert_eq!(check(folder.path(), None).unwrap().records, 1);
}

#[test]
fn every_byte_that_is_flipped_is_found_and_its_line_named() {
    for key in [None, Some(key(1))] {
        let folder = tempfile::tempdir().unwrap();
        let last = written(folder.path(), key.clone());
        let whole = check(folder.path(), key.as_ref()).unwrap();
        assert_eq!((whole.files, whole.lines, whole.records, whole.last), (2, 8, 6, last));
        for (path, content) in contents(folder.path()) {
            for place in 0..content.len() {
                // Another bit of each.
                let flip = 1 << (place % 8);
                let mut changed = content.clone();
                changed[place] ^= flip;
                put(&path, &changed);
                let what = format!("byte {place} of {} flipped by {flip}", path.display());
                let broken = check(folder.path(), key.as_ref()).expect_err(&what);
                assert_eq!(broken.file, path, "{what}");
                let line = 1 + content[..place].iter().filter(|byte| **byte == b'\n').count() as u64;
                assert_eq!(broken.line, line, "{what}");
                let found = match broken.why {
                    Why::Changed => true,
                    Why::Torn => place == content.len() - 1,
                    Why::Key => line == 1,
                    _ => false,
                };
                assert!(found, "{what}: {broken}");
                // By itself a file is as strict.
                verify(&path, key.as_ref()).expect_err(&what);
            }
            put(&path, &content);
        }
        check(folder.path(), key.as_ref()).unwrap();
    }
}

#[test]
fn a_file_cut_at_any_length_is_found_but_between_its_lines_at_the_end_only_against_a_known_hash() {
    let folder = tempfile::tempdir().unwrap();
    let last = written(folder.path(), None);
    for (index, (path, content)) in contents(folder.path()).into_iter().enumerate() {
        for len in 0..content.len() {
            put(&path, &content[..len]);
            let boundary = len == 0 || content[len - 1] == b'\n';
            let outcome = check(folder.path(), None);
            match (index, boundary) {
                (0, true) => {
                    assert!(matches!(outcome, Err(Broken { why: Why::Removed { .. } | Why::Changed, .. })) || len == 0)
                }
                (_, true) => assert!(outcome.is_ok(), "{outcome:?}"),
                (_, false) => assert!(matches!(outcome, Err(Broken { why: Why::Torn, .. })), "{outcome:?}"),
            }
            let known = verify_to(folder.path().join("audit"), None, last.hash);
            assert!(known.is_err() || (index == 0 && len == 0), "{len} bytes of file {index}: {known:?}");
            if index == 1 && boundary {
                assert!(matches!(known, Err(Broken { why: Why::Truncated, .. })), "{known:?}");
            }
        }
        put(&path, &content);
    }
    assert_eq!(verify_to(folder.path().join("audit"), None, last.hash).unwrap().last, last);
}

#[test]
fn a_line_that_is_removed_inserted_moved_or_replaced_is_found_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), None);
    // The same in another log: lines that are well formed, but not of this one.
    let other = tempfile::tempdir().unwrap();
    builder(other.path()).open().unwrap().record_blocking(record("forged")).unwrap();
    let forged = lines(&contents(other.path())[0].1).remove(1);
    let path = files(folder.path()).remove(0);
    let content = fs::read(&path).unwrap();
    let original = lines(&content);
    let broken = |lines: &[Vec<u8>]| {
        put(&path, &lines.concat());
        let broken = check(folder.path(), None).expect_err("it was changed");
        (broken.file == path, broken.line, broken.why)
    };
    for index in 1..original.len() {
        let line = index as u64 + 1;
        let mut removed = original.clone();
        removed.remove(index);
        let found = broken(&removed);
        if line == 4 {
            assert!(matches!(found, (false, 1, Why::Removed { lines: 1 })), "{found:?}: seen in the file behind");
        } else {
            assert!(matches!(found, (true, at, Why::Removed { lines: 1 }) if at == line), "{found:?}");
        }

        let mut doubled = original.clone();
        doubled.insert(index, original[index].clone());
        let found = broken(&doubled);
        assert!(matches!(found, (true, at, Why::Inserted) if at == line + 1), "{found:?}");

        for foreign in [&forged, &b"{}\n".to_vec(), &b"\n".to_vec()] {
            let mut inserted = original.clone();
            inserted.insert(index, foreign.clone());
            let found = broken(&inserted);
            assert!(matches!(found, (true, at, Why::Inserted) if at == line), "{line}: {found:?}");

            let mut replaced = original.clone();
            replaced[index] = foreign.clone();
            let (_, at, why) = broken(&replaced);
            assert!(at == line && matches!(why, Why::Changed | Why::Inserted), "{at}: {why:?}");
        }

        for to in (1..original.len()).filter(|to| *to != index) {
            let mut moved = original.clone();
            let line = moved.remove(index);
            moved.insert(to, line);
            let found = broken(&moved);
            let first = index.min(to) as u64 + 1;
            assert!(matches!(found, (true, at, Why::Reordered) if at == first), "{index} to {to}: {found:?}");
        }
    }
}

#[test]
fn files_that_are_removed_renamed_or_swapped_are_found() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), None);
    for id in 6..9 {
        builder(folder.path()).rotate_at(1).open().unwrap().record_blocking(record(id)).unwrap();
    }
    let [first, second, third, fourth, fifth] = files(folder.path()).try_into().unwrap();
    let aside = folder.path().join("aside");

    fs::rename(&third, &aside).unwrap();
    let broken = check(folder.path(), None).unwrap_err();
    assert!(broken.file == fourth && matches!(broken.why, Why::Removed { lines: 2 }), "{broken}");
    fs::rename(&fourth, &third).unwrap();
    assert_eq!(check(folder.path(), None).unwrap_err().file, third);
    fs::rename(&aside, &fourth).unwrap();
    let broken = check(folder.path(), None).unwrap_err();
    assert!(broken.file == third && matches!(broken.why, Why::Reordered), "{broken}");
    fs::rename(&fourth, &aside).unwrap();
    fs::rename(&third, &fourth).unwrap();
    fs::rename(&aside, &third).unwrap();

    // The oldest may be kept elsewhere; what is left says where it starts.
    fs::rename(&first, &aside).unwrap();
    assert_eq!(check(folder.path(), None).unwrap().first.sequence, 5);
    assert_eq!(verify(&second, None).unwrap().lines, 4);
    // The newest cannot be missed without a known hash.
    let last = check(folder.path(), None).unwrap().last;
    fs::remove_file(&fifth).unwrap();
    assert_eq!(check(folder.path(), None).unwrap().lines, 8);
    assert!(matches!(verify_to(folder.path().join("audit"), None, last.hash).unwrap_err().why, Why::Truncated));
}

#[test]
fn without_the_key_no_chain_can_be_made_that_verifies() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), Some(key(1)));
    assert!(matches!(check(folder.path(), None).unwrap_err().why, Why::Key));
    assert!(matches!(check(folder.path(), Some(&key(2))).unwrap_err().why, Why::Changed));
    // Anew from the beginning, without a key and with one of one's own.
    for forger in [None, Some(key(2))] {
        let forged = tempfile::tempdir().unwrap();
        written(forged.path(), forger);
        check(forged.path(), Some(&key(1))).unwrap_err();
    }
}

#[test]
fn without_a_key_a_chain_made_anew_verifies_but_not_against_a_known_hash() {
    let folder = tempfile::tempdir().unwrap();
    let link = written(folder.path(), None);
    fs::remove_dir_all(folder.path().join("audit")).unwrap();
    written(folder.path(), None);
    check(folder.path(), None).unwrap();
    assert!(matches!(verify_to(folder.path().join("audit"), None, link.hash).unwrap_err().why, Why::Truncated));
}

#[test]
fn a_log_goes_on_where_it_was_and_from_file_to_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut links = Vec::new();
    for start in (0..60).step_by(20) {
        let log = builder(folder.path()).rotate_at(2000).open().unwrap();
        links.extend((start..start + 20).map(|id| log.record_blocking(record(id)).unwrap()));
    }
    let verified = check(folder.path(), None).unwrap();
    assert_eq!((verified.records, verified.repairs, verified.first.sequence), (60, 0, 1));
    assert_eq!(verified.lines, 60 + verified.files);
    assert!((5..20).contains(&verified.files), "{verified:?}");
    for (path, content) in contents(folder.path()) {
        assert!(content.len() < 3000, "{} has {} bytes", path.display(), content.len());
    }
    for link in &links {
        assert_eq!(verify_to(folder.path().join("audit"), None, link.hash).unwrap(), verified);
    }
    assert_eq!(verify_to(folder.path().join("audit"), None, Hash::START).unwrap(), verified);
}

#[test]
fn what_a_dead_process_left_half_written_is_cut_off_and_the_chain_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let last = written(folder.path(), None);
    let (path, content) = contents(folder.path()).remove(1);
    for half in [1, 100, lines(&content)[3].len() - 1] {
        let line = &lines(&content)[3][..half];
        put(&path, &[&content[..], line].concat());
        assert!(matches!(check(folder.path(), None).unwrap_err().why, Why::Torn));
        let log = builder(folder.path()).open().unwrap();
        assert_eq!(log.last().sequence, 9);
        log.record_blocking(record("after")).unwrap();
        let verified = verify_to(folder.path().join("audit"), None, last.hash).unwrap();
        assert_eq!((verified.records, verified.repairs), (7, 1));
        let repaired = audit::read(&path).unwrap().nth(4).unwrap().unwrap();
        let Event::Repaired(cut) = repaired.event else { panic!("{repaired:?}") };
        assert_eq!(cut.cut_bytes, half as u64);
    }
}

#[test]
fn a_process_that_died_when_it_began_a_file_is_no_end_of_the_log() {
    for torn in [&b""[..], br#"{"seq":9,"time":"20"#] {
        let folder = tempfile::tempdir().unwrap();
        let last = written(folder.path(), None);
        let third = folder.path().join("audit/audit-00000003.jsonl");
        put(&third, torn);
        let log = builder(folder.path()).open().unwrap();
        log.record_blocking(record(7)).unwrap();
        let verified = verify_to(folder.path().join("audit"), None, last.hash).unwrap();
        assert_eq!((verified.files, verified.records, verified.repairs), (3, 7, u64::from(!torn.is_empty())));
    }
}

#[test]
fn only_the_end_of_the_log_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), None);
    put(&folder.path().join("audit/audit-00000003.jsonl"), b"");
    let (second, content) = contents(folder.path()).remove(1);
    put(&second, &content[..content.len() - 10]);
    assert!(builder(folder.path()).open().unwrap_err().is_broken());
}

#[test]
fn a_log_that_was_changed_is_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), None);
    let (path, mut content) = contents(folder.path()).remove(1);
    let error = builder(folder.path()).key(key(1)).open().unwrap_err();
    assert!(error.is_broken() && error.to_string().contains("with a key"), "{error}");
    content[40] ^= 1;
    put(&path, &content);
    let error = builder(folder.path()).open().unwrap_err();
    assert!(error.is_broken() && error.to_string().contains("audit-00000002.jsonl:1: "), "{error}");
}

#[test]
fn a_file_that_is_moved_away_under_the_open_log_is_noticed_with_the_next_record() {
    let folder = tempfile::tempdir().unwrap();
    let log = builder(folder.path()).open().unwrap();
    log.record_blocking(record(0)).unwrap();
    let path = files(folder.path()).remove(0);
    let aside = folder.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    assert!(log.record_blocking(record(1)).unwrap_err().is_broken());
    fs::copy(&aside, &path).unwrap();
    assert!(log.record_blocking(record(1)).unwrap_err().is_broken(), "a copy is not the file that is written to");
    fs::rename(&aside, &path).unwrap();
    log.record_blocking(record(1)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    assert!(log.record_blocking(record(2)).unwrap_err().is_broken());
}

#[test]
fn folders_are_0700_files_0600_and_what_is_open_to_others_or_a_link_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), None);
    let audit = folder.path().join("audit");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&audit), 0o700);
    for entry in fs::read_dir(&audit).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    fs::set_permissions(&audit, Permissions::from_mode(0o750)).unwrap();
    assert!(builder(folder.path()).open().unwrap_err().is_storage());
    fs::set_permissions(&audit, Permissions::from_mode(0o700)).unwrap();
    let link = tempfile::tempdir().unwrap();
    symlink(&audit, link.path().join("audit")).unwrap();
    assert!(builder(link.path()).open().unwrap_err().is_storage());
}

#[test]
fn one_process_writes_at_a_time_and_the_next_one_can_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = builder(folder.path()).open().unwrap();
    first.record_blocking(record(0)).unwrap();
    let error = builder(folder.path()).open().unwrap_err();
    assert!(error.is_in_use() && error.to_string().contains("another process"), "{error}");
    let path = folder.path().to_owned();
    let second = std::thread::spawn(move || {
        let log = builder(&path).patience(Duration::from_secs(60)).open().unwrap();
        log.record_blocking(record(1)).unwrap()
    });
    drop(first);
    assert_eq!(second.join().unwrap().sequence, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_that_record_at_once_make_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let log = builder(folder.path()).rotate_at(20_000).open().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..50 {
        let log = log.clone();
        tasks.spawn(async move {
            let mut links = Vec::new();
            for index in 0..20 {
                let id = format!("{task}-{index}");
                links.push((log.record(record(&id)).await.unwrap(), id));
            }
            links
        });
    }
    let of_tasks = tasks.join_all().await;
    assert!(of_tasks.iter().all(|links| links.is_sorted_by_key(|(link, _)| link.sequence)));
    let mut links = of_tasks.concat();
    links.sort_by_key(|(link, _)| link.sequence);
    let (links, ids): (Vec<_>, Vec<_>) = links.into_iter().unzip();
    assert_eq!(links.len(), 1000);
    assert_eq!(log.last(), links[999]);
    drop(log);
    let written = audit::read(folder.path().join("audit")).unwrap().map(Result::unwrap);
    let written = written.filter_map(|entry| match entry.event {
        Event::Record(record) => Some((entry.sequence, record.what.id)),
        _ => None,
    });
    let answered = links.iter().map(|link| link.sequence).zip(ids);
    assert!(written.eq(answered), "each heard where its own record stands");
    let verified = check(folder.path(), None).unwrap();
    assert_eq!((verified.records, verified.last), (1000, links[999]));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_changes_no_order_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual("2030-01-02T03:04:05Z".parse().unwrap());
    let log = builder(folder.path()).clock(clock.clone()).open().unwrap();
    for hours in [1, -5, 2, -1] {
        clock.jump(SignedDuration::from_hours(hours));
        log.record_blocking(record(hours)).unwrap();
    }
    let verified = check(folder.path(), None).unwrap();
    assert_eq!((verified.records, verified.clock_set_back), (4, 2));
    let ids: Vec<_> = audit::read(folder.path().join("audit"))
        .unwrap()
        .filter_map(|entry| match entry.unwrap().event {
            Event::Record(record) => Some(record.what.id),
            _ => None,
        })
        .collect();
    assert_eq!(ids, ["1", "-5", "2", "-1"]);
}

#[test]
fn where_there_is_no_log_none_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("none")] {
        assert!(matches!(verify(path, None).unwrap_err().why, Why::Unreadable(_)));
    }
}
