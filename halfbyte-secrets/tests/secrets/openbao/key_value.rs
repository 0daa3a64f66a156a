//! What is kept, and its versions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use halfbyte_secrets::{Ask, Error, ErrorKind, Name, Provider as _, Stage};

use super::server::{Answer, Request};
use super::{Bao, LOGIN, READ, app_role, openbao, read, value, version, version_of};

#[tokio::test]
async fn a_secret_is_asked_for_by_its_path_with_token_and_namespace() {
    let server = Bao::new().serve(|_| Answer::ok(version(4, r#"{"value":"hunter2"}"#))).await;
    let openbao = openbao(&server, app_role());
    assert_eq!(value(&openbao, "x").await.expect("there"), "hunter2");
    let asked = server.asked();
    assert_eq!(asked.iter().map(|request| request.line.as_str()).collect::<Vec<_>>(), [LOGIN, READ]);
    assert_eq!(asked[0].body, r#"{"role_id":"role","secret_id":"hunter2-id"}"#);
    assert_eq!(asked[0].header("x-vault-token"), None);
    assert_eq!(asked[1].token(), "s.1");
    for request in asked {
        assert_eq!(request.header("x-vault-namespace"), Some("team"));
        assert_eq!(request.header("x-vault-request"), Some("true"));
    }
}

#[tokio::test]
async fn a_known_version_is_unchanged_unless_it_was_made_anew() {
    let created = Arc::new(AtomicU64::new(1));
    let now = created.clone();
    let answer = move |_: &Request| {
        let created = format!("2030-01-0{}T00:00:00Z", now.load(Ordering::SeqCst));
        Answer::ok(version_of(1, r#"{"value":"x"}"#, &created))
    };
    let server = Bao::new().serve(answer).await;
    let openbao = openbao(&server, app_role());
    let name = Name::new("x").expect("a name");
    let first = format!("{:?}", read(&openbao, "x").await.expect("there"));
    let known = halfbyte_secrets::Version::new("1@2030-01-01T00:00:00Z");
    assert!(first.contains(known.as_str()), "{first}");
    let again = openbao.read(Ask::current(&name).knowing(Some(&known))).await.expect("there");
    assert!(again.value().is_none());
    // Removed with all its versions and put again: version 1, and another value.
    created.store(2, Ordering::SeqCst);
    let again = openbao.read(Ask::current(&name).knowing(Some(&known))).await.expect("there");
    assert!(again.value().is_some());
}

#[tokio::test]
async fn the_previous_value_is_the_version_below_if_it_is_still_there() {
    for (newest, below, expected) in [
        (3, Some(version(2, r#"{"value":"old"}"#)), Ok("old")),
        (3, Some(version(2, "null")), Err(ErrorKind::NotFound)),
        (3, None, Err(ErrorKind::NotFound)),
        (1, None, Err(ErrorKind::NotFound)),
    ] {
        let answer = move |request: &Request| match request.line.split_once("?version=") {
            None => Answer::ok(version(newest, r#"{"value":"new"}"#)),
            Some((_, number)) => {
                assert_ne!(number, "0", "which would be the newest");
                assert_eq!(number, (newest - 1).to_string());
                below.clone().map_or_else(|| Answer(404, "", r#"{"errors":[]}"#.into()), |body| Answer(200, "", body))
            }
        };
        let server = Bao::new().serve(answer).await;
        let openbao = openbao(&server, app_role());
        let name = Name::new("x").expect("a name");
        let reading = openbao.read(Ask::current(&name).stage_of(Stage::Previous)).await;
        let value = reading.map(|reading| String::from_utf8(reading.value().expect("a value").to_vec()).expect("text"));
        assert_eq!(value.as_deref().map_err(Error::kind), expected);
        let pending = openbao.read(Ask::current(&name).stage_of(Stage::Pending)).await;
        assert!(pending.is_err_and(|error| error.is_not_found()));
    }
}
