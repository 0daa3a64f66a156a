//! `openbao:` against a server that makes every fault there is; the real one is in the tests of the whole family.

mod server;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use halfbyte_secrets::live::Policy;
use halfbyte_secrets::openbao::{Auth, Credential, OpenBao, Settings};
use halfbyte_secrets::{Ask, Error, ErrorKind, ExposeSecret as _, Lease, Name, Provider as _, Reading, Secrets, Stage};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::server::{Answer, Request, Server};
use super::{chain, lifecycle};

const LOGIN: &str = "POST /v1/auth/approle/login";
const RENEW: &str = "POST /v1/auth/token/renew-self";
const REVOKE: &str = "POST /v1/auth/token/revoke-self";
const LOOK: &str = "GET /v1/auth/token/lookup-self";
const READ: &str = "GET /v1/secret/data/app/x";

/// Logins and tokens as a server has them; what else is asked is answered by the test.
#[derive(Clone)]
struct Bao(Arc<State>);

struct State {
    logins: AtomicUsize,
    valid: Mutex<HashSet<String>>,
    /// In seconds: of a login, and of a renewal.
    ttl: AtomicU64,
    renewed_ttl: AtomicU64,
    renewable: AtomicBool,
}

impl Bao {
    fn new() -> Self {
        Self::with_ttl(3600, 3600)
    }

    fn with_ttl(ttl: u64, renewed_ttl: u64) -> Self {
        Self(Arc::new(State {
            logins: AtomicUsize::new(0),
            valid: Mutex::default(),
            ttl: ttl.into(),
            renewed_ttl: renewed_ttl.into(),
            renewable: true.into(),
        }))
    }

    /// Revokes all tokens.
    fn revoke(&self) {
        self.valid().clear();
    }

