//! `openbao:` against a server that makes every fault there is; the real one is in the tests of the whole family.

mod faults;
mod forbidden;
mod gone;
mod key_value;
mod known;
mod lending;
mod login;
pub mod server;
mod token;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use halfbyte_secrets::openbao::{Auth, OpenBao, Settings};
use halfbyte_secrets::{Ask, Error, Name, Provider as _, Reading};
use tokio::time::{sleep, timeout};

use self::server::{Answer, Request, Server};

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

    fn logins(&self) -> usize {
        self.0.logins.load(Ordering::SeqCst)
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

/// Lets time go on by that much at once. Not for the whole of a test: on a paused clock an exchange is soon late.
async fn skip(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
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
