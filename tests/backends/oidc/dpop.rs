//! Tokens that are bound to a client's key (DPoP, RFC 9449): fetched from the provider with a proof, used with another.

use halfbyte::core::Clock;
use halfbyte::identity::Settings;
use halfbyte::identity::testing::Holder;
use http::Method;
use reqwest::Response;

use super::provider::secret_text;
use super::{AUDIENCE, OPAQUE, Provider, Served, json, refusal};

const ALGORITHMS: &str = "algs=\"ES256 ES384 EdDSA PS256 RS256\"";

/// A token that the provider binds to the key of `holder`, after it has asked for a nonce of its own.
async fn bound_token(provider: &Provider, resource: &str, holder: &Holder) -> String {
    let prove = |nonce: Option<&str>| {
        let proof = holder.proof_without_token(&Method::POST, &provider.token_endpoint(), nonce);
        provider.token_request(Some(resource), "labels:read").header("dpop", proof).send()
    };
    let first = prove(None).await.unwrap();
    let nonce = first.headers()["dpop-nonce"].to_str().unwrap().to_owned();
    assert_eq!((first.status().as_u16(), json(first).await["error"].as_str()), (400, Some("use_dpop_nonce")));
    let answer = json(prove(Some(&nonce)).await.unwrap()).await;
    assert_eq!(answer["token_type"], "DPoP", "{answer}");
    answer["access_token"].as_str().unwrap().to_owned()
}

/// A product and a caller with a token that is bound to his key.
struct Case {
    served: Served,
    holder: Holder,
    token: String,
}

impl Case {
    async fn new(resource: &str, change: impl FnOnce(Settings) -> Settings) -> Self {
        let provider = Provider::shared();
        let served = Served::start(&provider, resource, Clock::system(), change).await;
        let holder = Holder::new();
        let token = bound_token(&provider, resource, &holder).await;
        Self { served, holder, token }
    }

    /// A proof that is good for `GET /labels`.
    fn proof(&self) -> String {
        self.holder.proof(&Method::GET, &self.labels(), &self.token)
    }

    fn labels(&self) -> String {
        format!("{}/labels", self.served.url)
    }

    async fn send(&self, scheme: &str, proofs: &[&str]) -> Response {
        let authorization = format!("{scheme} {}", self.token);
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(proofs.iter().map(|proof| ("dpop", *proof)));
        self.served.get("/labels", &headers).await
    }

    async fn require_accepted(&self) {
        let answer = self.send("DPoP", &[&self.proof()]).await;
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "hello, acme"));
    }

    async fn require_refused(&self, what: &str, scheme: &str, proofs: &[&str], error: &str) {
        let (status, kind, challenge) = refusal(self.send(scheme, proofs).await).await;
        assert_eq!((status, kind.as_str()), (401, "invalid-token"), "{what}");
        assert!(challenge.starts_with(&format!("DPoP error=\"{error}\"")), "{what}: {challenge}");
        assert!(challenge.ends_with(ALGORITHMS), "{what}: {challenge}");
    }
}

#[tokio::test]
async fn a_bound_token_is_accepted_with_a_proof_of_its_key_and_only_once_with_each() {
    let case = Case::new(AUDIENCE, |settings| settings).await;
    case.require_accepted().await;
    let proof = case.proof();
    assert_eq!(case.send("DPoP", &[&proof]).await.status(), 200);
    case.require_refused("a replayed proof", "DPoP", &[&proof], "invalid_dpop_proof").await;
    case.require_accepted().await;
}

#[tokio::test]
async fn a_bound_token_that_came_into_other_hands_is_of_no_use() {
    let case = Case::new(AUDIENCE, |settings| settings).await;
    // The first is met before the token is known, the second when it is.
    for what in ["as a bearer token", "as a known bearer token"] {
        case.require_refused(what, "Bearer", &[], "invalid_token").await;
        case.require_refused(what, "Bearer", &[&case.proof()], "invalid_token").await;
        case.require_refused("without a proof", "DPoP", &[], "invalid_dpop_proof").await;
        case.require_accepted().await;
    }
    let (get, labels, token) = (Method::GET, case.labels(), case.token.as_str());
    let thief = Holder::new();
    let table = [
        ("of another key", thief.proof(&get, &labels, token)),
        ("of another method", case.holder.proof(&Method::POST, &labels, token)),
        ("of another path", case.holder.proof(&get, &format!("{}/ticks", case.served.url), token)),
        ("of another host", case.holder.proof(&get, "http://localhost:1/labels", token)),
        ("of another scheme", case.holder.proof(&get, &labels.replace("http:", "https:"), token)),
        ("of another token", case.holder.proof(&get, &labels, "another")),
        ("of no token", case.holder.proof_without_token(&get, &labels, None)),
        ("with a nonce of the holder's", case.holder.proof_with_nonce(&get, &labels, token, "made-up")),
        ("that is the token", token.to_owned()),
    ];
    for (what, proof) in &table {
        let error = if what.contains("nonce") { "use_dpop_nonce" } else { "invalid_dpop_proof" };
        case.require_refused(what, "DPoP", &[proof], error).await;
    }
    case.require_refused("two proofs", "DPoP", &[&case.proof(), &case.proof()], "invalid_dpop_proof").await;
    case.require_accepted().await;
}

#[tokio::test]
async fn a_token_that_is_bound_to_no_key_is_refused_as_one_that_is() {
    let mut case = Case::new(AUDIENCE, |settings| settings).await;
    case.token = Provider::shared().good_token().await;
    case.require_refused("a plain token", "DPoP", &[&case.proof()], "invalid_token").await;
    assert_eq!(case.served.status(&case.token).await, 200);
}

#[tokio::test]
async fn a_product_that_wants_a_nonce_gives_one_and_takes_it() {
    let case = Case::new(AUDIENCE, |settings| settings.dpop_nonce(None)).await;
    let answer = case.send("DPoP", &[&case.proof()]).await;
    let nonce = answer.headers()["dpop-nonce"].to_str().unwrap().to_owned();
    let (status, _, challenge) = refusal(answer).await;
    assert_eq!(status, 401);
    assert!(challenge.starts_with("DPoP error=\"use_dpop_nonce\"") && challenge.ends_with(ALGORITHMS), "{challenge}");

    let prove = |nonce: &str| case.holder.proof_with_nonce(&Method::GET, &case.labels(), &case.token, nonce);
    for _ in 0..2 {
        let answer = case.send("DPoP", &[&prove(&nonce)]).await;
        assert_eq!((answer.status().as_u16(), answer.headers().get("dpop-nonce")), (200, None));
    }
    case.require_refused("another nonce", "DPoP", &[&prove("made-up")], "use_dpop_nonce").await;
}

#[tokio::test]
async fn an_opaque_token_is_bound_by_what_the_provider_says_of_it() {
    let asking = |settings: Settings| settings.introspect("parcel", || Ok(secret_text("parcel").into()));
    let case = Case::new(OPAQUE, asking).await;
    // Before the provider was asked about it, and after.
    for _ in 0..2 {
        case.require_refused("as a bearer token", "Bearer", &[], "invalid_token").await;
        case.require_refused("without a proof", "DPoP", &[], "invalid_dpop_proof").await;
        let proof = case.proof();
        assert_eq!(case.send("DPoP", &[&proof]).await.status(), 200);
        case.require_refused("a replayed proof", "DPoP", &[&proof], "invalid_dpop_proof").await;
    }
    assert!(case.served.product.ask(&case.token).await.is_err(), "accepted where nothing can be proved");
}
