use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use halfbyte_core::client::{Client, Limits as HttpLimits};
use halfbyte_core::config::Preset;
use halfbyte_core::problem::Kind;
use halfbyte_core::{Lifecycle, Principal};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::form_urlencoded;

use super::*;
use crate::binding::Binding;
use crate::issuer::Issuer;
use crate::outbound::{ClientAuthentication, Registration};

const NOW: i64 = 1_900_000_000;

/// Introspection at an issuer that answers what a test says.
struct Setup {
    introspection: Arc<Introspection>,
    clock: Clock,
    asked: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Setup {
    async fn new(answer: impl Fn(&str, usize) -> (u16, String) + Clone + Send + Sync + 'static) -> Self {
        Self::with(Limits::default(), Duration::from_millis(20), answer).await
    }

    async fn with(
        limits: Limits,
        delay: Duration,
        answer: impl Fn(&str, usize) -> (u16, String) + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let id = format!("http://{}", listener.local_addr().expect("an address"));
        let metadata =
            json!({"issuer": id, "jwks_uri": format!("{id}/keys"), "introspection_endpoint": format!("{id}/i")});
        let key = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let (asked, now, most) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, most_at_once) = (asked.clone(), most.clone());
        let handler = async move |form: String| {
            let serial = counted.fetch_add(1, Ordering::SeqCst);
            most_at_once.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(delay).await;
            now.fetch_sub(1, Ordering::SeqCst);
            let fields = form_urlencoded::parse(form.as_bytes());
            let token = fields.into_owned().find(|(name, _)| name == "token").expect("a token").1;
            let (status, body) = answer(&token, serial);
            // For the answers that say so: a day.
            (StatusCode::from_u16(status).expect("a status"), [("retry-after", "86400")], body)
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async move || metadata.to_string()))
            .route("/keys", get(async move || key))
            .route("/i", post(handler));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("served") });

        let clock = Clock::manual(Timestamp::from_second(NOW).expect("in range"));
        let lifecycle = Lifecycle::new(clock.clone());
        let http = Client::with_limits(HttpLimits { attempts: 1, ..HttpLimits::default() }).expect("a client");
        let issuer = Issuer::remote(&id, Preset::Generic, "parcel", http.clone(), &lifecycle).expect("an issuer");
        let secret = ClientAuthentication::secret(|| Ok("s".into()));
        let registration = Registration::new(Some(Arc::new(issuer)), http, "parcel", secret, clock.clone());
        let client = OAuthClient::new(registration, &lifecycle);
        let introspection = Arc::new(Introspection::new(client, read, clock.clone(), limits));
        Self { introspection, clock, asked, most_at_once: most, _server: server }
    }

    fn known(&self, token: &str) -> Option<Result<Accepted, Problem>> {
        self.introspection.known(token, self.clock.now())
    }

    async fn ask(&self, token: &str) -> Result<Accepted, Problem> {
        self.introspection.ask(token).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn jump(&self, seconds: i64) {
        self.clock.jump(SignedDuration::from_secs(seconds));
    }
}

/// As little of the claims as these tests need.
fn read(answer: &[u8], _: Timestamp) -> Result<Accepted, &'static str> {
    let answer: Value = serde_json::from_slice(answer).map_err(|_| "not JSON")?;
    if answer["aud"] == "another" {
        return Err("the access token is meant for another service");
    }
    let subject = answer["sub"].as_str().ok_or("no subject")?;
    let expires_at = Timestamp::from_second(answer["exp"].as_i64().ok_or("no end")?).map_err(|_| "no end")?;
    let tenant = "acme".parse().expect("a tenant");
    let binding = answer["cnf"].is_object().then_some(Binding::Key([7; 32]));
    Ok(Accepted { principal: Principal::builder(subject, tenant, expires_at).build(), binding })
}

fn active(subject: &str, expires_in: i64) -> (u16, String) {
    (200, json!({"active": true, "sub": subject, "exp": NOW + expires_in}).to_string())
}

