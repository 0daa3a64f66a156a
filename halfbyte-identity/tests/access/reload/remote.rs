//! Policies at a URL.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use halfbyte_core::client::{Client, Limits};
use halfbyte_identity::access::Bounds;
use tokio::task::JoinSet;
use url::Url;

use super::*;
use crate::log::Log;

/// A server of one document, with a tag.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Served>>);

#[derive(Default)]
struct Served {
    document: String,
    tag: Option<String>,
    status: StatusCode,
    /// More headers of the answer, in place of those that it would have.
    more: HeaderMap,
    /// The tag of each request, and the status of its answer.
    seen: Vec<(Option<String>, u16)>,
    /// The credentials of the last request.
    credentials: Option<String>,
}

impl Server {
    async fn start(&self, tasks: &mut JoinSet<()>) -> Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/parcel?secret=hush-query", listener.local_addr().expect("an address"));
        let router = Router::new().route("/parcel", get(answer)).with_state(self.clone());
        tasks.spawn(async move { axum::serve(listener, router).await.expect("served") });
        url.parse().expect("a URL")
    }

    fn serve(&self, files: &[SourceFile], tag: Option<&str>) {
        let files: serde_json::Map<_, _> =
            files.iter().map(|file| (file.name.to_string(), file.text.to_string().into())).collect();
        let mut served = self.0.lock().expect("unpoisoned");
        served.document = serde_json::json!({ "files": files }).to_string();
        served.tag = tag.map(ToOwned::to_owned);
        served.status = StatusCode::OK;
    }

    fn with<T>(&self, look: impl FnOnce(&mut Served) -> T) -> T {
        look(&mut self.0.lock().expect("unpoisoned"))
    }

    /// Waits until `count` more requests were answered, and tells them.
    async fn after(&self, count: usize) -> Vec<(Option<String>, u16)> {
        let before = self.with(|served| served.seen.len());
        let wait = async {
            while self.with(|served| served.seen.len()) < before + count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it is asked again");
        self.with(|served| served.seen[before..].to_vec())
    }
}

async fn answer(State(server): State<Server>, headers: HeaderMap) -> Response {
    server.with(|served| {
        let asked = headers.get(header::IF_NONE_MATCH).map(|tag| tag.to_str().expect("ASCII").to_owned());
        let status = if served.status.is_success() && asked.is_some() && asked == served.tag {
            StatusCode::NOT_MODIFIED
        } else {
            served.status
        };
        served.seen.push((asked, status.as_u16()));
        let credentials = headers.get(header::AUTHORIZATION);
        served.credentials = credentials.map(|value| value.to_str().expect("ASCII").to_owned());
        let tag = served.tag.iter().map(|tag| (header::ETAG, tag.clone())).collect::<Vec<_>>();
        let body = if status.is_success() { served.document.clone() } else { String::new() };
        let mut response = (status, [(header::CONTENT_TYPE, "Application/JSON; charset=utf-8")], body).into_response();
        response.headers_mut().extend(tag.into_iter().map(|(name, tag)| (name, tag.parse().expect("a tag"))));
        response.headers_mut().extend(served.more.clone());
        response
    })
}

fn client() -> Client {
    Client::with_limits(Limits { attempts: 1, ..Limits::default() }).expect("a client")
}

#[tokio::test]
async fn a_url_is_asked_with_the_tag_of_what_was_taken_and_an_unchanged_one_is_not_sent_again() {
    let log = Log::capture().await;
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let (one, two) = (set(&up_to(1)), set(&up_to(2)));
    server.serve(&one, Some("\"v1\""));
    let url = server.start(&mut tasks).await;
    let rules = Policies::url(url, client()).every(Duration::from_millis(5)).start(&life());
    in_force(&rules, &version(&one)).await;
    server.after(3).await;
    let v1 = (Some("\"v1\"".to_owned()), 304);
    let seen = server.with(|served| served.seen.clone());
    assert!(seen[0] == (None, 200) && seen[1..].iter().all(|seen| *seen == v1), "{seen:?}");

    server.serve(&two, Some("\"v2\""));
    in_force(&rules, &version(&two)).await;
    assert_eq!(rules.load().expect("there").generation(), 2);

    // What is refused is not fetched again and again either, and stays refused.
    server.serve(&set("permit("), Some("\"v3\""));
    told(&rules, "p.cedar:1: ").await;
    server.after(2).await;
    let v3 = (Some("\"v3\"".to_owned()), 304);
    assert!(server.after(3).await.iter().all(|seen| *seen == v3));
    assert!(rules.status().last_error().is_some_and(|error| error.contains("p.cedar:1: ")), "{:?}", rules.status());
    assert_eq!(rules.load().expect("the last good one").version(), &version(&two));
    assert_eq!(log.count("ERROR", "the policies are not put in force"), 1);
    assert_eq!(log.count("", "hush"), 0, "no query of a URL is logged");

    // Back to what is in force, by another tag.
    server.serve(&two, Some("\"v4\""));
    good_again(&rules).await;
    assert_eq!(rules.load().expect("there").generation(), 2);
}

#[tokio::test]
async fn a_url_without_tags_is_compared_by_what_it_answers() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    server.serve(&set(&up_to(1)), None);
    let url = server.start(&mut tasks).await;
    let rules = Policies::url(url, client()).every(Duration::from_millis(5)).start(&life());
    rules.ready().await.expect("good");
    assert!(server.after(4).await.iter().all(|seen| *seen == (None, 200)));
    assert_eq!(rules.load().expect("there").generation(), 1);
}

