use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use halfbyte_billing::{Error, ErrorKind};
use halfbyte_core::{Clock, error_chain};

use crate::children;
use crate::support::{Desk, Folder, keyed, number, raw, request};

/// Leaves a journal with `keys` that the store does not have, as a killed process does.
async fn crash_with(folder: &Folder, keys: &str) {
    Desk::with_plan(&folder.home(), "endless").await.stop().await;
    let mut child = children::start(&folder.home(), "answer", keys);
    assert_eq!(child.line().as_deref(), Some("answered"));
    child.kill();
}

async fn error_of_opening(home: &Path) -> Error {
    match Desk::try_open(home, Clock::system()).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

/// The file of the one journal that has something in it.
fn journal_file(folder: &Folder) -> std::path::PathBuf {
    let files = folder.journals().into_iter().flat_map(|journal| ["a", "b"].map(|name| journal.join(name)));
    let mut full: Vec<_> = files.filter(|file| fs::metadata(file).expect("there").len() > 0).collect();
    assert_eq!(full.len(), 1, "{full:?}");
    full.remove(0)
}

#[tokio::test]
async fn what_a_dead_process_had_answered_for_is_counted_by_the_next() {
    let folder = Folder::new();
    crash_with(&folder, "one,two,three").await;
    let desk = Desk::open(&folder.home()).await;
    assert_eq!(desk.used("acme").await, 4);
    assert_eq!(desk.status("labels", keyed("acme", "two")).await, 200);
    assert_eq!(desk.used("acme").await, 4, "a retry of what was taken over counts once");
    assert_eq!(folder.journals().len(), 1, "only its own journal is left");
}

#[tokio::test]
async fn half_a_record_at_the_end_is_dropped_and_the_rest_counts() {
    let folder = Folder::new();
    crash_with(&folder, "one,two,three").await;
    let file = journal_file(&folder);
    let bytes = fs::read(&file).expect("read");
    fs::write(&file, &bytes[..bytes.len() - 7]).expect("cut");
    let desk = Desk::open(&folder.home()).await;
    assert_eq!(desk.used("acme").await, 3);
    assert_eq!(folder.journals().len(), 1);
}

#[tokio::test]
async fn a_damaged_journal_gives_what_can_be_read_and_is_kept_aside() {
    let folder = Folder::new();
    crash_with(&folder, "one,two,three").await;
    let file = journal_file(&folder);
    let mut bytes = fs::read(&file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&file, &bytes).expect("damaged");

    let desk = Desk::open(&folder.home()).await;
    assert_eq!(desk.used("acme").await, 3, "one of four cannot be read");
    let kept = folder.journals().into_iter().find(|path| path.extension().is_some_and(|end| end == "corrupt"));
    let kept = kept.expect("it is kept").join(file.file_name().expect("a name"));
    assert!(fs::read(kept).expect("read") == bytes, "it was changed");
    desk.stop().await;
    assert_eq!(Desk::open(&folder.home()).await.used("acme").await, 3, "it is not taken over again");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_reported_and_left_as_it_is() {
    let folder = Folder::new();
    Desk::with_plan(&folder.home(), "pro").await.stop().await;
    for garbage in [b"short".to_vec(), vec![0x5a; 8192]] {
        fs::write(folder.database(), &garbage).expect("overwritten");
        let error = error_of_opening(&folder.home()).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error_chain(&error));
        assert!(error.to_string().contains("billing.sqlite is damaged and was left as it is"), "{error}");
        assert!(fs::read(folder.database()).expect("read") == garbage, "it was changed");
    }
}

#[tokio::test]
async fn a_database_that_was_emptied_or_removed_is_reported_and_not_begun_anew() {
    let folder = Folder::new();
    Desk::with_plan(&folder.home(), "pro").await.stop().await;
    let database = folder.database();
    fs::write(&database, b"").expect("emptied");
    let error = error_of_opening(&folder.home()).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error_chain(&error).contains("store.made"), "{}", error_chain(&error));
    assert_eq!(fs::metadata(&database).expect("there").len(), 0);

    fs::remove_file(&database).expect("removed");
    assert_eq!(error_of_opening(&folder.home()).await.kind(), ErrorKind::Corrupt);
    assert!(!database.exists(), "it was made again");
}