    fn valid(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.valid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn auth(&self, token: &str, ttl: &AtomicU64) -> String {
        let (ttl, renewable) = (ttl.load(Ordering::SeqCst), self.0.renewable.load(Ordering::SeqCst));
        format!(r#"{{"auth":{{"client_token":"{token}","lease_duration":{ttl},"renewable":{renewable}}}}}"#)
    }

    async fn serve(&self, rest: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
        self.serve_after(Duration::ZERO, rest).await
    }

    async fn serve_after(&self, after: Duration, rest: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
        let bao = self.clone();
        Server::slow(after, move |request| bao.answer(request).unwrap_or_else(|| rest(request))).await
    }

    fn answer(&self, request: &Request) -> Option<Answer> {
        if request.line == LOGIN {
            let token = format!("s.{}", self.0.logins.fetch_add(1, Ordering::SeqCst) + 1);
            self.valid().insert(token.clone());
            return Some(Answer::ok(self.auth(&token, &self.0.ttl)));
        }
        if !self.valid().contains(request.token()) {
            return Some(Answer::no(403, "permission denied"));
        }
        match request.line.as_str() {
            RENEW => Some(Answer::ok(self.auth(request.token(), &self.0.renewed_ttl))),
            LOOK => Some(Answer::ok(format!(
                r#"{{"data":{{"ttl":{},"renewable":true}}}}"#,
                self.0.ttl.load(Ordering::SeqCst)
            ))),
            REVOKE => {
                self.valid().remove(request.token());
                Some(Answer(204, "", String::new()))
            }
            _ => None,
        }
    }
}

fn version(number: u64, data: &str) -> String {
    version_of(number, data, "2030-01-01T00:00:00Z")
}

fn version_of(number: u64, data: &str, created: &str) -> String {
    format!(
        r#"{{"data":{{"data":{data},"metadata":{{"version":{number},"created_time":"{created}","destroyed":false}}}}}}"#
    )
}

fn credential(id: &str, ttl: u64) -> String {
    format!(
        r#"{{"lease_id":"{id}","lease_duration":{ttl},"renewable":true,"data":{{"username":"u","password":"hunter2"}}}}"#
    )
}

fn app_role() -> Auth {
    Auth::app_role("role", "hunter2-id")
}

fn openbao(server: &Server, auth: Auth) -> OpenBao {
    let address = format!("http://127.0.0.1:{}", server.port).parse().expect("a URL");
    let settings = Settings::new(address, "secret", auth).expect("good").path("app").expect("good");
    OpenBao::new(settings.dynamic("db", "database/creds/app").expect("good").namespace("team")).expect("made")
}

async fn read(openbao: &OpenBao, name: &str) -> Result<Reading, Error> {
    openbao.read(Ask::current(&Name::new(name).expect("a name"))).await
}

async fn value(openbao: &OpenBao, name: &str) -> Result<String, Error> {
    let reading = read(openbao, name).await?;
    Ok(String::from_utf8(reading.value().expect("a value").to_vec()).expect("text"))
}

/// Waits until `done`, as long as that takes within reason.
async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

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

#[tokio::test]
async fn every_fault_has_its_kind_and_shows_nothing_secret() {
    let huge = "hunter2".repeat(200_000);
    for (status, body, kind, says) in [
        (404, version(3, "null"), ErrorKind::NotFound, "version 3 of x was deleted"),
        (404, r#"{"errors":[]}"#.into(), ErrorKind::NotFound, "secret/data/app/x"),
        (403, r#"{"errors":["permission denied hunter2"]}"#.into(), ErrorKind::Denied, "policies"),
        (472, "hunter2".into(), ErrorKind::Unavailable, "disaster"),
        (473, "hunter2".into(), ErrorKind::Unavailable, "performance"),
        (501, r#"{"errors":["hunter2"]}"#.into(), ErrorKind::Unavailable, "operator init"),
        (503, r#"{"errors":["Vault is sealed"]}"#.into(), ErrorKind::Unavailable, "unseal"),
        (500, "<html>hunter2".into(), ErrorKind::Unavailable, "log"),
        (307, String::new(), ErrorKind::Unavailable, "active server"),
        (200, "hunter2".into(), ErrorKind::Malformed, "no JSON"),
        (200, r#"{"data":{"value":"hunter2"}}"#.into(), ErrorKind::Malformed, "another JSON"),
        (200, String::new(), ErrorKind::Malformed, "no JSON"),
        (200, huge, ErrorKind::Malformed, "too large"),
        (0, String::new(), ErrorKind::Unavailable, "failed"),
    ] {
        let answer = body.clone();
        let server = Bao::new().serve(move |_| Answer(status, "", answer.clone())).await;
        let openbao = openbao(&server, app_role());
        let error = read(&openbao, "x").await.expect_err("a fault");
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.to_string().contains(says), "{status}: {error}");
        for shown in [chain(&error), format!("{error:?}"), format!("{openbao:?}")] {
            for secret in ["hunter2", "s.1"] {
                assert!(!shown.contains(secret), "{status}: {shown}");
            }
        }
    }
}

#[tokio::test]
async fn what_lags_behind_is_asked_again_a_few_times() {
    for (lagging, expected) in [(2, Ok(())), (3, Ok(())), (4, Err(ErrorKind::Unavailable))] {
        let asked = AtomicUsize::new(0);
        let answer = move |_: &Request| {
            if asked.fetch_add(1, Ordering::SeqCst) < lagging {
                return Answer(412, "", String::new());
            }
            Answer::ok(version(1, r#"{"value":"x"}"#))
        };
        let server = Bao::new().serve(answer).await;
        let read = read(&openbao(&server, app_role()), "x").await;
        assert_eq!(read.map(drop).map_err(|error| error.kind()), expected, "{lagging}");
        assert_eq!(server.count(READ), lagging.min(3) + 1);
    }
}

#[tokio::test]
async fn a_server_that_asks_for_patience_is_left_alone_for_as_long() {
    let asked = AtomicUsize::new(0);
    let answer = move |_: &Request| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Answer(429, "retry-after: 1\r\n", String::new()),
        _ => Answer::ok(version(1, r#"{"value":"x"}"#)),
    };
    let server = Bao::new().serve(answer).await;
    let openbao = openbao(&server, app_role());
    for _ in 0..20 {
        let error = read(&openbao, "x").await.expect_err("throttled");
        assert!(error.is_throttled() && error.is_temporary(), "{error}");
    }
    assert_eq!(server.count(READ), 1);
    sleep(Duration::from_millis(1_050)).await;
    assert_eq!(value(&openbao, "x").await.expect("there"), "x");
}

async fn read_by_fifty(openbao: &OpenBao) -> Vec<Result<String, Error>> {
    let mut readers = JoinSet::new();
    for _ in 0..50 {
        let openbao = openbao.clone();
        readers.spawn(async move { value(&openbao, "x").await });
    }
    readers.join_all().await
}

#[tokio::test]
async fn fifty_readers_log_in_once_and_once_again_when_the_token_is_revoked() {
    let bao = Bao::new();
    let server = bao.serve_after(Duration::from_millis(5), |_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, app_role());
    for logins in 1..=3 {
        let values = read_by_fifty(&openbao).await;
        assert!(values.into_iter().all(|value| value.is_ok_and(|value| value == "x")));
        assert_eq!(server.count(LOGIN), logins);
        bao.revoke();
    }
}

#[tokio::test]
async fn a_login_that_is_refused_is_refused_to_all_who_wait_and_not_tried_again_at_once() {
    let server = Server::slow(Duration::from_millis(20), |_| Answer::no(400, "invalid role or secret ID")).await;
    let openbao = openbao(&server, app_role());
    for _ in 0..3 {
        for value in read_by_fifty(&openbao).await {
            let error = value.expect_err("refused");
            assert!(error.is_denied() && error.to_string().contains("invalid role or secret id"), "{error}");
        }
    }
    assert_eq!(server.count(LOGIN), 1);
}

#[tokio::test]
async fn what_a_policy_forbids_is_denied_without_a_login() {
    let server = Bao::new().serve(|_| Answer::no(403, "1 error occurred: permission denied")).await;
    let openbao = openbao(&server, app_role());
    for _ in 0..3 {
        let error = read(&openbao, "x").await.expect_err("forbidden");
        assert!(error.is_denied() && error.to_string().contains("secret/data/app/x"), "{error}");
    }
    assert_eq!((server.count(LOGIN), server.count(LOOK)), (1, 3));
}

#[tokio::test]
async fn a_403_for_the_token_is_followed_by_one_login_and_one_more_try() {
    let server = Bao::new().serve(|_| Answer::no(403, "permission denied, invalid token")).await;
    let error = read(&openbao(&server, app_role()), "x").await.expect_err("refused twice");
    assert!(error.is_denied(), "{error}");
    assert_eq!((server.count(LOGIN), server.count(READ), server.count(LOOK)), (2, 2, 0));
}

#[tokio::test]
async fn a_reader_who_gives_up_in_the_middle_of_a_login_is_in_nobodys_way() {
    let server =
        Bao::new().serve_after(Duration::from_millis(100), |_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, app_role());
    let gave_up = timeout(Duration::from_millis(30), value(&openbao, "x")).await;
    assert!(gave_up.is_err());
    assert_eq!(value(&openbao, "x").await.expect("there"), "x");
}

#[tokio::test]
async fn a_server_that_takes_too_long_is_unavailable_and_then_served_from_when_it_is_quicker() {
    let hangs = Arc::new(AtomicBool::new(true));
    let slow = hangs.clone();
    let bao = Bao::new();
    let server = bao
        .serve(move |_| match slow.load(Ordering::SeqCst) {
            // Longer than the policy waits.
            true => Answer(1, "", String::new()),
            false => Answer::ok(version(1, r#"{"value":"x"}"#)),
        })
        .await;
    let often = Duration::from_millis(20);
    let policy = Policy { fetch_timeout: 10 * often, backoff: often, max_backoff: often, ..Policy::default() };
    let life = lifecycle();
    let secrets = Secrets::builder(openbao(&server, app_role())).policy(policy).build(&life);
    let secret = secrets.get::<String>("x");
    let error = secret.ready().await.expect_err("too long");
    assert!(error.is_unavailable(), "{}", chain(&error));
    hangs.store(false, Ordering::SeqCst);
    timeout(Duration::from_secs(10), secret.changed(0)).await.expect("it is quicker");
    assert_eq!(secret.load().expect("loaded").expose_secret(), "x");
    assert_eq!(server.count(LOGIN), 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_replaced_when_it_shrinks() {
    let bao = Bao::with_ttl(1, 1);
    let server = bao.serve(|_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, app_role());
    value(&openbao, "x").await.expect("there");
    until("two renewals", || server.count(RENEW) >= 2).await;
    assert_eq!(server.count(LOGIN), 1, "it is renewed, not replaced");
    assert!(server.asked().iter().filter(|request| request.line == RENEW).all(|request| request.token() == "s.1"));
    // `max_ttl` is near.
    bao.0.ttl.store(30, Ordering::SeqCst);
    bao.0.renewed_ttl.store(0, Ordering::SeqCst);
    until("a login", || server.count(LOGIN) == 2).await;
    value(&openbao, "x").await.expect("there");
    assert_eq!(server.asked().last().map(|request| request.token().to_owned()).as_deref(), Some("s.2"));
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_any_more_is_replaced() {
    let bao = Bao::with_ttl(1, 1);
    let server = bao.serve(|_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, app_role());
    value(&openbao, "x").await.expect("there");
    bao.revoke();
    until("a login", || server.count(LOGIN) >= 2).await;
    assert!(server.count(RENEW) >= 1);
}

#[tokio::test]
async fn a_token_that_was_given_is_renewed_and_denied_when_it_ended_and_never_given_back() {
    let bao = Bao::with_ttl(1, 1);
    bao.valid().insert("s.given".into());
    let server = bao.serve(|_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, Auth::token("s.given"));
    value(&openbao, "x").await.expect("there");
    until("a renewal", || server.count(RENEW) >= 1).await;
    bao.revoke();
    let error = value(&openbao, "x").await.expect_err("ended");
    assert!(error.is_denied() && error.to_string().contains("was given has ended"), "{error}");
    bao.valid().insert("s.given".into());
    openbao.close().await;
    assert_eq!((server.count(REVOKE), server.count(LOGIN)), (0, 0));
}

#[tokio::test]
async fn a_token_in_a_file_is_read_anew_when_it_has_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let bao = Bao::new();
    let server = bao.serve(|_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, Auth::token(Credential::file(&file)));
    let error = read(&openbao, "x").await.expect_err("no file");
    assert!(error.is_unavailable(), "that a token is missing does not say that a secret is: {error}");
    for token in ["s.one", "s.two"] {
        bao.revoke();
        bao.valid().insert(token.into());
        std::fs::write(&file, token).expect("written");
        value(&openbao, "x").await.expect("there");
        assert_eq!(server.asked().last().map(|request| request.token().to_owned()).as_deref(), Some(token));
    }
}

#[tokio::test]
async fn what_was_logged_in_for_is_given_back_at_the_end_and_nothing_is_asked_after_it() {
    let bao = Bao::new();
    let server = bao.serve(|_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, app_role());
    value(&openbao, "x").await.expect("there");
    openbao.close().await;
    assert!(bao.valid().is_empty());
    assert_eq!(server.count(REVOKE), 1);
    let asked = server.asked().len();
    assert!(read(&openbao, "x").await.is_err_and(|error| error.is_unavailable()));
    openbao.close().await;
    assert_eq!(server.asked().len(), asked);
}

fn lease(reading: &Reading) -> Lease {
    reading.lent().expect("lent").clone()
}

#[tokio::test]
async fn a_credential_is_lent_for_no_longer_than_its_token_lasts() {
    for (token, renewed, lent, at_most) in [(3600, 3600, 60, 60), (20, 20, 60, 20), (5, 3600, 60, 60)] {
        let bao = Bao::with_ttl(token, renewed);
        let server = bao.serve(move |_| Answer::ok(credential("database/creds/app/1", lent))).await;
        let openbao = openbao(&server, app_role());
        // So that renewing the token makes a difference.
        read(&openbao, "db").await.expect("there");
        sleep(Duration::from_millis(600)).await;
        let reading = read(&openbao, "db").await.expect("there");
        assert_eq!(reading.value(), Some(&br#"{"username":"u","password":"hunter2"}"#[..]));
        let ttl = lease(&reading).ttl();
        let least = Duration::from_secs(at_most).saturating_sub(Duration::from_secs(10));
        assert!(ttl <= Duration::from_secs(at_most) && ttl > least, "{token} {renewed}: {ttl:?}");
        assert!(lease(&reading).is_renewable());
    }
}

#[tokio::test]
async fn nothing_is_borrowed_with_a_token_that_is_about_to_end_unless_there_is_no_other() {
    let bao = Bao::with_ttl(6, 6);
    bao.0.renewable.store(false, Ordering::SeqCst);
    let is_open = Arc::new(AtomicBool::new(true));
    let open = is_open.clone();
    let (inner, credential) = (bao.clone(), credential("database/creds/app/1", 60));
    let server = Server::start(move |request| match inner.answer(request) {
        Some(_) if request.line == LOGIN && !open.load(Ordering::SeqCst) => {
            Answer::no(400, "invalid role or secret ID")
        }
        Some(answer) => answer,
        None => Answer::ok(credential.clone()),
    })
    .await;
    let openbao = openbao(&server, app_role());
    for closed in [false, true] {
        read(&openbao, "db").await.expect("there");
        is_open.store(!closed, Ordering::SeqCst);
        sleep(Duration::from_millis(3_100)).await;
        let ttl = lease(&read(&openbao, "db").await.expect("there")).ttl();
        // Of a new token, or of what is left of the old one.
        assert_eq!(ttl < Duration::from_secs(3), closed, "{ttl:?}");
    }
}

#[tokio::test]
async fn what_was_lent_to_a_token_that_was_replaced_is_not_renewed() {
    let bao = Bao::new();
    let server = bao
        .serve(|request| match request.line.as_str() {
            "POST /v1/sys/leases/renew" => Answer::ok(credential("database/creds/app/1", 60)),
            "POST /v1/sys/leases/revoke" => Answer(204, "", String::new()),
            _ => Answer::ok(credential("database/creds/app/1", 60)),
        })
        .await;
    let openbao = openbao(&server, app_role());
    let first = lease(&read(&openbao, "db").await.expect("there"));
    let renewed = openbao.renew(&first).await.expect("renewed");
    assert_eq!((renewed.id(), renewed.ttl()), ("database/creds/app/1", Duration::from_secs(60)));
    bao.revoke();
    let error = openbao.renew(&renewed).await.expect_err("its token is gone, and it with it");
    assert!(error.is_not_found() && error.to_string().contains("replaced"), "{error}");
    openbao.revoke(&renewed).await.expect("revoked");
    let last = server.asked().pop().expect("asked");
    assert_eq!(last.body, r#"{"lease_id":"database/creds/app/1"}"#);
}

#[tokio::test]
async fn a_dynamic_secret_is_made_once_by_a_read_whatever_the_answer() {
    for answer in [(503, "Vault is sealed"), (429, ""), (502, ""), (400, "unknown role: app")] {
        let server = Bao::new().serve(move |_| Answer::no(answer.0, answer.1)).await;
        let error = read(&openbao(&server, app_role()), "db").await.expect_err("refused");
        assert_eq!(server.count("GET /v1/database/creds/app"), 1, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let server = Server::start(|_| Answer::ok("")).await;
    let openbao = openbao(&server, app_role());
    drop(server);
    sleep(Duration::from_millis(20)).await;
    let error = read(&openbao, "x").await.expect_err("nobody");
    assert!(error.is_unavailable() && error.to_string().contains("reached"), "{}", chain(&error));
}
