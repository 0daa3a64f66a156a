//! Folders as Kubernetes mounts them, swapped for real.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use halfbyte_secrets::{Ask, ErrorKind, ExposeSecret as _, Files, Name, Provider as _, Reading, Secret, Secrets};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::kubelet::{AtomicWriter, Payload};
use super::{chain, lifecycle};

const SWAPS: usize = 1000;

/// Well before the next look at a folder that is watched.
const SOON: Duration = Duration::from_secs(10);

struct Mount {
    folder: TempDir,
    writer: AtomicWriter,
}

impl Mount {
    fn holding(payload: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mount = Self { writer: AtomicWriter::new(folder.path()), folder };
        mount.write(payload);
        mount
    }

    fn write(&mut self, payload: &[(&str, &str)]) {
        let payload: Payload =
            payload.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        assert!(self.writer.write(&payload).expect("written"), "a swap");
    }

    fn files(&self) -> Files {
        Files::new(self.folder.path())
    }
}

/// A value that shows when it is torn, and the number that it was made of.
fn whole(number: usize) -> String {
    format!("{number:04}").repeat(512)
}

fn number(value: &[u8]) -> usize {
    let value = str::from_utf8(value).expect("text");
    let number = value[..4].parse().expect("digits");
    assert!(value == whole(number), "a torn value");
    number
}

fn number_of(reading: &Reading) -> usize {
    number(reading.value().expect("a value"))
}

/// Reads two names together, as fast as it can, until told to stop; answers how often they were new, and the last.
async fn pairs(files: Files, stop: Arc<AtomicBool>) -> (usize, usize) {
    let (mut changes, mut last) = (0, 0);
    loop {
        let stopped = stop.load(Ordering::SeqCst);
        let both = files.together(&["user", "password"]).await.expect("always there");
        let (user, password) = (number_of(&both[0]), number_of(&both[1]));
        assert_eq!(user, password, "a torn read");
        assert!(user >= last, "an older pair came back");
        changes += usize::from(user > last);
        last = user;
        if stopped {
            return (changes, last);
        }
    }
}

/// Follows a handle until it has the last value; it never goes back.
async fn follow(secret: Secret<String>, last: usize) {
    let mut seen = 0;
    loop {
        let snapshot = secret.load().expect("always there");
        let now = number(snapshot.expose_secret().as_bytes());
        assert!(now >= seen, "an older value came back");
        seen = now;
        if now == last {
            return;
        }
        secret.changed(snapshot.generation()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_swaps_are_seen_whole_by_all_and_all_end_with_the_last() {
    let mut mount = Mount::holding(&[("user", &whole(0)), ("password", &whole(0))]);
    let files = mount.files();
    let secrets = Secrets::new(files.clone(), &lifecycle());
    let handles = [secrets.get::<String>("user"), secrets.get::<String>("password")];
    for handle in &handles {
        handle.ready().await.expect("loaded");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        readers.spawn(pairs(files.clone(), stop.clone()));
    }
    let mut followers = JoinSet::new();
    for handle in &handles {
        followers.spawn(follow(handle.clone(), SWAPS));
    }
    let swaps = tokio::task::spawn_blocking(move || {
        for value in (1..=SWAPS).map(whole) {
            mount.write(&[("user", &value), ("password", &value)]);
        }
        mount
    });
    let _mount = swaps.await.expect("swapped");
    stop.store(true, Ordering::SeqCst);
    for (changes, last) in readers.join_all().await {
        assert_eq!(last, SWAPS, "a reader was left behind");
        assert!(changes > 1, "a reader never ran while the mount was swapped");
    }
    timeout(SOON, followers.join_all()).await.expect("both handles end with the last swap");
}

#[tokio::test]
async fn a_swap_shows_at_once_and_so_does_a_name_that_it_brings() {
    let mut mount = Mount::holding(&[("token", "one")]);
    let secrets = Secrets::new(mount.files(), &lifecycle());
    let (token, later) = (secrets.get::<String>("token"), secrets.get::<Option<String>>("later"));
    token.ready().await.expect("loaded");
    later.ready().await.expect("loaded");
    for value in ["two", "three"] {
        let seen = token.generation();
        mount.write(&[("token", value)]);
        timeout(SOON, token.changed(seen)).await.expect("seen before the next look");
        assert_eq!(token.load().expect("loaded").expose_secret(), value);
    }
    mount.write(&[("later", "here")]);
    timeout(SOON, later.changed(1)).await.expect("seen before the next look");
    assert_eq!(later.load().expect("loaded").expose_secret().as_deref(), Some("here"));
    let name = Name::new("token").expect("a name");
    let error = mount.files().read(Ask::current(&name)).await.expect_err("its name is gone");
    assert!(error.is_not_found(), "{error:?}");
}

#[tokio::test]
async fn a_folder_that_comes_later_and_one_that_comes_again_are_seen() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("mount");
    let token = Secrets::new(Files::new(&folder), &lifecycle()).get::<String>("token");
    assert!(token.ready().await.expect_err("not mounted").is_unavailable());
    for (seen, value) in ["one", "two"].into_iter().enumerate() {
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join("token"), value).expect("written");
        timeout(SOON, token.changed(seen as u64)).await.expect("seen before the next look");
        assert_eq!(token.load().expect("loaded").expose_secret(), value);
        fs::rename(&folder, parent.path().join(format!("away-{seen}"))).expect("moved");
    }
}

#[tokio::test]
async fn a_file_of_a_plain_folder_that_is_replaced_or_rewritten_shows_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    fs::write(&path, "one").expect("written");
    let token = Secrets::new(Files::new(folder.path()), &lifecycle()).get::<String>("token");
    token.ready().await.expect("loaded");
    fs::write(folder.path().join("draft"), "two").expect("written");
    fs::rename(folder.path().join("draft"), &path).expect("replaced");
    timeout(SOON, token.changed(1)).await.expect("seen before the next look");
    fs::write(&path, "three").expect("rewritten");
    timeout(SOON, async {
        while token.load().expect("loaded").expose_secret() != "three" {
            token.changed(token.generation()).await;
        }
    })
    .await
    .expect("seen before the next look");
}

