//! Every kind of credential through the layers, over the issuer of the test kit.

use std::time::Duration;

use halfbyte_core::config::{ApiKeysBackend, Environment};
use halfbyte_core::{Clock, PeerAddress, Principal};
use halfbyte_identity::testing::{Holder, Issuer, Outage, Persona};
use halfbyte_identity::{ApiKeySpec, Settings};
use http::{Method, Request};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;

use super::heard;
use crate::support::{AUDIENCE, NOW, Product, Seen, get, send};

const URL: &str = "http://127.0.0.1:8080/labels";

struct Case {
    issuer: Issuer,
    product: Product,
}

impl Case {
    async fn new() -> Self {
        Self::with(|settings| settings).await
    }

    async fn with(change: impl FnOnce(Settings) -> Settings) -> Self {
        let clock = Clock::manual(Timestamp::from_second(NOW).expect("in range"));
        let issuer = Issuer::start_with_clock(clock).await.expect("started");
        let product = Product::set(&[issuer.id()], change).await;
        Self { issuer, product }
    }

    async fn send(&self, headers: &[(&str, &str)]) -> Seen {
        self.send_from(headers, None).await.0
    }

    async fn send_from(&self, headers: &[(&str, &str)], peer: Option<&str>) -> (Seen, Option<Principal>) {
        let mut request: Request<String> = get("/labels");
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, value.parse().expect("a value"));
        }
        if let Some(peer) = peer {
            request.extensions_mut().insert(PeerAddress(peer.parse().expect("an address")));
        }
        heard(send(&self.product.greeter(), request)).await
    }

    fn holder(&self) -> Holder {
        Holder::with_clock(self.product.life.clock().clone())
    }
}

fn ann() -> Persona {
    Persona::user("ann").tenant("acme").scopes(["labels:read"])
}