#[tokio::test]
async fn a_database_with_one_damaged_page_is_reported_and_left_as_it_is() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    for count in 0..200 {
        assert_eq!(desk.status("labels", keyed("acme", &count.to_string())).await, 200);
    }
    desk.stop().await;
    // Connections that are closed at the same time can each leave the log to the other: a page there hides the one in the file.
    assert_eq!(number(&folder.database(), "PRAGMA wal_checkpoint(TRUNCATE)"), 0, "somebody still reads");
    // A page that nothing reads before the first event is written.
    let page = "SELECT rootpage FROM sqlite_schema WHERE name = 'events'";
    let page = usize::try_from(number(&folder.database(), page)).expect("a page");
    let mut bytes = fs::read(folder.database()).expect("read");
    bytes[(page - 1) * 4096..][..64].fill(0xa5);
    fs::write(folder.database(), &bytes).expect("damaged");
    let error = error_of_opening(&folder.home()).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error_chain(&error));
    assert!(fs::read(folder.database()).expect("read") == bytes, "it was changed");
}

#[tokio::test]
async fn a_database_of_a_later_version_or_of_another_program_is_refused() {
    for (change, says) in [("PRAGMA user_version = 99", "schema 99"), ("PRAGMA application_id = 7", "another program")]
    {
        let folder = Folder::new();
        Desk::with_plan(&folder.home(), "pro").await.stop().await;
        raw(&folder.database()).execute_batch(change).expect("changed");
        let error = error_of_opening(&folder.home()).await;
        assert_eq!(error.kind(), ErrorKind::Foreign);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn the_database_is_private_durable_and_shared_as_promised() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    for entry in walk(&folder.home()) {
        let mode = fs::metadata(&entry).expect("there").permissions().mode() & 0o077;
        assert_eq!(mode, 0, "{} is open to others", entry.display());
    }
    assert_eq!(number(&folder.database(), "SELECT journal_mode = 'wal' FROM pragma_journal_mode"), 1);
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("listed") {
        let path = entry.expect("listed").path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

#[tokio::test]
async fn a_journal_that_is_taken_away_stops_metered_requests_and_readiness() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    fs::remove_dir_all(&folder.journals()[0]).expect("removed");
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    assert_eq!(desk.status("labels", request("acme")).await, 503);
    assert_eq!(desk.status("tracking", request("acme")).await, 200, "what is not metered goes on");
    let check = desk.store_check();
    assert_eq!((check.ready, check.state), (false, "journal-failing"));
}

#[tokio::test]
async fn a_database_that_is_taken_away_is_reported_and_what_was_answered_for_waits_in_the_journal() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    assert_eq!(desk.used("acme").await, 1);
    let kept = folder.home().join("kept");
    fs::create_dir(&kept).expect("made");
    for end in ["", "-wal", "-shm"] {
        let name = format!("billing.sqlite{end}");
        fs::rename(folder.database().with_file_name(&name), kept.join(&name)).expect("moved");
    }
    assert_eq!(desk.status("labels", keyed("acme", "meanwhile")).await, 200, "a tranche is left");
    let error = desk.billing.flush(std::time::Duration::from_secs(2)).await.expect_err("there is no store");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(desk.store_check().state, "behind");
    for end in ["", "-wal", "-shm"] {
        let name = format!("billing.sqlite{end}");
        fs::rename(kept.join(&name), folder.database().with_file_name(&name)).expect("moved back");
    }
    assert_eq!(desk.used("acme").await, 2);
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_given_away_and_it_goes_on_when_there_is_room() {
    let folder = Folder::new();
    Desk::with_plan(&folder.home(), "endless").await.stop().await;
    let said = children::start(&folder.home(), "fill", "").join();
    let expected = ["before 200 ok", "full 503 journal-failing", "still-full 503 journal-failing", "full 200 ok", "2"];
    assert_eq!(said, expected, "the retry counts once");
    assert_eq!(Desk::open(&folder.home()).await.used("acme").await, 2);
}
