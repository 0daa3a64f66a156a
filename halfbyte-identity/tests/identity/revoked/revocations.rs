use halfbyte_core::Principal;
use halfbyte_core::problem::Kind;
use serde_json::{Value, json};

use super::Case;
use crate::remote::Issuer;
use crate::support::{Key, NOW, Product, claims, get, send, with_token};

impl Case {
    fn token(&self, more: Value) -> String {
        let mut claims = claims(self.issuer.id());
        claims["iat"] = (NOW - 10).into();
        for (name, value) in more.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        self.key.token(&claims)
    }

    async fn is_good(&self, token: &str) -> bool {
        match self.product.identity.authenticator().authenticate(token).await {
            Ok(_) => true,
            Err(problem) => {
                assert_eq!((problem.kind(), problem.detail()), (Kind::InvalidToken, "the credential was revoked"));
                false
            }
        }
    }

    async fn principal(&self, token: &str) -> Principal {
        self.product.identity.authenticator().authenticate(token).await.expect("good")
    }
}

#[tokio::test]
async fn a_revoked_token_is_refused_from_the_next_request_on_and_others_are_not() {
    let case = Case::new().await;
    let (bad, good) = (case.token(json!({"jti": "a"})), case.token(json!({"jti": "b"})));
    for token in [&bad, &good] {
        assert_eq!(send(&case.product.greeter(), with_token(token)).await.status, 200);
    }
    let principal = case.principal(&bad).await;
    case.product.identity.revocations().credential(&principal);
    let refused = send(&case.product.greeter(), with_token(&bad)).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (401, "invalid-token"));
    assert_eq!(refused.json()["detail"], "the credential was revoked");
    assert!(refused.header("www-authenticate").starts_with(r#"Bearer error="invalid_token""#));
    assert_eq!(send(&case.product.greeter(), with_token(&good)).await.status, 200);
    assert_eq!(send(&case.product.greeter(), get("/labels")).await.problem(), "unauthenticated");
}

#[tokio::test]
async fn a_token_that_was_never_seen_is_refused_when_it_was_revoked_before() {
    let case = Case::new().await;
    case.product.identity.revocations().credential_by_id(case.issuer.id(), "a", None);
    assert!(!case.is_good(&case.token(json!({"jti": "a"}))).await);
    assert!(case.is_good(&case.token(json!({"jti": "b"}))).await);
    assert!(case.is_good(&case.token(json!({}))).await, "a token without an id is not that one");
}

#[tokio::test]
async fn a_token_without_an_id_is_revoked_with_all_that_its_subject_has() {
    let case = Case::new().await;
    let (one, other) = (case.token(json!({})), case.token(json!({"scope": "labels:read"})));
    let principal = case.principal(&one).await;
    case.product.identity.revocations().credential(&principal);
    assert!(!case.is_good(&one).await && !case.is_good(&other).await);
    assert!(case.is_good(&case.token(json!({"sub": "ben"}))).await);
}

#[tokio::test]
async fn a_subject_may_come_back_with_a_token_that_was_issued_later() {
    let case = Case::new().await;
    let (early, undated) = (case.token(json!({"jti": "a"})), {
        let mut claims = claims(case.issuer.id());
        claims.as_object_mut().expect("an object").remove("iat");
        case.key.token(&claims)
    });
    assert!(case.is_good(&early).await && case.is_good(&undated).await);
    case.product.identity.revocations().subject(case.issuer.id(), "ann");
    case.product.jump(5);
    let late = case.token(json!({"iat": NOW + 4}));
    assert!(!case.is_good(&early).await);
    assert!(!case.is_good(&undated).await, "it may have been issued at any time");
    assert!(case.is_good(&late).await);
    assert!(!case.is_good(&case.token(json!({"iat": NOW}))).await, "of the same second: not certainly later");
}

#[tokio::test]
async fn a_session_ends_with_all_its_tokens() {
    let case = Case::new().await;
    let (here, there) = (case.token(json!({"sid": "s-1"})), case.token(json!({"sid": "s-2"})));
    assert!(case.is_good(&here).await);
    case.product.identity.revocations().session(case.issuer.id(), "s-1");
    assert!(!case.is_good(&here).await);
    assert!(!case.is_good(&case.token(json!({"sid": "s-1", "iat": NOW + 20}))).await, "a session does not begin again");
    assert!(case.is_good(&there).await);
}

#[tokio::test]
async fn all_that_an_issuer_issued_up_to_a_time_is_revoked_and_nothing_of_another_issuer() {
    let case = Case::new().await;
    let key = Key::es256("2");
    let other = Issuer::start(&[&key]).await;
    let product = Product::of(&[case.issuer.id(), other.id()]).await;
    let authenticator = product.identity.authenticator();
    let mut claims = claims(other.id());
    claims["iat"] = (NOW - 10).into();
    let theirs = key.token(&claims);
    let token = |iat: i64| case.token(json!({"iat": iat}));
    product.identity.revocations().issued_up_to(case.issuer.id(), "2030-03-17T17:46:30Z".parse().expect("a time"));
    assert_eq!("2030-03-17T17:46:30Z".parse::<jiff::Timestamp>().expect("a time").as_second(), NOW - 10);
    assert!(authenticator.authenticate(&token(NOW - 10)).await.is_err());
    assert!(authenticator.authenticate(&token(NOW - 9)).await.is_ok());
    assert!(authenticator.authenticate(&theirs).await.is_ok());
}

#[tokio::test]
async fn who_is_revoked_in_the_middle_of_many_requests_is_refused_in_all_that_begin_later() {
    let case = Case::new().await;
    let token = case.token(json!({"jti": "a"}));
    let principal = case.principal(&token).await;
    let authenticator = case.product.identity.authenticator().clone();
    let revocations = case.product.identity.revocations().clone();
    let revoked = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        use std::sync::atomic::Ordering::SeqCst;
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut late = 0;
                    while late < 1_000 {
                        let before = revoked.load(SeqCst);
                        let outcome = authenticator.authenticate_now(&token).expect("no fetch is needed");
                        assert!(!(before && outcome.is_ok()), "accepted after it was revoked");
                        late += usize::from(before);
                    }
                    late
                })
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(20));
        revocations.credential(&principal);
        revoked.store(true, SeqCst);
        assert!(readers.into_iter().all(|reader| reader.join().expect("no panic") > 0));
    });
}
