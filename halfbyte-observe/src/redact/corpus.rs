//! What must go and what must stay, and what holds for every text.

use std::borrow::Cow;

use opentelemetry::trace::{Event, Link, Status};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Proto;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue as ProtoKeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric,
};
use proptest::prelude::*;

use super::Redaction;
use super::text::STEPS;

const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLWJ5dGVz";
const KEY: &str = "hb_live_0123456789AZ_3AHOVcjqx4BIPWdkry5CJQXelsz6DKRYfmt07ELSZgn3IbyMl";

/// Texts that change: before and after. `$J` is a JSON web token, `$K` an API key.
const GOES: &[(&str, &str)] = &[
    // The query of a URL.
    ("https://x.example/a?sig=abc&page=2", "https://x.example/a?sig=REDACTED&page=2"),
    ("https://x.example/?page=2&X-Amz-Signature=abc", "https://x.example/?page=2&X-Amz-Signature=REDACTED"),
    ("/?X-Amz-Credential=AK%2F2026&X-Amz-Date=1", "/?X-Amz-Credential=REDACTED&X-Amz-Date=1"),
    ("/?X-Amz-Security-Token=abc#top", "/?X-Amz-Security-Token=REDACTED#top"),
    ("/?X-Goog-Signature=00ff&X-Goog-Expires=9", "/?X-Goog-Signature=REDACTED&X-Goog-Expires=9"),
    ("/?AWSAccessKeyId=abc&Signature=d%3D&Expires=1", "/?AWSAccessKeyId=REDACTED&Signature=REDACTED&Expires=1"),
    ("/cb?code=4/0Ab&state=xyz", "/cb?code=REDACTED&state=xyz"),
    ("/?token=t", "/?token=REDACTED"),
    ("/?access_token=t&token_type=bearer", "/?access_token=REDACTED&token_type=bearer"),
    ("/cb#access_token=t&expires_in=3600", "/cb#access_token=REDACTED&expires_in=3600"),
    ("/cb#code=4/0Ab&state=xyz", "/cb#code=REDACTED&state=xyz"),
    ("/?a=1&password=hunter2", "/?a=1&password=REDACTED"),
    ("/?key=AAAA", "/?key=REDACTED"),
    ("/?api_key=AAAA&q=x", "/?api_key=REDACTED&q=x"),
    ("/?client_secret=AAAA", "/?client_secret=REDACTED"),
    ("/?CODE=5", "/?CODE=REDACTED"),
    ("/?access%5Ftoken=t&a=b", "/?access%5Ftoken=REDACTED&a=b"),
    ("/?%74oken=t", "/?%74oken=REDACTED"),
    ("/?user[password]=x&user[name]=ada", "/?user[password]=REDACTED&user[name]=ada"),
    ("GET /?otp=123456 HTTP/1.1", "GET /?otp=REDACTED HTTP/1.1"),
    ("see <https://x/?token=abc>", "see <https://x/?token=REDACTED>"),
    ("{\"url\":\"https://x/?token=abc\"}", "{\"url\":\"https://x/?token=REDACTED\"}"),
    ("/?SAMLResponse=PHNhbWw%2B&RelayState=1", "/?SAMLResponse=REDACTED&RelayState=1"),
    ("/?client_assertion=x&ticket=ST-1", "/?client_assertion=REDACTED&ticket=REDACTED"),
    ("/?voucher=V1&page=2", "/?voucher=REDACTED&page=2"),
    ("/?a=1;code=x1", "/?a=1;code=REDACTED"),
    ("/cb#state=1;b=%20;code=x1", "/cb#state=1;b=%20;code=REDACTED"),
    ("/?token=[abc]&page=2", "/?token=REDACTED&page=2"),
    // A URL or a query as the value of a parameter.
    ("/?return=%2Fcb%3Fcode%3Dhunter2X&page=2", "/?return=REDACTED&page=2"),
    ("/?a=1&redirect_uri=https%3A%2F%2Fu%3Ap%40h", "/?a=1&redirect_uri=REDACTED"),
    ("redirect_uri=https%3A%2F%2Fu%3Ap%40h, then", "redirect_uri=REDACTED, then"),
    ("/?next=code%3Dx1%26state%3Dy", "/?next=REDACTED"),
    ("/?next=%2Flogin%3Fnext%3D%252Fcb%253Fcode%253Dx1", "/?next=REDACTED"),
    ("/?next=%2Fcb%3fa%3D%ff%26code%3dx1#top", "/?next=REDACTED#top"),
    // Credentials in front of a host.
    ("https://user:pw@host/a", "https://REDACTED:REDACTED@host/a"),
    ("https://token-of-ada@host/a", "https://REDACTED@host/a"),
    ("postgres://hb:p%40ss@db:5432/hb", "postgres://REDACTED:REDACTED@db:5432/hb"),
    ("postgres://hb:p@ss@db:5432/hb", "postgres://REDACTED:REDACTED@db:5432/hb"),
    ("redis://:pw@cache:6379", "redis://REDACTED:REDACTED@cache:6379"),
    ("amqps://a:b@mq/%2F and nats://c:d@nats", "amqps://REDACTED:REDACTED@mq/%2F and nats://REDACTED:REDACTED@nats"),
    ("http:\\/\\/a:b@host\\/", "http:\\/\\/REDACTED:REDACTED@host\\/"),
    ("https://ä:ö@host", "https://REDACTED:REDACTED@host"),
    ("mysql: root:hunter2@tcp(db:3306)/x", "mysql: REDACTED:REDACTED@tcp(db:3306)/x"),
    ("dsn=root:hunter2@unix(/sock)/x", "dsn=REDACTED:REDACTED@unix(/sock)/x"),
    // Connection strings and settings.
    ("Server=db;User Id=sa;Password=Pa$$w0rd;Encrypt=yes", "Server=db;User Id=sa;Password=REDACTED;Encrypt=yes"),
    ("host=db user=hb password=hunter2 dbname=x", "host=db user=hb password=REDACTED dbname=x"),
    ("host=db password = hunter2 dbname=x", "host=db password = REDACTED dbname=x"),
    ("AccountName=a;AccountKey=ab+/c==;Suffix=x", "AccountName=a;AccountKey=REDACTED;Suffix=x"),
    ("Endpoint=sb://x/;SharedAccessKey=ab=", "Endpoint=sb://x/;SharedAccessKey=REDACTED"),
    ("AWS_SECRET_ACCESS_KEY=wJalr/x+y", "AWS_SECRET_ACCESS_KEY=REDACTED"),
    ("export DB_PASSWORD='a b c'", "export DB_PASSWORD='REDACTED'"),
    ("PGPASSWORD=hunter2 psql", "PGPASSWORD=REDACTED psql"),
    ("run --password=hunter2 --user=ada", "run --password=REDACTED --user=ada"),
    ("(token=abc)", "(token=REDACTED)"),
    ("login failed: password=hunter", "login failed: password=REDACTED"),
    ("pässword=x passwd=pä55.", "pässword=x passwd=REDACTED."),
    ("session=8f14e45f", "session=REDACTED"),
    ("sid=8f14e45f", "sid=REDACTED"),
    ("password:\thunter2!X", "password:\tREDACTED"),
    ("password\t=\thunter2!X", "password\t=\tREDACTED"),
    ("password  =   hunter2!X", "password  =   REDACTED"),
    ("password        :        hunter2!X", "password        :        REDACTED"),
    // JSON, and text that holds JSON.
    (r#"{"password":["hunter2!X"]}"#, r#"{"password":"REDACTED"}"#),
    (r#"{"x-api-key": ["a]\"b", ["c"]], "n": [1]}"#, r#"{"x-api-key": "REDACTED", "n": [1]}"#),
    (r#"{"m":"{\"token\":[\"abc\"],\"n\":1}"}"#, r#"{"m":"{\"token\":\"REDACTED\",\"n\":1}"}"#),
    (r#"{"m":"{\"passcode\":123456}"}"#, r#"{"m":"{\"passcode\":\"REDACTED\"}"}"#),
    (r#"{\\\"token\\\":\\\"ab\\\\\\\"c\\\",\\\"n\\\":1}"#, r#"{\\\"token\\\":\\\"REDACTED\\\",\\\"n\\\":1}"#),
    (r#"{"token":"abc\\","n":1}"#, r#"{"token":"REDACTED","n":1}"#),
    (r#"{"token":["abc", "d"#, r#"{"token":"REDACTED""#),
    (r#"{"password":"hunter2","user":"ada"}"#, r#"{"password":"REDACTED","user":"ada"}"#),
    (r#"{"password" : "hun\"ter2"}"#, r#"{"password" : "REDACTED"}"#),
    (r#"{"apiKey":"abc"}"#, r#"{"apiKey":"REDACTED"}"#),
    (r#"{"passcode":123456,"n":1}"#, r#"{"passcode":"REDACTED","n":1}"#),
    (r#"{"m":"{\"token\":\"abc\",\"n\":1}"}"#, r#"{"m":"{\"token\":\"REDACTED\",\"n\":1}"}"#),
    (r#"{"m":"\"token=abc\""}"#, r#"{"m":"\"token=REDACTED\""}"#),
    (r#"{"credentials":{"user":"a","secret":"b"}}"#, r#"{"credentials":{"user":"a","secret":"REDACTED"}}"#),
    ("{'secret': 'abc'}", "{'secret': 'REDACTED'}"),
    (r#"{"token":"abc"#, r#"{"token":"REDACTED"#),
    // What Debug makes of structs.
    ("Login { password: [104, 117, 110], n: 1 }", "Login { password: REDACTED, n: 1 }"),
    ("Login { password: Some([104, 117, 110]) }", "Login { password: Some(REDACTED) }"),
    ("got password: [104, 117, 110]", "got password: REDACTED"),
    (r#"Login { secrets: ["letmein", "x"] }"#, "Login { secrets: REDACTED }"),
    (r#"the secrets: ["letmein", "x"] end"#, "the secrets: REDACTED end"),
    ("password=[104, 117, 110]", "password=REDACTED"),
    (r#"password: b"hunter2!X""#, r#"password: b"REDACTED""#),
    (r#"Login { token: Some(b"abc") }"#, r#"Login { token: Some(b"REDACTED") }"#),
    (r#"Login { user: "ada", password: "letmein" }"#, r#"Login { user: "ada", password: "REDACTED" }"#),
    ("Login {\n    password: \"letmein\",\n}", "Login {\n    password: \"REDACTED\",\n}"),
    ("wrong password: 'hunter2!X' by ada", "wrong password: 'REDACTED' by ada"),
    (r#"Login { user: "ada", password: "hunter2" }"#, r#"Login { user: "ada", password: "REDACTED" }"#),
    (r#"Login { token: Some("abc"), n: 1 }"#, r#"Login { token: Some("REDACTED"), n: 1 }"#),
    (r#"AccessToken("abc")"#, r#"AccessToken("REDACTED")"#),
    (r#"password => "abc""#, r#"password => "REDACTED""#),
    // Headers.
    ("Authorization: Bearer abc123", "Authorization: REDACTED"),
    ("authorization: Basic dXNlcjpwdw==", "authorization: REDACTED"),
    ("authorization=Token 9944b09199c62bcf", "authorization=REDACTED"),
    ("Proxy-Authorization: Negotiate YIIJvwYGKwYB", "Proxy-Authorization: REDACTED"),
    ("Cookie: a=1; theme=dark", "Cookie: REDACTED"),
    ("Set-Cookie: id=a3fWa; Path=/; HttpOnly", "Set-Cookie: REDACTED"),
    ("X-API-Key: 0a1b2c3d", "X-API-Key: REDACTED"),
    ("x-auth-token: 0a1b2c3d", "x-auth-token: REDACTED"),
    // Schemes.
    ("sent Bearer abc123 upstream", "sent Bearer REDACTED upstream"),
    ("bearer  aB+/x==", "bearer  REDACTED"),
    ("Basic dXNlcjpwdw==", "Basic REDACTED"),
    ("DPoP $J", "DPoP REDACTED"),
    ("Bearer%20abc Bearer $K.", "Bearer%20abc Bearer REDACTED"),
    ("Bearer abcdefghijklmnopqrst", "Bearer REDACTED"),
    // What tells by itself.
    ("got $J from ada", "got REDACTED from ada"),
    ("x=$J;", "x=REDACTED;"),
    ("eyJhbGciOi.eyJzdWIi cut off", "REDACTED cut off"),
    ("eyJhbGciOiJkaXIi..aXY.Y2lwaGVy.dGFn", "REDACTED"),
    ("unsigned eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", "unsigned REDACTED"),
    ("key $K revoked", "key hb_live_REDACTED revoked"),
    ("hb_dev_0123456789AZ_3AHOVcjq cut off", "hb_dev_REDACTED cut off"),
    ("/keys/$K/rotate", "/keys/hb_live_REDACTED/rotate"),
    ("AKIAIOSFODNN7EXAMPLE", "REDACTED"),
    ("role ASIAIOSFODNN7EXAMPLE.", "role REDACTED."),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "REDACTED"),
    ("github_pat_11ABCDEFG0abcdefghijkl", "REDACTED"),
    ("glpat-abcdefghijklmnop1234", "REDACTED"),
    ("xoxb-123456789012-abcdef", "REDACTED"),
    ("sk_live_abcdefghijklmnop1234", "REDACTED"),
    ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "REDACTED"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nafter", "REDACTED\nafter"),
    ("a -----BEGIN PRIVATE KEY-----\\nMIIE", "a REDACTED"),
    ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQ\n-----END PGP PRIVATE KEY BLOCK----- x", "REDACTED x"),
    ("------BEGIN EC PRIVATE KEY-----MH-----END EC PRIVATE KEY-----", "-REDACTED"),
    // Configured.
    ("card_number=4111", "card_number=REDACTED"),
    (r#"{"cardNumber":4111}"#, r#"{"cardNumber":"REDACTED"}"#),
];

/// Texts that stay.
const STAYS: &[&str] = &[
    "",
    "a",
    "hello world",
    "GET /labels/{id} 200 1.3ms",
    "https://x.example/a?page=2&sort_key=name",
    "https://x.example:8443/a/b?code_challenge_method=S256",
    "/?state=xyz&token_type=bearer&expires_in=3600",
    "/?sig=&code=",
    "/?sig=REDACTED&page=2",
    "https://REDACTED:REDACTED@host/",
    "https://[::1]:8080/@scope/x",
    "http://host:8080/users/@ada",
    "mailto:ada@example.com",
    "ada@example.com",
    "git@github.com:halfbyte/x.git",
    "npm install @scope/package@1.2.3",
    "invalid token: expired",
    "token: expired at 12:30",
    "signature: RS256",
    "password: required",
    "the session: closed",
    "secret: not found",
    "bad signature: expected 3 parts",
    "Bearer token missing",
    "Bearer realm=\"parcel\", error=\"invalid_token\"",
    "Basic authentication failed",
    "the basic plan",
    "basic2/v3x bearers4 Bearer.x1y2",
    "Basic Auth is off",
    "BEARER TOKEN MISSING",
    "DPoP proof missing",
    "Bearer REDACTED",
    "bearer",
    "Bearer ",
    "token",
    "token=",
    "token==x",
    "if token == expected",
    "unexpected token: `}` at 12:34",
    "unexpected token: `]`",
    "unexpected token: \"}\" at 12:34",
    "unexpected token: [ at 12:34",
    "unexpected token: [1]",
    "expected signature: fn(u32) -> String2",
    "expected signature: `Fn` here",
    "unknown token: 'identifier'",
    "let token: [u8; 32] = x",
    "the secrets: [database, cache]",
    "basic auth2 required",
    "http://localhost:{port}/a@b",
    "postgres://hb:p/w@db/hb",
    "Server=db;code=E11",
    "why? a=1;code=E11",
    "/?q=a%20b%3F&r=%2Fhome%3Fpage%3D2",
    "/?next=REDACTED&q=%3Ftoken%3DREDACTED",
    "auth::token::verify",
    "halfbyte_identity::session: renewed",
    "std::collections::HashMap<Key, Token>",
    "fn sign(secret: &Secret) -> Signature",
    "Token(Some)",
    "max_tokens=512 input_tokens=4",
    "token_type=bearer token_count=3",
    "key=value",
    "routing_key=orders partition_key=7",
    "primary_key=id foreign_key=order_id public_key=abc",
    "signature_algorithm=RS256",
    "cookie_count=3",
    "password_changed_at=2026-01-01",
    "status_code=200 code=E11",
    "obsession=1 possession=2",
    "monkey=banana turkey=thanks",
    "{\"token\":null,\"secret\":true,\"password\":\"\"}",
    "{\"credentials\":{\"user\":\"ada\"},\"cookies\":[]}",
    "Login { password: [redacted] }",
    "Login { password: None }",
    "eyJ is how they begin",
    "eyJhbGciOiJIUzI1NiJ9",
    "eyJhbGci.txt",
    "heyJude.mp3.ogg.wav",
    "hb_metrics_total",
    "hb_live_REDACTED",
    "hb_dev_short",
    "AKIA",
    "AKIAIOSFODNN7EXAMPLETOOLONG",
    "xAKIAIOSFODNN7EXAMPLE",
    "ghp_short",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "--------------------",
    "a - b -- c --- d",
    "10:30:00 = noon?",
    "日本語のテキスト: 値=1",
    "Größe: 5 €",
    "SELECT * FROM sessions WHERE id = $1",
    "session.id",
    "kept.token=by-its-exact-name",
    "C:\\Users\\ada\\x.txt",
    "a=b&c=d",
    "f(x) = (y)",
];

/// Names of attributes and fields, and whether their values go whatever they are.
const NAMES: &[(&str, bool)] = &[
    ("password", true),
    ("user.password", true),
    ("passwd", true),
    ("DB_PASSWORD", true),
    ("userPassword", true),
    ("password_hash", true),
    ("password2", true),
    ("new_password_confirmation", true),
    ("db.pwd", true),
    ("passphrase", true),
    ("token", true),
    ("accessToken", true),
    ("refresh-token", true),
    ("csrftoken", true),
    ("token.value", true),
    ("secret", true),
    ("clientSecret", true),
    ("secrets", true),
    ("api_key", true),
    ("apikey", true),
    ("APIKey", true),
    ("x-api-key", true),
    ("privateKey", true),
    ("aws.secret_access_key", true),
    ("AccountKey", true),
    ("hmac_key", true),
    ("authorization", true),
    ("http.request.header.authorization", true),
    ("http.request.header.proxy-authorization", true),
    ("http.request.header.cookie", true),
    ("http.response.header.set-cookie", true),
    ("cookies", true),
    ("session", true),
    ("session_id", true),
    ("JSESSIONID", false),
    ("PHPSESSID", false),
    ("sessionid", true),
    ("sid", true),
    ("credential", true),
    ("credentials", true),
    ("signature", true),
    ("X-Amz-Signature", true),
    ("jwt", true),
    ("card_number", true),
    ("payment.cardNumber", true),
    ("http.route.key", false),
    ("key", false),
    ("feature_flag.key", false),
    ("messaging.kafka.message.key", false),
    ("public_key", false),
    ("primary_key", false),
    ("session.id", false),
    ("mcp.session.id", false),
    ("process.session_leader.pid", false),
    ("token.type", false),
    ("gen_ai.usage.input_tokens", false),
    ("gen_ai.token.type", false),
    ("aws.secretsmanager.secret.arn", false),
    ("aspnetcore.authorization.policy", false),
    ("aspnetcore.identity.token_verified", false),
    ("code.function.name", false),
    ("http.response.status_code", false),
    ("url.path", false),
    ("halfbyte.principal.kind", false),
    ("enduser.pseudo.id", false),
    ("kept.token", false),
    ("obsession", false),
    ("", false),
    ("...", false),
];

fn redaction() -> Redaction {
    Redaction::builder().key("card_number").query_key("voucher").leave("kept.token").build()
}

fn filled(text: &str) -> String {
    text.replace("$J", JWT).replace("$K", KEY)
}

#[test]
fn what_must_go_goes() {
    let redaction = redaction();
    let mut wrong = Vec::new();
    for (before, after) in GOES {
        let before = filled(before);
        let once = redaction.text(&before);
        if once != *after || redaction.text(after) != *after {
            wrong.push(format!("{before}\n  became {once}\n  not    {after}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_must_stay_stays_without_a_copy() {
    let redaction = redaction();
    for text in STAYS {
        assert!(matches!(redaction.text(text), Cow::Borrowed(same) if same == *text), "{}", redaction.text(text));
    }
}

#[test]
fn the_corpus_is_large() {
    assert!(GOES.len() + STAYS.len() + NAMES.len() >= 200);
}

#[test]
fn what_holds_no_secret_allocates_nothing() {
    let redaction = redaction();
    let mut span = span("https://x.example/a?page=2", 0, "url.full");
    span.attributes.push(KeyValue::new("http.request.method", "GET"));
    span.attributes.push(KeyValue::new("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"));
    let (mut record, mut request) = (log("token: expired", 3, "note"), metrics("a=b", 2, "note"));
    let counted = allocation_counter::measure(|| {
        redaction.span(&mut span);
        redaction.log(&mut record);
        redaction.metrics(&mut request);
        // What is encoded has to be decoded to be looked at.
        STAYS.iter().filter(|text| !text.contains('%')).for_each(|text| drop(redaction.text(text)));
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_name_tells_whether_its_value_goes() {
    let redaction = redaction();
    for (name, goes) in NAMES {
        let mut span = crate::keep::testing::span(1, 1, None);
        span.attributes = vec![KeyValue::new(*name, "plain"), KeyValue::new(*name, 7), KeyValue::new(*name, true)];
        redaction.span(&mut span);
        let expected: [Value; 3] = if *goes {
            ["REDACTED".into(), "REDACTED".into(), true.into()]
        } else {
            ["plain".into(), 7.into(), true.into()]
        };
        let values: Vec<_> = span.attributes.into_iter().map(|pair| pair.value).collect();
        assert_eq!(values, expected, "{name}");
    }
}

#[test]
fn a_query_begins_with_a_parameter_where_its_name_says_that_it_is_one() {
    for (name, after) in [("url.query", "code=REDACTED&page=2"), ("text", "code=5x&page=2")] {
        let mut span = crate::keep::testing::span(1, 1, None);
        span.attributes = vec![KeyValue::new(name, "code=5x&page=2")];
        redaction().span(&mut span);
        assert_eq!(span.attributes[0].value, after.into(), "{name}");
    }
}

#[test]
fn no_rules_are_shown() {
    assert_eq!(format!("{:?}", redaction()), "Redaction { .. }");
}

/// One text of each rule, put together so that each has to start as often as can be.
const HOSTILE: &[&str] = &[
    "eyJ",
    "eyJaaaaaa.",
    "eyJaaaaaa.eyJ",
    "eyJ-",
    "Bearer ",
    "bearer bearer",
    "Basic/",
    "token:",
    "token: ",
    "token=\"",
    "\"token\":\"",
    "token(\"",
    "token=",
    "cookie: a=b; ",
    "cookie:",
    "cookie:-",
    "token:{",
    "authorization: token ",
    "token: [",
    "token: [1,",
    "token: ['",
    "\"token\":[",
    "\"token\":[]",
    "token=[",
    "\\\\\\\"token\\\\\\\":\\\\\\\"",
    "\\",
    "token \t \t",
    "\t",
    "token: `",
    "token: '}' ",
    ";a=",
    "?;a=",
    "?a=%3F",
    "?a=%41",
    "&a=%253Fa%253D",
    "?a=%25252525",
    "token=. ",
    "session_id: ...",
    "=",
    ":",
    "a=",
    "&a=",
    "?%%%%=",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=",
    "-",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY",
    "-----BEGIN CERTIFICATE-----",
    "://",
    "://a:b/",
    "x://a",
    "@tcp(",
    "a:b@tcp(",
    "hb_live_",
    "hb_live_-",
    "AKIA",
    "AKIA-",
    "ghp_-",
    "xoxb-",
    "\\\"",
    "a",
    "é",
    " ",
];

#[test]
fn the_work_grows_as_the_text_does_whatever_it_holds() {
    let redaction = redaction();
    let steps = |text: &str| {
        STEPS.set(0);
        let _redacted = redaction.text(text);
        STEPS.get()
    };
    for piece in HOSTILE {
        for (tail, most) in [("", 256), ("\"", 64), ("@", 64)] {
            let [small, large] = [8, most].map(|kibibytes| {
                let text = piece.repeat(kibibytes * 1024 / piece.len()) + tail;
                steps(&text) as f64 / text.len() as f64
            });
            // One pass or two, of which none takes more steps than it may look ahead.
            assert!(large < 100.0 && large <= small * 1.1 + 1.0, "{piece:?} {tail:?}: {small} then {large} a byte");
        }
    }
}

/// Secrets that look like nothing: only where they stand gives them away.
fn secret() -> impl Strategy<Value = String> {
    "[A-Za-z0-9]{8}[0-9][a-z][A-Z][0-9A-Za-z]{9,30}"
}

/// Everything that a text is made of, for texts at random.
fn piece() -> impl Strategy<Value = String> {
    let known: Vec<String> =
        GOES.iter().map(|(before, _)| filled(before)).chain(STAYS.iter().map(|text| (*text).to_owned())).collect();
    prop_oneof![
        3 => prop::sample::select(known),
        3 => prop::sample::select(HOSTILE).prop_map(str::to_owned),
        2 => "\\PC{0,12}",
        1 => secret(),
        2 => prop::sample::select(&[" ", "\"", "'", "\n", ";", "&", "?", "#", "=", ":", ",", ".", "/", "\\", "(", ")"][..])
            .prop_map(str::to_owned),
    ]
}

fn any(value: Proto) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn pair(key: &str, value: Proto) -> ProtoKeyValue {
    ProtoKeyValue { key: key.to_owned(), value: Some(any(value)), ..ProtoKeyValue::default() }
}

/// Where a secret may stand in a text: `$S`.
const PLACES: &[&str] = &[
    "https://x/?token=$S&a=b",
    "https://ada:$S@host/",
    "https://$S@host/",
    "/?a=b&sig=$S",
    "/cb?code=$S",
    "Bearer $S",
    "Basic $S",
    "Authorization: $S",
    "authorization: DPoP $S",
    "Cookie: sid=$S; a=b",
    "password=$S",
    "password\t=\t$S",
    "{\"password\":[\"$S\"]}",
    "the password: [\"$S\"]",
    "password: b\"$S\"",
    "/?a=1;code=$S",
    "/?return=%2Fcb%3Fcode%3D$S",
    "/?return=https%3A%2F%2Fu%3A$S%40h",
    "{\\\\\\\"secret\\\\\\\":\\\\\\\"$S\\\\\\\"}",
    "Password=$S;",
    "token: $S",
    "{\"secret\":\"$S\"}",
    "{\"m\":\"{\\\"api_key\\\":\\\"$S\\\"}\"}",
    "Login { password: Some(\"$S\") }",
    "Token(\"$S\")",
    "root:$S@tcp(db)/x",
    "-----BEGIN PRIVATE KEY-----\n$S\n-----END PRIVATE KEY-----",
    "eyJ$S.eyJ$S.$S",
    "hb_live_$S",
    "card_number=$S",
];

fn span(text: &str, position: usize, key: &str) -> opentelemetry_sdk::trace::SpanData {
    let mut span = crate::keep::testing::span(1, 1, None);
    let text = text.to_owned();
    let key = key.to_owned();
    let list = || Value::Array(Array::String(vec!["first".into(), text.clone().into()]));
    match position {
        0 => span.attributes = vec![KeyValue::new(key, text)],
        1 => span.attributes = vec![KeyValue::new(key, list())],
        2 => span.events.events = vec![Event::new("event", span.start_time, vec![KeyValue::new(key, text)], 0)],
        3 => span.links.links = vec![Link::new(span.span_context.clone(), vec![KeyValue::new(key, list())], 0)],
        4 => span.name = text.into(),
        5 => span.status = Status::error(text),
        _ => span.events.events = vec![Event::new(text, span.start_time, Vec::new(), 0)],
    }
    span
}

fn log(text: &str, position: usize, key: &str) -> LogRecord {
    let mut record = LogRecord::default();
    let text = || Proto::StringValue(text.to_owned());
    let nested =
        |value| Proto::KvlistValue(KeyValueList { values: vec![pair("n", Proto::IntValue(1)), pair(key, value)] });
    match position {
        0 => record.body = Some(any(text())),
        1 => record.body = Some(any(nested(text()))),
        2 => record.attributes = vec![pair(key, text())],
        3 => record.attributes = vec![pair("k", Proto::ArrayValue(ArrayValue { values: vec![any(nested(text()))] }))],
        4 => record.attributes = vec![pair(key, Proto::ArrayValue(ArrayValue { values: vec![any(text())] }))],
        5 => {
            let Proto::StringValue(text) = text() else { return record };
            record.attributes = vec![pair(key, Proto::BytesValue(text.into_bytes()))];
        }
        _ => record.body = Some((0..60).fold(any(text()), |value, _| any(nested(value.value.expect("has one"))))),
    }
    record
}

fn metrics(text: &str, position: usize, key: &str) -> ExportMetricsServiceRequest {
    let attributes = vec![pair(key, Proto::StringValue(text.to_owned()))];
    let exemplars = vec![Exemplar { filtered_attributes: attributes.clone(), ..Exemplar::default() }];
    let number = || NumberDataPoint { attributes: attributes.clone(), ..NumberDataPoint::default() };
    let data = match position {
        0 => metric::Data::Gauge(Gauge { data_points: vec![number()] }),
        1 => metric::Data::Sum(Sum { data_points: vec![number()], ..Sum::default() }),
        2 => {
            let data_points = vec![HistogramDataPoint { attributes, ..HistogramDataPoint::default() }];
            metric::Data::Histogram(Histogram { data_points, ..Histogram::default() })
        }
        3 => {
            let data_points = vec![ExponentialHistogramDataPoint { attributes, ..Default::default() }];
            metric::Data::ExponentialHistogram(ExponentialHistogram { data_points, ..Default::default() })
        }
        4 => {
            metric::Data::Summary(Summary { data_points: vec![SummaryDataPoint { attributes, ..Default::default() }] })
        }
        5 => metric::Data::Gauge(Gauge { data_points: vec![NumberDataPoint { exemplars, ..Default::default() }] }),
        6 => metric::Data::Sum(Sum {
            data_points: vec![NumberDataPoint { exemplars, ..Default::default() }],
            ..Default::default()
        }),
        7 => metric::Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint { exemplars, ..Default::default() }],
            ..Default::default()
        }),
        _ => metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![ExponentialHistogramDataPoint { exemplars, ..Default::default() }],
            ..Default::default()
        }),
    };
    let scope = ScopeMetrics { metrics: vec![Metric { data: Some(data), ..Metric::default() }], ..Default::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }
}

/// As text, with bytes as the text they are.
fn shown(value: &impl std::fmt::Debug, secret: &str) -> String {
    let bytes = secret.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    format!("{value:?}").replace(&bytes, secret)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_second_pass_finds_nothing_more(pieces in prop::collection::vec(piece(), 0..8)) {
        let (redaction, text) = (redaction(), pieces.concat());
        let once = redaction.text(&text).into_owned();
        prop_assert_eq!(redaction.text(&once).into_owned(), once.clone(), "of {:?}", text);
    }

    #[test]
    fn no_secret_survives_wherever_it_is_planted(
        secret in secret(),
        place in prop::sample::select(PLACES),
        before in prop_oneof![Just(""), Just("it was "), Just("é\n")],
        position in 0..9_usize,
    ) {
        let redaction = redaction();
        let text = format!("{before}{}", place.replace("$S", &secret));
        prop_assert!(!redaction.text(&text).contains(&secret), "{}", redaction.text(&text));
        for key in ["note", "exception.message", "url.full"] {
            let mut span = span(&text, position, key);
            redaction.span(&mut span);
            prop_assert!(!shown(&span, &secret).contains(&secret), "{:?}", span);
            let mut record = log(&text, position, key);
            redaction.log(&mut record);
            prop_assert!(!shown(&record, &secret).contains(&secret), "{:?}", record);
            let mut request = metrics(&text, position, key);
            redaction.metrics(&mut request);
            prop_assert!(!shown(&request, &secret).contains(&secret), "{:?}", request);
        }
    }

    #[test]
    fn no_value_survives_under_the_name_of_a_secret(
        value in secret(),
        name in prop::sample::select(NAMES.iter().filter(|(_, goes)| *goes).map(|(name, _)| *name).collect::<Vec<_>>()),
        position in 0..4_usize,
    ) {
        let redaction = redaction();
        let mut span = span(&value, position, name);
        redaction.span(&mut span);
        prop_assert!(!shown(&span, &value).contains(&value), "{:?}", span);
        let mut record = log(&value, position + 1, name);
        redaction.log(&mut record);
        prop_assert!(!shown(&record, &value).contains(&value), "{:?}", record);
        let mut request = metrics(&value, position * 2, name);
        redaction.metrics(&mut request);
        prop_assert!(!shown(&request, &value).contains(&value), "{:?}", request);
    }

    #[test]
    fn innocent_text_is_left_alone(words in prop::collection::vec("[a-z]{1,9}|[A-Z][a-z]{1,9}|[0-9]{1,4}", 0..20), joint in prop::sample::select(&[" ", ", ", "/", "-", "."][..])) {
        let text = words.join(joint);
        // Words at random are those of a key now and then.
        prop_assume!(!["xox", "glpat-", "pypi-", "sk-ant-", "sk-proj-"].iter().any(|key| text.contains(key)));
        prop_assert!(matches!(redaction().text(&text), Cow::Borrowed(_)), "{}", text);
    }
}