#[tokio::test]
async fn a_server_that_is_in_trouble_leaves_the_last_good_set() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let one = set(&up_to(1));
    server.serve(&one, Some("\"v1\""));
    let url = server.start(&mut tasks).await;
    let rules = Policies::url(url, client()).every(Duration::from_millis(5)).start(&life());
    in_force(&rules, &version(&one)).await;
    server.with(|served| served.status = StatusCode::INTERNAL_SERVER_ERROR);
    told(&rules, "500").await;
    assert_eq!(rules.load().expect("the last good one").version(), &version(&one));
    server.with(|served| {
        (served.status, served.tag, served.document) = (StatusCode::OK, None, "<title>Welcome</title>".to_owned());
    });
    told(&rules, "JSON").await;
    assert_eq!(rules.load().expect("the last good one").version(), &version(&one));
    server.serve(&set(&up_to(2)), None);
    in_force(&rules, &version(&set(&up_to(2)))).await;
}

#[tokio::test]
async fn what_is_not_json_or_is_packed_is_not_taken() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    server.serve(&set(&up_to(1)), None);
    let url = server.start(&mut tasks).await;
    for (name, value, expected) in [
        (header::CONTENT_TYPE, "text/html", "the Content-Type has to be application/json"),
        (header::CONTENT_TYPE, "application/jsonl", "the Content-Type has to be application/json"),
        (header::CONTENT_ENCODING, "gzip", "Content-Encoding"),
    ] {
        server.with(|served| served.more = [(name, value.parse().expect("a header"))].into_iter().collect());
        let rules = Policies::url(url.clone(), client()).start(&life());
        let error = halfbyte_core::error_chain(&rules.ready().await.expect_err("not taken"));
        assert!(error.contains(expected), "{error}");
    }
    server.with(|served| served.more.clear());
    Policies::url(url, client()).start(&life()).ready().await.expect("good");
}

#[tokio::test]
async fn an_answer_over_the_bounds_is_refused_whatever_its_size_was_said_to_be() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    server.serve(&set(&up_to(1).repeat(100)), None);
    let url = server.start(&mut tasks).await;
    let small = Client::with_limits(Limits { attempts: 1, max_body: 2_000, ..Limits::default() }).expect("a client");
    let error = Policies::url(url.clone(), small).start(&life()).ready().await.expect_err("too large");
    assert!(halfbyte_core::error_chain(&error).contains("the body is over 2000 bytes"), "{error:?}");
    let policies = Policies::url(url, client()).bounds(Bounds { bytes: 2_000, ..Bounds::default() });
    let error = policies.start(&life()).ready().await.expect_err("too large");
    assert!(halfbyte_core::error_chain(&error).contains("more than the 2000 that are taken"), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_token_goes_nowhere_else() {
    let (server, other, mut tasks) = (Server::default(), Server::default(), JoinSet::new());
    other.serve(&set(&up_to(1)), None);
    let elsewhere = other.start(&mut tasks).await;
    let url = server.start(&mut tasks).await;
    for status in [301, 302, 307, 308] {
        server.with(|served| {
            served.status = StatusCode::from_u16(status).expect("a status");
            served.more = [(header::LOCATION, elsewhere.as_str().parse().expect("a header"))].into_iter().collect();
        });
        let policies = Policies::url(url.clone(), client()).bearer(|| Ok("hunter2".to_owned().into()));
        let error = halfbyte_core::error_chain(&policies.start(&life()).ready().await.expect_err("no policies"));
        assert!(error.contains(&status.to_string()), "{error}");
    }
    assert_eq!(server.with(|served| served.credentials.clone()).as_deref(), Some("Bearer hunter2"));
    assert_eq!(other.with(|served| served.seen.len()), 0);
}

#[tokio::test]
async fn the_token_is_asked_for_at_each_look_and_is_shown_nowhere() {
    let log = Log::capture().await;
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    server.serve(&set(&up_to(1)), Some("\"v1\""));
    let mut url = server.start(&mut tasks).await;
    url.set_username("hush-ann").expect("there may be one");
    url.set_password(Some("hush-password")).expect("there may be one");
    let count = AtomicUsize::new(0);
    // The first one cannot be sent, the second one cannot be had, and each one later is another.
    let policies = Policies::url(url.clone(), client()).every(Duration::from_millis(5)).bearer(move || {
        match count.fetch_add(1, Ordering::Relaxed) {
            0 => Ok("hush\n0".to_owned().into()),
            1 => Err("the vault is sealed".into()),
            count => Ok(format!("hush-{count}").into()),
        }
    });
    let shown = format!("{policies:?}");
    let rules = policies.start(&life());
    let mut errors = vec![
        told(&rules, "failed").await,
        told(&rules, "the token for the policies cannot be had: the vault is sealed").await,
    ];
    in_force(&rules, &version(&set(&up_to(1)))).await;
    server.after(3).await;
    let last = server.with(|served| served.credentials.clone()).expect("a token");
    server.after(2).await;
    let next = server.with(|served| served.credentials.clone()).expect("a token");
    assert!(last.starts_with("Bearer hush-") && next.starts_with("Bearer hush-") && last != next, "{last} {next}");

    server.with(|served| served.status = StatusCode::FORBIDDEN);
    errors.push(told(&rules, "403").await);
    server.with(|served| (served.status, served.document, served.tag) = (StatusCode::OK, "{\"hush\"".to_owned(), None));
    errors.push(told(&rules, "JSON").await);
    tasks.shutdown().await;
    errors.push(told(&rules, "connect").await);
    for text in errors.into_iter().chain([shown, format!("{rules:?} {:?}", rules.status())]) {
        assert!(!text.contains("hush"), "{text}");
    }
    assert_eq!(log.count("", "hush"), 0);
    assert!(log.count("INFO", "the policies are put in force") > 0, "something was logged");
}
