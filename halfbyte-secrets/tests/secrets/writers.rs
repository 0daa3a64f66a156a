//! Several writers of one local file: none loses what another wrote.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use halfbyte_core::config::Config;
use halfbyte_core::home::Home;
use halfbyte_secrets::Local;

const EACH: usize = 25;

fn expected(writers: usize) -> BTreeSet<String> {
    (0..writers).flat_map(|writer| (0..EACH).map(move |n| format!("w{writer}-{n}"))).collect()
}

fn write(home: &Home, writer: usize) {
    let local = Local::open(home).expect("opened");
    for n in 0..EACH {
        local.set(&format!("w{writer}-{n}"), &format!("value {n} of {writer}").into()).expect("set");
    }
}

#[test]
fn writers_in_one_process_do_not_lose_each_others_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path().join("home")).expect("opened");
    thread::scope(|scope| {
        for writer in 0..4 {
            let home = &home;
            scope.spawn(move || write(home, writer));
        }
    });
    let names: BTreeSet<_> = Local::open(&home).expect("opened").names().expect("read").into_iter().collect();
    assert_eq!(names, expected(4));
}

/// One writer of the test below when that starts it, with a home of its own when it runs by itself.
#[test]
fn a_writer_finds_all_that_it_wrote() {
    let config = Config::from_env().expect("configured");
    let folder = tempfile::tempdir().expect("a folder");
    let shared = config.other.get("SECRETS_TEST_HOME").map(PathBuf::from);
    let writer = config.other.get("SECRETS_TEST_WRITER").map_or(0, |number| number.parse().expect("a number"));
    let home = Home::open(shared.unwrap_or_else(|| folder.path().join("home"))).expect("opened");
    write(&home, writer);
    let names = Local::open(&home).expect("opened").names().expect("read");
    assert!((0..EACH).all(|n| names.contains(&format!("w{writer}-{n}"))), "{names:?}");
}

#[test]
fn processes_do_not_lose_each_others_secrets_and_make_one_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    let this_test = std::env::current_exe().expect("this program");
    let processes: Vec<_> = (0..3)
        .map(|writer| {
            Command::new(&this_test)
                .args(["--exact", "writers::a_writer_finds_all_that_it_wrote"])
                .env("SECRETS_TEST_HOME", &home)
                .env("SECRETS_TEST_WRITER", writer.to_string())
                .stdout(Stdio::null())
                .spawn()
                .expect("started")
        })
        .collect();
    for mut process in processes {
        assert!(process.wait().expect("ended").success());
    }
    let local = Local::open(&Home::open(&home).expect("opened")).expect("opened");
    let names: BTreeSet<_> = local.names().expect("one key opens all").into_iter().collect();
    assert_eq!(names, expected(3));
}
