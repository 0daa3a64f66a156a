//! Tokens of the issuer, with good signatures, that are not for this service, not for now, or not access tokens.

use serde_json::json;

use super::attack::Attack;
use super::forgery::Forgery;

pub(super) fn attacks(forgery: &Forgery<'_>) -> Vec<Attack> {
    let parts = [
        set(forgery, &times(forgery)),
        set(forgery, &parties(forgery)),
        set(forgery, &tenants()),
        set(forgery, &kinds()),
        missing(forgery),
        doubled(forgery),
        others(forgery),
    ];
    parts.into_iter().flatten().collect()
}

/// What the attack is called, which claim it sets, and to what text in place of JSON.
type Row = (&'static str, &'static str, String);

fn row(name: &'static str, claim: &'static str, value: impl ToString) -> Row {
    (name, claim, value.to_string())
}

fn set(forgery: &Forgery<'_>, rows: &[Row]) -> Vec<Attack> {
    let attack =
        |(name, claim, value): &Row| Attack::bearer(name, forgery.with_claims(forgery.claims_with(claim, value)));
    rows.iter().map(attack).collect()
}

fn times(forgery: &Forgery<'_>) -> Vec<Row> {
    let now = forgery.now();
    vec![
        row("a token that expired a minute ago", "exp", now - 60),
        row("a token that expired a year ago", "exp", now - 365 * 24 * 3600),
        row("a token that expired in 1970", "exp", 0),
        row("a token that expired before 1970", "exp", -1),
        row("an expiry in words", "exp", json!((now + 600).to_string())),
        row("an expiry as a date", "exp", json!("2999-12-31T23:59:59Z")),
        row("an expiry of null", "exp", "null"),
        row("an expiry of true", "exp", true),
        row("a list of expiries", "exp", json!([now + 600])),
        row("an expiry in an object", "exp", json!({"$date": now + 600})),
        row("an expiry larger than any time", "exp", "1e300"),
        row("an expiry larger than any number", "exp", "1e999"),
        row("an expiry that is infinite", "exp", "Infinity"),
        row("an expiry that is not a number", "exp", "NaN"),
        row("an expiry of twenty digits", "exp", "99999999999999999999"),
        row("an expiry at the largest integer", "exp", i64::MAX),
        row("an expiry in milliseconds", "exp", (now + 600) * 1000),
        row("an expiry in hexadecimal", "exp", "0x7fffffff"),
        row("a token that is good from an hour on", "nbf", now + 3600),
        row("a beginning in words", "nbf", json!(now.to_string())),
        row("a beginning of true", "nbf", true),
        row("a beginning larger than any time", "nbf", "1e300"),
        row("a time of issue in words", "iat", json!(now.to_string())),
        row("a time of issue in a list", "iat", json!([now])),
    ]
}

fn parties(forgery: &Forgery<'_>) -> Vec<Row> {
    let (id, audience) = (forgery.issuer.id(), forgery.audience);
    vec![
        row("another issuer", "iss", json!("https://issuer.example")),
        row("the issuer with a slash behind it", "iss", json!(format!("{id}/"))),
        row("the issuer as the beginning of another", "iss", json!(format!("{id}.example"))),
        row("the issuer with a space behind it", "iss", json!(format!("{id} "))),
        row("the issuer in capitals", "iss", json!(id.to_ascii_uppercase())),
        row("the issuer by another scheme", "iss", json!(id.replacen("http", "https", 1))),
        row("an empty issuer", "iss", json!("")),
        row("a list of issuers", "iss", json!([id])),
        row("a list of issuers, another first", "iss", json!(["https://issuer.example", id])),
        row("the issuer in an object", "iss", json!({"url": id})),
        row("null as issuer", "iss", "null"),
        row("another audience", "aud", json!(format!("not-{audience}"))),
        row("the audience as the beginning of another", "aud", json!(format!("{audience}-2"))),
        row("the audience with a space behind it", "aud", json!(format!("{audience} "))),
        row("the audience with a zero behind it", "aud", json!(format!("{audience}\0"))),
        row("the audience among others in one text", "aud", json!(format!("other {audience}"))),
        row("an empty audience", "aud", json!("")),
        row("a wildcard as audience", "aud", json!("*")),
        row("an empty list of audiences", "aud", json!([])),
        row("a list of other audiences", "aud", json!(["other", "another"])),
        row("the audience in a list in a list", "aud", json!([[audience]])),
        row("the audience in a list with a number", "aud", json!([audience, 7])),
        row("the audience as the name in an object", "aud", json!({audience: true})),
        row("null as audience", "aud", "null"),
        row("true as audience", "aud", true),
        row("a number as audience", "aud", 0),
        row("an empty subject", "sub", json!("")),
        row("a number as subject", "sub", 0),
        row("null as subject", "sub", "null"),
        row("a list of subjects", "sub", json!(["ann"])),
        row("an object as subject", "sub", json!({"$ne": ""})),
    ]
}

fn tenants() -> Vec<Row> {
    vec![
        row("a tenant that looks like somebody without one", "tenant", json!("subject:127.0.0.1#ann")),
        row("a tenant with a line break", "tenant", json!("acme\r\nx-tenant: other")),
        row("a tenant with a zero", "tenant", json!("acme\0")),
        row("a tenant with a space", "tenant", json!("acme other")),
        row("a tenant with a letter that only looks like one", "tenant", json!("\u{430}cme")),
        row("a tenant with a mark that turns the text around", "tenant", json!("acme\u{202e}")),
        row("an empty tenant", "tenant", json!("")),
        row("a tenant of three hundred characters", "tenant", json!("a".repeat(300))),
        row("a number as tenant", "tenant", 1),
        row("a list of tenants", "tenant", json!(["acme"])),
        row("an object as tenant", "tenant", json!({"id": "acme"})),
    ]
}