fn inactive() -> (u16, String) {
    (200, json!({"active": false}).to_string())
}

fn subject(outcome: Result<Accepted, Problem>) -> String {
    outcome.expect("accepted").principal.subject().to_owned()
}

fn refused(outcome: Result<Accepted, Problem>) -> (Kind, String) {
    let problem = outcome.expect_err("refused");
    (problem.kind(), problem.detail().to_owned())
}

#[tokio::test]
async fn a_good_token_is_asked_about_once_and_then_known() {
    let setup = Setup::new(|token, _| active(token, 600)).await;
    assert!(setup.known("anns").is_none());
    assert_eq!(subject(setup.ask("anns").await), "anns");
    assert_eq!(subject(setup.known("anns").expect("known")), "anns");
    assert_eq!(subject(setup.ask("anns").await), "anns");
    assert!(setup.known("ann").is_none() && setup.known("annss").is_none());
    assert_eq!(setup.asked(), 1);
}

#[tokio::test]
async fn what_a_token_is_bound_to_is_known_with_it() {
    let bound = json!({"active": true, "sub": "ann", "exp": NOW + 600, "cnf": {"jkt": "x"}}).to_string();
    let setup = Setup::new(move |_, _| (200, bound.clone())).await;
    let asked = setup.ask("anns").await.expect("accepted").binding;
    let known = setup.known("anns").expect("known").expect("accepted").binding;
    assert_eq!((asked, known), (Some(Binding::Key([7; 32])), Some(Binding::Key([7; 32]))));
}

#[tokio::test]
async fn a_revocation_at_the_issuer_is_seen_within_half_a_minute() {
    let setup = Setup::new(|token, serial| if serial == 0 { active(token, 600) } else { inactive() }).await;
    setup.ask("anns").await.expect("active");
    setup.jump(25);
    assert!(setup.known("anns").expect("known").is_ok());
    setup.jump(5);
    assert!(setup.known("anns").is_none());
    assert_eq!(refused(setup.ask("anns").await), (Kind::InvalidToken, INVALID.to_owned()));
    assert_eq!(setup.asked(), 2);
}

#[tokio::test]
async fn nothing_is_known_of_a_token_after_it_expired_or_when_the_clock_was_set_back() {
    let setup = Setup::new(|token, _| active(token, 10)).await;
    setup.ask("anns").await.expect("active");
    assert!(setup.known("anns").is_some());
    setup.jump(10);
    assert!(setup.known("anns").is_none());

    let setup = Setup::new(|token, _| active(token, 600)).await;
    setup.ask("anns").await.expect("active");
    setup.jump(-60);
    assert!(setup.known("anns").is_none());
}

#[tokio::test]
async fn that_a_token_is_not_good_is_known_for_a_short_while_with_the_reason_that_was_given() {
    let setup = Setup::new(|token, _| match token {
        "another" => (200, json!({"active": true, "aud": "another"}).to_string()),
        _ => inactive(),
    })
    .await;
    for (token, detail) in [("nobodys", INVALID), ("another", "the access token is meant for another service")] {
        let expected = (Kind::InvalidToken, detail.to_owned());
        assert_eq!(refused(setup.ask(token).await), expected);
        assert_eq!(refused(setup.known(token).expect("known")), expected);
        setup.jump(5);
        assert!(setup.known(token).is_none());
    }
}

#[tokio::test]
async fn what_cannot_be_an_opaque_token_is_refused_without_asking() {
    let setup = Setup::new(|token, _| active(token, 600)).await;
    for token in [String::new(), "a".repeat(LONGEST + 1)] {
        assert_eq!(refused(setup.known(&token).expect("known")).0, Kind::InvalidToken);
        assert_eq!(refused(setup.ask(&token).await).0, Kind::InvalidToken);
    }
    assert_eq!(setup.asked(), 0);
    setup.ask(&"a".repeat(LONGEST)).await.expect("as long as may be");
}

