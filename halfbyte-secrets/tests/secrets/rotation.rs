use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use halfbyte_core::home::Home;
use halfbyte_core::live::Policy;
use halfbyte_secrets::{ExposeSecret as _, Files, Local, Secret, Secrets};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::lifecycle;

const ROTATIONS: usize = 50;

/// A value that shows when it is torn: its number, then the number repeated to a length that a write does in pieces.
fn whole(number: usize) -> String {
    let digits = format!("{number:04}");
    digits.repeat(4096)
}

fn number(value: &str) -> usize {
    let number = value[..4].parse().expect("digits");
    assert!(value == whole(number), "a torn value");
    number
}

/// Reads as fast as it can, and once more when told to stop; answers how often it read and the last number that it saw.
async fn reader(secret: Secret<String>, stop: Arc<AtomicBool>) -> (usize, usize) {
    let (mut reads, mut generation) = (0, 0);
    loop {
        let stopped = stop.load(Ordering::SeqCst);
        let snapshot = secret.load().expect("always there");
        assert!(snapshot.generation() >= generation, "an older generation came back");
        generation = snapshot.generation();
        let last = number(snapshot.expose_secret());
        reads += 1;
        if stopped {
            return (reads, last);
        }
        tokio::task::yield_now().await;
    }
}

async fn rotate(secrets: Secrets, mut write: impl FnMut(usize)) {
    write(0);
    let secret = secrets.get::<String>("token");
    secret.ready().await.expect("loaded");
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        readers.spawn(reader(secret.clone(), stop.clone()));
    }
    for next in 1..=ROTATIONS {
        let seen = secret.generation();
        write(next);
        timeout(Duration::from_secs(5), secret.changed(seen)).await.expect("each rotation is seen");
        assert_eq!(number(secret.load().expect("loaded").expose_secret()), next);
    }
    stop.store(true, Ordering::SeqCst);
    for (reads, last) in readers.join_all().await {
        assert_eq!(last, ROTATIONS, "a reader was left behind");
        assert!(reads > 1, "a reader never ran while the secret was rotated");
    }
}

/// As the default, but looked at more often, so that fifty rotations take a second and not a minute.
fn quick() -> Policy {
    let often = Duration::from_millis(10);
    Policy { fresh_for: often, backoff: often, max_backoff: often, ..Policy::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_readers_see_each_of_fifty_rotations_of_a_file_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path().join("mount")).expect("opened");
    let secrets = Secrets::builder(Files::new(home.path())).policy(quick()).build(&lifecycle());
    rotate(secrets, |next| home.replace("token", whole(next).as_bytes()).expect("replaced")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_readers_see_each_of_fifty_rotations_of_the_local_file_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path().join("home")).expect("opened");
    let local = Local::open(&home).expect("opened");
    let secrets = Secrets::builder(local.clone()).policy(quick()).build(&lifecycle());
    rotate(secrets, |next| local.set("token", &whole(next).into()).expect("set")).await;
}

#[tokio::test]
async fn a_file_rewritten_in_place_within_one_tick_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    fs::write(&path, "aaaa").expect("written");
    let secret = Secrets::builder(Files::new(folder.path())).policy(quick()).build(&lifecycle()).get::<String>("token");
    secret.ready().await.expect("loaded");
    // The same file, the same size, and often the same time stamp.
    for value in ["bbbb", "cccc", "dddd"] {
        let seen = secret.generation();
        fs::write(&path, value).expect("written");
        timeout(Duration::from_secs(2), secret.changed(seen)).await.expect("seen");
        assert_eq!(secret.load().expect("loaded").expose_secret(), value);
    }
}
