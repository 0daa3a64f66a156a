use halfbyte_core::problem::Kind;
use http::Request;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::Case;
use crate::remote::Issuer;
use crate::support::{AUDIENCE, Key, NOW, Product, Seen, claims, send};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

impl Case {
    fn logout(&self) -> Value {
        json!({"iss": self.issuer.id(), "aud": AUDIENCE, "iat": NOW, "exp": NOW + 120, "jti": "l-1",
               "sid": "s-1", "events": {EVENT: {}}})
    }

    fn access_token(&self, sub: &str, sid: &str, iat: i64) -> String {
        let mut claims = claims(self.issuer.id());
        (claims["sub"], claims["sid"], claims["iat"]) = (sub.into(), sid.into(), iat.into());
        self.key.token(&claims)
    }

    async fn is_accepted(&self, token: &str) -> bool {
        match self.product.identity.authenticator().authenticate(token).await {
            Ok(_) => true,
            Err(problem) => {
                assert_eq!(problem.kind(), Kind::InvalidToken);
                false
            }
        }
    }

    async fn post(&self, header: &str, claims: &Value) -> Seen {
        self.post_token(&self.key.token_of(header, &claims.to_string())).await
    }

    async fn post_token(&self, token: &str) -> Seen {
        self.post_form(&Serializer::new(String::new()).append_pair("logout_token", token).finish()).await
    }

    async fn post_form(&self, form: &str) -> Seen {
        let request =
            Request::post("/oauth/backchannel-logout").header("content-type", "application/x-www-form-urlencoded");
        send(&self.product.endpoints(), request.body(form.to_owned()).expect("a request")).await
    }
}

const HEADER: &str = r#"{"alg":"ES256","kid":"1","typ":"logout+jwt"}"#;

#[tokio::test]
async fn a_logout_of_a_session_ends_its_tokens_and_no_others() {
    let case = Case::new().await;
    let (here, there) = (case.access_token("ann", "s-1", NOW - 5), case.access_token("ann", "s-2", NOW - 5));
    assert!(case.is_accepted(&here).await && case.is_accepted(&there).await);
    let seen = case.post(HEADER, &case.logout()).await;
    assert_eq!((seen.status.as_u16(), seen.header("cache-control")), (200, "no-store"));
    assert!(!case.is_accepted(&here).await);
    assert!(case.is_accepted(&there).await);
}

#[tokio::test]
async fn a_logout_of_a_subject_ends_what_it_was_issued_before_however_often_it_is_sent() {
    let case = Case::new().await;
    let mut logout = case.logout();
    logout.as_object_mut().expect("an object").remove("sid");
    logout["sub"] = "ann".into();
    let early = case.access_token("ann", "s-1", NOW - 5);
    assert!(case.is_accepted(&early).await);
    assert_eq!(case.post(HEADER, &logout).await.status, 200);
    assert!(!case.is_accepted(&early).await);
    case.product.jump(20);
    let late = case.access_token("ann", "s-2", NOW + 10);
    assert!(case.is_accepted(&late).await);
    // Whoever has got hold of the logout token cannot use it to end a new session.
    assert_eq!(case.post(HEADER, &logout).await.status, 200);
    assert!(case.is_accepted(&late).await);
    assert!(case.is_accepted(&case.access_token("ben", "s-1", NOW - 5)).await);
}

#[tokio::test]
async fn older_issuers_send_logout_tokens_without_a_type_and_without_an_end() {
    for header in [r#"{"alg":"ES256","kid":"1"}"#, r#"{"alg":"ES256","kid":"1","typ":"JWT"}"#] {
        let case = Case::new().await;
        let mut logout = case.logout();
        logout.as_object_mut().expect("an object").remove("exp");
        logout["aud"] = json!(["other", AUDIENCE]);
        assert_eq!(case.post(header, &logout).await.status, 200);
    }
}

#[tokio::test]
async fn what_is_not_a_good_logout_token_logs_nobody_out() {
    let case = Case::new().await;
    let token = case.access_token("ann", "s-1", NOW - 5);
    let changed = |member: &str, value: Value| {
        let mut logout = case.logout();
        match value {
            Value::Null => drop(logout.as_object_mut().expect("an object").remove(member)),
            value => logout[member] = value,
        }
        logout
    };
    let bad = [
        changed("iss", json!("https://other.example.com")),
        changed("iss", Value::Null),
        changed("aud", json!("clinic")),
        changed("aud", json!(["clinic"])),
        changed("aud", Value::Null),
        changed("iat", json!(NOW + 31)),
        changed("iat", Value::Null),
        changed("iat", json!("soon")),
        changed("exp", json!(NOW - 31)),
        changed("jti", Value::Null),
        changed("jti", json!("")),
        changed("sid", Value::Null),
        changed("nonce", json!("n")),
        changed("events", Value::Null),
        changed("events", json!({})),
        changed("events", json!({"http://schemas.openid.net/event/other": {}})),
        changed("events", json!({EVENT: "yes"})),
        changed("events", json!([EVENT])),
    ];
    for claims in &bad {
        let seen = case.post(HEADER, claims).await;
        assert_eq!((seen.status.as_u16(), &seen.json()["error"]), (400, &json!("invalid_request")), "{claims}");
        assert_eq!(seen.header("cache-control"), "no-store");
    }
    let mut old = changed("iat", json!(NOW - 331));
    old.as_object_mut().expect("an object").remove("exp");
    assert_eq!(case.post(HEADER, &old).await.status, 400, "without an end it is good for five minutes");
    for header in [
        r#"{"alg":"ES256","kid":"1","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","kid":"1","typ":"id_token+jwt"}"#,
        r#"{"alg":"none"}"#,
        r#"{"alg":"ES256","kid":"unknown"}"#,
    ] {
        assert_eq!(case.post(header, &case.logout()).await.status, 400, "{header}");
    }
    let stranger = Key::es256("1").token_of(HEADER, &case.logout().to_string());
    let twice = case.logout().to_string().replacen('{', r#"{"sid":"s-2","#, 1);
    for token in
        [stranger, case.key.token_of(HEADER, &twice), String::new(), "x".into(), case.access_token("ann", "s-1", NOW)]
    {
        assert_eq!(case.post_token(&token).await.status, 400, "{token}");
    }
    for form in ["", "logout_token=", "logout_token=a&logout_token=b", "token=a"] {
        assert_eq!(case.post_form(form).await.status, 400, "{form}");
    }
    assert!(case.is_accepted(&token).await);
}

#[tokio::test]
async fn a_logout_token_that_cannot_be_checked_is_to_be_sent_again() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    issuer.fail_with(500);
    let product = Product::of(&[issuer.id()]).await;
    let case = Case { key, issuer, product };
    let seen = case.post(HEADER, &case.logout()).await;
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (503, "unavailable"));
    assert!(!seen.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_logout_is_posted() {
    let case = Case::new().await;
    let seen = send(&case.product.endpoints(), crate::support::get("/oauth/backchannel-logout")).await;
    assert_eq!((seen.status.as_u16(), seen.header("allow")), (405, "POST"));
}