#[tokio::test]
async fn a_thousand_who_wait_for_one_token_ask_once() {
    for answer in [active("ann", 600), inactive(), (500, String::new())] {
        let is_good = answer.1.contains("ann");
        let setup = Setup::new(move |_, _| answer.clone()).await;
        let mut waiting = JoinSet::new();
        for _ in 0..1000 {
            let introspection = setup.introspection.clone();
            waiting.spawn(async move { introspection.ask("anns").await.is_ok() });
        }
        assert!(waiting.join_all().await.into_iter().all(|accepted| accepted == is_good));
        assert_eq!(setup.asked(), 1);
    }
}

#[tokio::test]
async fn questions_at_once_are_bounded_and_the_others_wait_their_turn() {
    let limits = Limits { at_once: 4, ..Limits::default() };
    let setup = Setup::with(limits, Duration::from_millis(5), |token, _| active(token, 600)).await;
    let mut waiting = JoinSet::new();
    for serial in 0..100 {
        let introspection = setup.introspection.clone();
        waiting.spawn(async move { introspection.ask(&format!("token-{serial}")).await.is_ok() });
    }
    assert!(waiting.join_all().await.into_iter().all(|accepted| accepted));
    assert_eq!((setup.asked(), setup.most_at_once.load(Ordering::SeqCst)), (100, 4));
}

#[tokio::test]
async fn nobody_waits_longer_than_the_bound_and_is_then_told_to_come_again() {
    let limits = Limits { at_once: 1, wait: Duration::from_millis(200), ..Limits::default() };
    let setup = Setup::with(limits, Duration::from_secs(3600), |token, _| active(token, 600)).await;
    let began = tokio::time::Instant::now();
    let (one, two, three) = tokio::join!(setup.ask("one"), setup.ask("two"), setup.ask("one"));
    for outcome in [one, two, three] {
        assert_eq!(refused(outcome).0, Kind::Unavailable);
    }
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(setup.known("one").is_none(), "nothing was learned");
}

#[tokio::test]
async fn an_issuer_that_does_not_say_makes_it_unavailable_and_no_verdict_is_kept() {
    for answer in [
        (500, String::new()),
        (429, String::new()),
        (401, json!({"error": "invalid_client"}).to_string()),
        (404, String::new()),
        (200, "x".repeat(2 << 20)),
        (200, json!({"active": "true", "sub": "ann", "exp": NOW + 600}).to_string()),
        (200, json!({"sub": "ann", "exp": NOW + 600}).to_string()),
        (200, format!(r#"{{"active": false, "active": true, "sub": "ann", "exp": {}}}"#, NOW + 600)),
    ] {
        let (status, start) = (answer.0, answer.1.chars().take(60).collect::<String>());
        let first = answer.clone();
        let setup = Setup::new(move |token, serial| if serial == 0 { first.clone() } else { active(token, 600) }).await;
        assert_eq!(refused(setup.ask("anns").await).0, Kind::Unavailable, "{status} {start}");
        assert!(setup.known("anns").is_none());
        assert_eq!(subject(setup.ask("anns").await), "anns");
    }
}

#[tokio::test]
async fn tokens_without_number_take_no_more_room_than_the_bound() {
    let setup = Setup::new(|_, _| inactive()).await;
    for serial in 0..3 * MOST {
        let kept = Kept { since: Timestamp::MIN, until: Timestamp::MAX };
        setup.introspection.inactive.insert(hash(&serial.to_string()), Inactive { detail: INVALID, kept });
    }
    assert!(setup.introspection.inactive.len() <= MOST, "{}", setup.introspection.inactive.len());
}

#[tokio::test]
async fn a_caller_is_not_sent_away_for_as_long_as_an_issuer_says() {
    let setup = Setup::new(|_, _| (429, String::new())).await;
    let problem = setup.ask("a").await.expect_err("not answered");
    let response = problem.to_response::<String>(&halfbyte_core::problem::Context::default());
    assert_eq!((problem.kind(), response.headers()["retry-after"].to_str().expect("text")), (Kind::Unavailable, "60"));
}
