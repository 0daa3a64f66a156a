use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use halfbyte_core::config::Config;
use halfbyte_secrets::{Ask, Error, ErrorKind, ExposeSecret as _, Files, Name, Provider as _, Reading, Secrets};
use tempfile::TempDir;

use super::{chain, lifecycle};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(path: &Path) -> Secrets {
    let url = format!("file://{}", path.display());
    let config = Config::parse([("HALFBYTE_SECRETS_URL", url)]).expect("configured");
    Secrets::open(&config, &lifecycle()).expect("opened")
}

async fn value(folder: &Path, content: &[u8]) -> Result<String, Error> {
    fs::write(folder.join("token"), content).expect("written");
    let secret = open(folder).get::<String>("token");
    secret.ready().await?;
    secret.load().map(|snapshot| snapshot.expose_secret().clone())
}

#[tokio::test]
async fn one_newline_at_the_end_is_not_part_of_a_value() {
    let folder = folder();
    for (content, expected) in
        [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), (" a \n", " a "), ("\na", "\na")]
    {
        assert_eq!(value(folder.path(), content.as_bytes()).await.expect("read"), expected, "{content:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_empty_or_too_large_or_no_file_is_malformed() {
    let folder = folder();
    let limit = 64 * 1024;
    for content in [vec![], b"\n".to_vec(), vec![b'x'; limit + 1]] {
        let error = value(folder.path(), &content).await.expect_err("refused");
        assert!(error.is_malformed(), "{error:?}");
        assert!(chain(&error).contains(&*folder.path().join("token").to_string_lossy()), "{}", chain(&error));
    }
    assert_eq!(value(folder.path(), &vec![b'x'; limit]).await.expect("just fits").len(), limit);

    fs::create_dir(folder.path().join("a-folder")).expect("made");
    let error = open(folder.path()).get::<String>("a-folder").ready().await.expect_err("a folder");
    assert!(error.is_malformed(), "{error:?}");
}

#[tokio::test]
async fn a_missing_file_is_not_found_but_a_missing_folder_is_unavailable() {
    let folder = folder();
    let error = open(folder.path()).get::<String>("token").ready().await.expect_err("not there");
    assert!(error.is_not_found(), "{error:?}");
    let away = folder.path().join("not-mounted");
    let error = open(&away).get::<Option<String>>("token").ready().await.expect_err("not mounted");
    assert!(error.is_unavailable(), "{error:?}");
    assert!(chain(&error).contains("not-mounted is not there"), "{}", chain(&error));
}

#[tokio::test]
async fn a_link_that_leads_nowhere_or_in_a_circle_is_an_error_and_no_value() {
    let folder = folder();
    symlink("nowhere", folder.path().join("dangling")).expect("linked");
    symlink("circle", folder.path().join("circle")).expect("linked");
    let secrets = open(folder.path());
    let error = secrets.get::<String>("dangling").ready().await.expect_err("dangling");
    assert!(error.is_not_found(), "{error:?}");
    let error = secrets.get::<String>("circle").ready().await.expect_err("circle");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn a_name_cannot_leave_the_folder() {
    let folder = folder();
    fs::create_dir(folder.path().join("in")).expect("made");
    fs::write(folder.path().join("out"), "hunter2").expect("written");
    let secrets = open(&folder.path().join("in"));
    for name in ["../out", "..", "/etc/passwd", ".hidden"] {
        let error = secrets.get::<String>(name).ready().await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::InvalidName, "{name}");
    }
}

#[tokio::test]
async fn a_file_that_has_rested_is_known_by_a_look_at_it() {
    let folder = folder();
    let (files, token) = (Files::new(folder.path()), Name::new("token").expect("a name"));
    let path = folder.path().join("token");
    fs::write(&path, "one").expect("written");
    let young = files.read(Ask::current(&token)).await.expect("read");
    assert!(format!("{young:?}").contains("version: None"), "a new file may change and look the same: {young:?}");

    tokio::time::sleep(Duration::from_millis(2100)).await;
    let rested = files.read(Ask::current(&token)).await.expect("read");
    let version = version_of(&rested);
    let again = files.read(Ask::current(&token).knowing(Some(&version))).await.expect("read");
    assert!(format!("{again:?}").contains("unchanged"), "{again:?}");

    let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("there");
    let mut in_place = fs::OpenOptions::new().write(true).open(&path).expect("opened");
    in_place.write_all(b"two").expect("written");
    in_place.set_modified(modified).expect("set back");
    let rewritten = files.read(Ask::current(&token).knowing(Some(&version))).await.expect("read");
    assert!(format!("{rewritten:?}").contains("REDACTED"), "the same file, size and time, rewritten: {rewritten:?}");

    fs::write(folder.path().join("draft"), "one").expect("written");
    fs::rename(folder.path().join("draft"), &path).expect("replaced");
    let replaced = files.read(Ask::current(&token).knowing(Some(&version))).await.expect("read");
    assert!(format!("{replaced:?}").contains("REDACTED"), "the same size, another file: {replaced:?}");
}

/// The version as its `Debug` form has it: what a provider is given back is opaque to everyone else.
fn version_of(reading: &Reading) -> halfbyte_secrets::Version {
    let shown = format!("{reading:?}");
    let version = shown.split("Version(\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a version");
    halfbyte_secrets::Version::new(version)
}