#[tokio::test]
async fn two_who_wait_for_one_folder_are_both_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = Files::new(folder.path());
    let name = Name::new("token").expect("a name");
    files.read(Ask::current(&name)).await.expect_err("nothing is there");
    let mut waiting = JoinSet::new();
    for _ in 0..2 {
        let files = files.clone();
        waiting.spawn(async move { files.changed().await });
    }
    tokio::task::yield_now().await;
    fs::write(folder.path().join("token"), "one").expect("written");
    timeout(SOON, waiting.join_all()).await.expect("both are told");
}

#[tokio::test]
async fn names_are_read_together_or_not_at_all() {
    let mount = Mount::holding(&[("user", "u"), ("password", "p\n"), ("empty", "")]);
    let files = mount.files();
    let both = files.together(&["password", "user"]).await.expect("read");
    assert_eq!(both.iter().map(|reading| reading.value().expect("a value")).collect::<Vec<_>>(), [b"p", b"u"]);
    for (name, kind) in
        [("none", ErrorKind::NotFound), ("empty", ErrorKind::Malformed), ("../user", ErrorKind::InvalidName)]
    {
        assert_eq!(files.together(&["user", name]).await.expect_err(name).kind(), kind);
    }
}

#[tokio::test]
async fn only_what_the_swapped_folder_holds_counts() {
    let mount = Mount::holding(&[("token", "one")]);
    fs::write(mount.folder.path().join("beside"), "x").expect("written");
    let name = Name::new("beside").expect("a name");
    let error = mount.files().read(Ask::current(&name)).await.expect_err("not of the mount");
    assert!(error.is_not_found(), "{error:?}");
}

#[tokio::test]
async fn a_mount_whose_data_leads_nowhere_is_unavailable() {
    let folder = tempfile::tempdir().expect("a folder");
    symlink("..gone", folder.path().join("..data")).expect("linked");
    let name = Name::new("token").expect("a name");
    let error = Files::new(folder.path()).read(Ask::current(&name)).await.expect_err("dangling");
    assert!(error.is_unavailable() && chain(&error).contains("..data leads to a folder"), "{error:?}");
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_is_malformed_and_nobody_waits_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("token")).status().expect("run");
    assert!(made.success());
    let name = Name::new("token").expect("a name");
    let error = timeout(SOON, Files::new(folder.path()).read(Ask::current(&name))).await.expect("no waiting");
    assert!(error.expect_err("a pipe").is_malformed());
}

/// How long `files` waits for a change, on a paused clock: not at all for what is told of.
async fn waits(files: &Files) -> Duration {
    let start = Instant::now();
    let _told_or_not = timeout(Duration::from_secs(60), files.changed()).await;
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_change_after_a_read_is_told_of_at_once_to_all_who_were_busy_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let (files, name) = (Files::new(folder.path()), Name::new("token").expect("a name"));
    files.read(Ask::current(&name)).await.expect_err("nothing is there");
    fs::write(folder.path().join("token"), "one").expect("written");
    assert_eq!(waits(&files).await, Duration::ZERO);
    // Another one has read meanwhile, in no time.
    assert_eq!(waits(&files).await, Duration::ZERO);
    // And one more took a while.
    sleep(Duration::from_millis(200)).await;
    let waited = waits(&files).await;
    assert!(waited > Duration::ZERO && waited < Duration::from_millis(850), "{waited:?}");
    // Then there is nothing to tell.
    sleep(Duration::from_secs(2)).await;
    assert_eq!(waits(&files).await, Duration::from_secs(60));
}

/// Without a watch: on a paused clock only looking is left, and that each second.
#[tokio::test(start_paused = true)]
async fn a_folder_that_cannot_be_watched_is_looked_at_each_second() {
    let files = Files::new(Path::new("/nonexistent/secrets"));
    for _ in 0..2 {
        let waited = waits(&files).await;
        assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(2), "{waited:?}");
    }
}
