//! How a client proves who it is.

use std::sync::{Arc, Mutex};

use halfbyte_core::error_chain;
use halfbyte_identity::jose::{self, Algorithm, JwkSet};
use halfbyte_identity::outbound::{ClientAuthentication, ErrorKind, PrivateKeyJwt};
use serde_json::{Value, json};

use super::scripted::{Asked, Scripted, bearer};
use crate::support::{Key, NOW};

#[tokio::test]
async fn a_secret_goes_into_the_basic_header_form_encoded_and_nowhere_else() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let client = issuer.identity.client("a:b", ClientAuthentication::secret(|| Ok("s e:c%r+t/ü".into())));
    client.tokens("clinic", &["b", "a", "b"]).token().await.expect("granted");
    let asked = &issuer.asked()[0];
    // base64 of "a%3Ab:s+e%3Ac%25r%2Bt%2F%C3%BC"
    assert_eq!(asked.authorization, "Basic YSUzQWI6cytlJTNBYyUyNXIlMkJ0JTJGJUMzJUJD");
    let form: Vec<_> = asked.form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(form, [("audience", "clinic"), ("grant_type", "client_credentials"), ("scope", "a b")]);
}

#[tokio::test]
async fn an_audience_that_is_a_uri_is_asked_for_as_a_resource_and_an_empty_one_not_at_all() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let client = issuer.client();
    client.tokens("https://clinic.example.com/", &[]).token().await.expect("granted");
    client.tokens("", &[]).token().await.expect("granted");
    let asked = issuer.asked();
    assert_eq!((asked[0].field("resource"), asked[0].form.len()), ("https://clinic.example.com/", 2));
    assert_eq!(asked[1].form.len(), 1, "{asked:?}");
}

/// The claims of the assertion in `asked`, if `key` has signed it.
fn claims(asked: &Asked, key: &Key) -> Value {
    assert_eq!(asked.authorization, "");
    assert_eq!(asked.field("client_assertion_type"), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let keys = JwkSet::parse(json!({"keys": [key.jwk()]}).to_string().as_bytes()).expect("a set");
    let verified =
        jose::verify(asked.field("client_assertion"), &keys, &Algorithm::ASYMMETRIC).expect("signed by the key");
    serde_json::from_slice(&verified.payload).expect("JSON")
}

#[tokio::test]
async fn an_assertion_is_signed_by_the_key_whatever_its_kind_and_good_for_one_use_within_a_minute() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let mut uses = Vec::new();
    for (serial, algorithm) in ["ES256", "ES384", "EdDSA", "RS256"].into_iter().enumerate() {
        let key = Key::new(algorithm, "mine");
        let pem = key.pem();
        let jwt = PrivateKeyJwt::new(move || Ok(pem.clone().into())).key_id("mine");
        let client = issuer.identity.client("parcel", ClientAuthentication::private_key_jwt(jwt));
        client.tokens("clinic", &[]).token().await.expect("granted");
        let asked = &issuer.asked()[serial];
        assert_eq!(asked.field("client_id"), "parcel");
        let claims = claims(asked, &key);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("parcel"), &json!("parcel")));
        assert_eq!(claims["aud"], json!(issuer.url), "the issuer alone, so that nobody else can use it");
        let (iat, exp) = (claims["iat"].as_i64().expect("a time"), claims["exp"].as_i64().expect("a time"));
        assert!((NOW..NOW + 30).contains(&iat) && exp == iat + 60, "{claims}");
        let id = claims["jti"].as_str().expect("an id").to_owned();
        assert_eq!((id.len(), uses.contains(&id)), (22, false));
        uses.push(id);
    }
}

#[tokio::test]
async fn a_rotated_key_is_used_from_the_next_call_on_and_the_audience_can_be_chosen() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let (old, new) = (Key::es256("k"), Key::es256("k"));
    let pem = Arc::new(Mutex::new(old.pem()));
    let kept = pem.clone();
    let jwt = PrivateKeyJwt::new(move || Ok(kept.lock().expect("kept").clone().into()))
        .key_id("k")
        .audience("https://issuer.example.com/token");
    let client = issuer.identity.client("parcel", ClientAuthentication::private_key_jwt(jwt));
    client.tokens("one", &[]).token().await.expect("granted");
    *pem.lock().expect("kept") = new.pem();
    client.tokens("two", &[]).token().await.expect("granted");
    let asked = issuer.asked();
    assert_eq!(claims(&asked[0], &old)["aud"], json!("https://issuer.example.com/token"));
    claims(&asked[1], &new);
}

#[tokio::test]
async fn a_key_in_bare_base64_is_read_as_well() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let key = Key::es256("k");
    let bare: String = key.pem().lines().filter(|line| !line.starts_with('-')).collect();
    let jwt = PrivateKeyJwt::new(move || Ok(bare.clone().into())).key_id("k");
    let client = issuer.identity.client("parcel", ClientAuthentication::private_key_jwt(jwt));
    client.tokens("one", &[]).token().await.expect("granted");
    claims(&issuer.asked()[0], &key);
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_an_error_without_the_key_and_nothing_is_sent() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let pem = Key::es256("k").pem();
    let half = pem[..pem.len() / 2].to_owned();
    let encrypted = pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for text in [half, encrypted, pem.replace('M', "N"), "c2VjcmV0LXQ=".into(), "secret-t".into(), String::new()] {
        let given = text.clone();
        let jwt = PrivateKeyJwt::new(move || Ok(given.clone().into()));
        let client = issuer.identity.client("parcel", ClientAuthentication::private_key_jwt(jwt));
        let error = client.introspect(&"token".into()).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
        let shown = format!("{error:?} {} {client:?}", error_chain(&error));
        assert!(text.is_empty() || !shown.contains(&text[..text.len().min(20)]) || text.starts_with('-'), "{shown}");
        assert!(!shown.contains("MIG") && !shown.contains("secret-t"), "{shown}");
    }
    let locked = PrivateKeyJwt::new(|| Err("the safe is locked".into()));
    let client = issuer.identity.client("parcel", ClientAuthentication::private_key_jwt(locked));
    let error = client.introspect(&"token".into()).await.expect_err("no key");
    assert!(error_chain(&error).contains("the safe is locked"), "{}", error_chain(&error));
    assert_eq!(issuer.calls(), 0);
}

#[tokio::test]
async fn what_proves_itself_by_a_secret_may_be_sent_again_and_an_assertion_may_not() {
    let issuer = Scripted::start(|serial, _| if serial == 0 { (503, String::new()) } else { bearer(serial) }).await;
    let token = issuer.client().tokens("clinic", &[]).token().await.expect("granted at the second attempt");
    assert_eq!((token.header().to_str().expect("text"), issuer.calls()), ("Bearer t-1", 2));

    let issuer = Scripted::start(|_, _| (503, String::new())).await;
    let pem = Key::es256("k").pem();
    let jwt = PrivateKeyJwt::new(move || Ok(pem.clone().into()));
    let client = issuer.identity.client("parcel", ClientAuthentication::private_key_jwt(jwt));
    let error = client.exchange(&"subject".into(), None, "clinic", &[]).await.expect_err("in trouble");
    assert_eq!((error.is_unavailable(), issuer.calls()), (true, 1));
}