fn dpop(token: &str) -> String {
    format!("DPoP {token}")
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn assert_refused(seen: &Seen, challenge: &str) {
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (401, "invalid-token"), "{seen:?}");
    let shown = seen.header("www-authenticate");
    assert!(shown.starts_with(challenge) && shown.contains("resource_metadata="), "{shown}");
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_good_with_its_proof_and_not_without() {
    let case = Case::new().await;
    let holder = case.holder();
    let token = case.issuer.token(&holder.bind(ann()), AUDIENCE);
    // The first time the keys are fetched on the way; the second time the token is known. Both ask for the proof.
    for _ in 0..2 {
        let proof = holder.proof(&Method::GET, URL, &token);
        let (seen, caller) = case.send_from(&[("authorization", &dpop(&token)), ("dpop", &proof)], None).await;
        assert_eq!((seen.status.as_u16(), seen.body.as_str()), (200, "hello, ann"), "{seen:?}");
        assert!(!seen.headers.contains_key("dpop-nonce"));
        assert_eq!(caller.expect("told").subject(), "ann");

        let replayed = case.send(&[("authorization", &dpop(&token)), ("dpop", &proof)]).await;
        assert_refused(&replayed, r#"DPoP error="invalid_dpop_proof","#);
        let (alone, caller) = case.send_from(&[("authorization", &dpop(&token))], None).await;
        assert_refused(&alone, r#"DPoP error="invalid_dpop_proof","#);
        assert!(caller.is_none(), "nobody is told who it would have been");
        assert!(alone.header("www-authenticate").contains(r#"algs="ES256 "#));
        let proof = holder.proof(&Method::GET, URL, &token);
        let as_bearer = case.send(&[("authorization", &bearer(&token)), ("dpop", &proof)]).await;
        assert_refused(&as_bearer, r#"DPoP error="invalid_token","#);
        let strangers = case.holder().proof(&Method::GET, URL, &token);
        let seen = case.send(&[("authorization", &dpop(&token)), ("dpop", &strangers)]).await;
        assert_refused(&seen, r#"DPoP error="invalid_dpop_proof","#);
        for (method, url) in
            [(Method::POST, URL), (Method::GET, "http://127.0.0.1:8080/other"), (Method::GET, "http://evil/labels")]
        {
            let elsewhere = holder.proof(&method, url, &token);
            let seen = case.send(&[("authorization", &dpop(&token)), ("dpop", &elsewhere)]).await;
            assert_refused(&seen, r#"DPoP error="invalid_dpop_proof","#);
        }
    }
}

#[tokio::test]
async fn a_token_that_is_not_bound_is_no_dpop_token() {
    let case = Case::new().await;
    let token = case.issuer.token(&ann(), AUDIENCE);
    let proof = case.holder().proof(&Method::GET, URL, &token);
    let seen = case.send(&[("authorization", &dpop(&token)), ("dpop", &proof)]).await;
    assert_refused(&seen, r#"DPoP error="invalid_token","#);
    assert_eq!(case.send(&[("authorization", &bearer(&token)), ("dpop", &proof)]).await.status, 200);
}

#[tokio::test]
async fn a_nonce_is_handed_out_asked_for_and_renewed() {
    let case = Case::with(|settings| settings.dpop_nonce(Some("0123456789abcdef0123456789abcdef".into()))).await;
    let holder = case.holder();
    let token = case.issuer.token(&holder.bind(ann().expires_in(SignedDuration::from_secs(900))), AUDIENCE);
    let ask = async |nonce: Option<&str>| {
        let proof = match nonce {
            Some(nonce) => holder.proof_with_nonce(&Method::GET, URL, &token, nonce),
            None => holder.proof(&Method::GET, URL, &token),
        };
        case.send(&[("authorization", &dpop(&token)), ("dpop", &proof)]).await
    };
    let seen = ask(None).await;
    assert_refused(&seen, r#"DPoP error="use_dpop_nonce","#);
    let nonce = seen.header("dpop-nonce").to_owned();
    assert!(!nonce.is_empty());
    let seen = ask(Some(&nonce)).await;
    assert_eq!((seen.status.as_u16(), seen.header("dpop-nonce")), (200, ""));
    case.product.jump(121);
    let seen = ask(Some(&nonce)).await;
    let next = seen.header("dpop-nonce").to_owned();
    assert_eq!(seen.status, 200);
    assert!(!next.is_empty() && next != nonce, "a good answer brings the next one");
    case.product.jump(121);
    assert_refused(&ask(Some(&nonce)).await, r#"DPoP error="use_dpop_nonce","#);
    assert_eq!(ask(Some(&next)).await.status, 200);
}

#[tokio::test]
async fn a_nonce_key_that_can_be_guessed_is_refused_at_the_start() {
    use halfbyte_core::home::Home;
    use halfbyte_identity::{ErrorKind, Identity};
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path().join("home")).expect("a home");
    let settings = Settings::new(Vec::new(), AUDIENCE, "http://127.0.0.1:8080".parse().expect("a URL"), home);
    let client = halfbyte_core::client::Client::new().expect("a client");
    let opened = Identity::open(settings.dpop_nonce(Some("short".into())), client, &crate::support::life()).await;
    let error = opened.expect_err("too short");
    assert_eq!(error.kind(), ErrorKind::Setting);
    assert!(!error.to_string().contains("short\""));
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_certificate_is_good_from_a_trusted_proxy_that_has_seen_it() {
    let case = Case::with(|settings| settings.trusted_proxies(vec!["10.0.0.0/8".parse().expect("a network")])).await;
    // Any DER will do: the fingerprint is over its bytes, and the proxy has looked at the rest.
    let (der, other) = ([0x30, 0x03, 0x02, 0x01, 0x05], [0x30, 0x03, 0x02, 0x01, 0x06]);
    let header = |der: &[u8]| {
        use base64::Engine as _;
        format!(":{}:", base64::engine::general_purpose::STANDARD.encode(der))
    };
    let (shown, another) = (header(&der), header(&other));
    let token = bearer(&case.issuer.token(&ann().bound_to_certificate(&der), AUDIENCE));
    for _ in 0..2 {
        let good = case.send_from(&[("authorization", &token), ("client-cert", &shown)], Some("10.1.2.3:4711")).await.0;
        assert_eq!(good.status, 200, "{good:?}");
        for (headers, peer) in [
            (vec![("authorization", &*token), ("client-cert", &*another)], Some("10.1.2.3:4711")),
            (vec![("authorization", &*token)], Some("10.1.2.3:4711")),
            (vec![("authorization", &*token), ("client-cert", &*shown)], Some("192.0.2.1:4711")),
            (vec![("authorization", &*token), ("client-cert", &*shown)], None),
            (
                vec![("authorization", &*token), ("client-cert", &*shown), ("client-cert", &*another)],
                Some("10.1.2.3:4711"),
            ),
        ] {
            let (seen, caller) = case.send_from(&headers, peer).await;
            assert_refused(&seen, r#"Bearer error="invalid_token","#);
            assert!(caller.is_none());
        }
    }
}

#[tokio::test]
async fn an_opaque_token_is_what_its_issuer_says_and_is_refused_soon_after_it_was_revoked() {
    let case = Case::with(|settings| settings.introspect("parcel", || Ok("parcel-secret".into()))).await;
    case.issuer.client("parcel", "parcel-secret");
    let token = case.issuer.opaque_token(&ann(), AUDIENCE);
    let foreign = case.issuer.opaque_token(&ann(), "clinic");
    let (seen, caller) = case.send_from(&[("authorization", &bearer(&token))], None).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    let caller = caller.expect("told");
    assert_eq!((caller.subject(), caller.tenant().as_str()), ("ann", "acme"));
    assert_refused(&case.send(&[("authorization", &bearer(&foreign))]).await, r#"Bearer error="invalid_token","#);
    assert_refused(&case.send(&[("authorization", "Bearer made-up")]).await, r#"Bearer error="invalid_token","#);

    case.issuer.outage(Outage::Refuse);
    assert_eq!(case.send(&[("authorization", &bearer(&token))]).await.status, 200, "its word is kept for a while");
    let unknown = case.send(&[("authorization", "Bearer never-seen")]).await;
    assert_eq!((unknown.status.as_u16(), unknown.problem().as_str()), (503, "unavailable"));
    assert!(!unknown.header("retry-after").is_empty());
    case.issuer.outage(Outage::None);

    case.issuer.revoke(&token);
    case.product.jump(31);
    assert_refused(&case.send(&[("authorization", &bearer(&token))]).await, r#"Bearer error="invalid_token","#);
}

#[tokio::test]
async fn an_opaque_token_can_be_revoked_here_as_well() {
    let case = Case::with(|settings| settings.introspect("parcel", || Ok("parcel-secret".into()))).await;
    case.issuer.client("parcel", "parcel-secret");
    let token = bearer(&case.issuer.opaque_token(&ann(), AUDIENCE));
    let caller = case.send_from(&[("authorization", &token)], None).await.1.expect("good");
    case.product.identity.revocations().subject(caller.issuer(), caller.subject());
    assert_refused(&case.send(&[("authorization", &token)]).await, r#"Bearer error="invalid_token","#);
}

#[tokio::test]
async fn without_introspection_an_opaque_token_is_refused_and_nobody_is_asked() {
    let case = Case::new().await;
    let token = case.issuer.opaque_token(&ann(), AUDIENCE);
    assert_refused(&case.send(&[("authorization", &bearer(&token))]).await, r#"Bearer error="invalid_token","#);
    assert_eq!(case.issuer.fetches_of("/introspect"), 0);
}

#[tokio::test]
async fn an_api_key_is_a_bearer_credential_until_it_is_revoked() {
    let case = Case::with(|settings| settings.api_keys(ApiKeysBackend::Embedded, Environment::Development)).await;
    let keys = case.product.identity.api_keys().expect("on");
    let spec = ApiKeySpec::new("acme".parse().expect("a tenant")).scopes(["labels:read"]);
    let (key, secret) = keys.create(spec).await.expect("created");
    let authorization = bearer(secret.expose_secret());
    let (seen, caller) = case.send_from(&[("authorization", &authorization)], None).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    let caller = caller.expect("told");
    assert_eq!((caller.credential_id(), caller.tenant().as_str()), (Some(&*key.id), "acme"));
    let as_dpop = case.send(&[("authorization", &dpop(secret.expose_secret()))]).await;
    assert_refused(&as_dpop, r#"DPoP error="invalid_token","#);
    keys.revoke(&key.id).await.expect("revoked");
    assert_refused(&case.send(&[("authorization", &authorization)]).await, r#"Bearer error="invalid_token","#);
}

#[tokio::test]
async fn an_api_key_can_be_revoked_in_this_process_alone() {
    let case = Case::with(|settings| settings.api_keys(ApiKeysBackend::Embedded, Environment::Development)).await;
    let keys = case.product.identity.api_keys().expect("on");
    let spec = ApiKeySpec::new("acme".parse().expect("a tenant")).scopes(["labels:read"]);
    let (_, secret) = keys.create(spec).await.expect("created");
    let authorization = bearer(secret.expose_secret());
    let caller = case.send_from(&[("authorization", &authorization)], None).await.1.expect("good");
    case.product.identity.revocations().credential(&caller);
    assert_refused(&case.send(&[("authorization", &authorization)]).await, r#"Bearer error="invalid_token","#);
}

#[tokio::test]
async fn without_api_keys_each_one_is_refused() {
    let case = Case::new().await;
    let seen = case.send(&[("authorization", "Bearer hb_dev_000000000000_0")]).await;
    assert_refused(&seen, r#"Bearer error="invalid_token","#);
}

#[tokio::test]
async fn a_token_is_remembered_no_longer_than_the_settings_say() {
    let case = Case::with(|settings| settings.cached_for(Duration::from_secs(60))).await;
    let token = case.issuer.token(&ann().expires_in(SignedDuration::from_secs(3_000)), AUDIENCE);
    assert_eq!(case.send(&[("authorization", &bearer(&token))]).await.status, 200);
    case.product.jump(61);
    assert_eq!(case.send(&[("authorization", &bearer(&token))]).await.status, 200, "it is verified again");
}