/// What only tokens of other kinds say. Bindings are here as well: without its proof such a token is of no use.
fn kinds() -> Vec<Row> {
    vec![
        row("the nonce of an ID token", "nonce", json!("n-0S6_WzA2Mj")),
        row("the access token hash of an ID token", "at_hash", json!("MTIzNDU2Nzg5MDEyMzQ1Ng")),
        row("the code hash of an ID token", "c_hash", json!("MTIzNDU2Nzg5MDEyMzQ1Ng")),
        row("the events of a logout token", "events", {
            json!({"http://schemas.openid.net/event/backchannel-logout": {}})
        }),
        row("events that are empty", "events", json!({})),
        row("a confirmation of null", "cnf", "null"),
        row("an empty confirmation", "cnf", json!({})),
        row("a confirmation in words", "cnf", json!("none")),
        row("a confirmation in a list", "cnf", json!([])),
        row("a confirmation by a method that nobody knows", "cnf", json!({"urn:example:method": "x"})),
        row("a confirmation by a key that stands in the token", "cnf", json!({"jwk": {"kty": "oct", "k": "AA"}})),
        row("a confirmation by a thumbprint that is empty", "cnf", json!({"jkt": ""})),
        row("a confirmation by a thumbprint that is null", "cnf", json!({"jkt": null})),
        row("a confirmation by a thumbprint that is a list", "cnf", json!({"jkt": []})),
        row("a confirmation by a certificate that is empty", "cnf", json!({"x5t#S256": ""})),
    ]
}

fn missing(forgery: &Forgery<'_>) -> Vec<Attack> {
    let table = [
        ("a token without an expiry", "exp"),
        ("a token without an issuer", "iss"),
        ("a token without an audience", "aud"),
        ("a token without a subject", "sub"),
    ];
    let attack = |(name, claim)| Attack::bearer(name, forgery.with_claims(forgery.claims_without(claim)));
    table.into_iter().map(attack).collect()
}

/// One way to read it would be good, whichever of the two counts.
fn doubled(forgery: &Forgery<'_>) -> Vec<Attack> {
    let claims = forgery.claims();
    let before = |member: &str| claims.replacen('{', &format!("{{{member},"), 1);
    let behind = |member: &str| format!("{},{member}}}", &claims[..claims.len() - 1]);
    let expired = format!(r#""exp":{}"#, forgery.now() - 3600);
    let table = [
        ("exp twice, expired first", before(&expired)),
        ("exp twice, expired last", behind(&expired)),
        ("exp twice, once with an escape", before(&expired.replace("exp", r"\u0065xp"))),
        ("iss twice, another first", before(r#""iss":"https://issuer.example""#)),
        ("iss twice, another last", behind(r#""iss":"https://issuer.example""#)),
        ("aud twice, another first", before(r#""aud":"other""#)),
        ("aud twice, another last", behind(r#""aud":"other""#)),
        ("sub twice, another first", before(r#""sub":"root""#)),
        ("sub twice, another last", behind(r#""sub":"root""#)),
        ("tenant three times", before(r#""tenant":"other","tenant":"another","tenant":"acme""#)),
        ("a name twice in an object of the claims", behind(r#""x":{"a":1,"a":2}"#)),
        ("a name twice deep in the claims, once with an escape", behind(r#""x":[[{"a":1,"\u0061":2}]]"#)),
    ];
    table.into_iter().map(|(name, claims)| Attack::bearer(name, forgery.with_claims(claims))).collect()
}

/// Whole tokens of others, or of other kinds.
fn others(forgery: &Forgery<'_>) -> Vec<Attack> {
    let Forgery { issuer, audience, persona, stranger, .. } = forgery;
    let mut header = stranger.header();
    header["kid"] = json!("of-another-issuer");
    let elsewhere = forgery.claims_with("iss", r#""https://issuer.example""#);
    let id_token = json!({
        "iss": issuer.id(), "sub": "ann", "aud": audience, "azp": "browser", "iat": forgery.now(),
        "exp": forgery.now() + 600, "nonce": "n-0S6_WzA2Mj", "at_hash": "MTIzNDU2Nzg5MDEyMzQ1Ng", "name": "Ann",
    });
    let plain = forgery.header_with("typ", r#""JWT""#);
    let says = |claim: &str, value: &str| forgery.signer.token(&plain, forgery.claims_with(claim, value));
    vec![
        Attack::bearer("a good token of another issuer", stranger.token(header.to_string(), elsewhere)),
        Attack::bearer("a token of the issuer for another service", issuer.token(persona, "another-service")),
        Attack::bearer("an ID token", forgery.signer.token(&plain, id_token.to_string())),
        Attack::bearer("a logout token", issuer.logout_token(Some("ann"), Some("session"), audience)),
        Attack::bearer("a token that says that it is an ID token, as Keycloak does", says("typ", r#""ID""#)),
        Attack::bearer("a token that says that it is a refresh token, as Keycloak does", says("typ", r#""Refresh""#)),
        Attack::bearer("a token that says that it is an offline token, as Keycloak does", says("typ", r#""Offline""#)),
        Attack::bearer("a token that says that it is an ID token, as Cognito does", says("token_use", r#""id""#)),
    ]
}
