//! Headers that ask for more, for less, or for something else than a plain signature of the issuer's key. The signatures
//! are good.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::attack::Attack;
use super::forgery::Forgery;
use super::server::{STRANGER_CHAIN, STRANGER_KEYS};

pub(super) fn attacks(forgery: &Forgery<'_>) -> Vec<Attack> {
    let parts = [members(forgery), doubled(forgery), shapes(forgery)];
    parts.into_iter().flatten().collect()
}

/// The good header with one member set.
fn members(forgery: &Forgery<'_>) -> Vec<Attack> {
    let at = |path: &str| json!(format!("{}{path}", forgery.issuer.id())).to_string();
    let id = forgery.signer.key_id();
    let text = |text: String| json!(text).to_string();
    let alg = forgery.signer.algorithm().as_str();
    let other = if alg == "ES384" { "ES256" } else { "ES384" };
    let table = [
        ("crit with a member that is there", "crit", r#"["typ"]"#.into()),
        ("crit with an extension that nobody knows", "crit", r#"["urn:example:extension"]"#.into()),
        ("an empty crit", "crit", "[]".into()),
        ("crit that is text", "crit", r#""exp""#.into()),
        ("crit that is null", "crit", "null".into()),
        ("crit with b64", "crit", r#"["b64"]"#.into()),
        ("b64 false", "b64", "false".into()),
        ("b64 true", "b64", "true".into()),
        ("a key brought along as jwk beside a good signature", "jwk", forgery.signer.jwk().to_string()),
        ("an address of keys in jku beside a good signature", "jku", at(STRANGER_KEYS)),
        ("an address of certificates in x5u beside a good signature", "x5u", at(STRANGER_CHAIN)),
        ("certificates in x5c beside a good signature", "x5c", {
            json!([STANDARD.encode(&forgery.certificate)]).to_string()
        }),
        ("a header that says how the token is encrypted", "enc", r#""A256GCM""#.into()),
        ("a header that says that the token is compressed", "zip", r#""DEF""#.into()),
        ("a header that says that a token is nested inside", "cty", r#""JWT""#.into()),
        ("a header that says that a token is nested inside, in lower case", "cty", r#""jwt""#.into()),
        ("an algorithm that the key is not for", "alg", text(other.to_owned())),
        ("an algorithm in lower case", "alg", text(alg.to_ascii_lowercase())),
        ("an algorithm and a space", "alg", text(format!("{alg} "))),
        ("an algorithm and a zero", "alg", text(format!("{alg}\0"))),
        ("a list of algorithms", "alg", json!([alg]).to_string()),
        ("a number as algorithm", "alg", "256".into()),
        ("true as algorithm", "alg", "true".into()),
        ("HS256 over a signature of the issuer", "alg", r#""HS256""#.into()),
        ("an encryption as algorithm", "alg", r#""dir""#.into()),
        ("an empty key id", "kid", r#""""#.into()),
        ("the key id and a space", "kid", text(format!("{id} "))),
        ("the key id and a zero", "kid", text(format!("{id}\0"))),
        ("the key id in capitals", "kid", text(id.to_ascii_uppercase())),
        ("the key id behind a path", "kid", text(format!("../keys/{id}"))),
        ("a web address as key id", "kid", at(STRANGER_KEYS)),
        ("a key id of a thousand characters", "kid", text("k".repeat(1_000))),
        ("a number as key id", "kid", "1".into()),
        ("null as key id", "kid", "null".into()),
        ("a list as key id", "kid", json!([id]).to_string()),
        ("an object as key id", "kid", json!({"$ne": id}).to_string()),
        ("a key id with half a character", "kid", r#""\ud800""#.into()),
        ("the type of a logout token", "typ", r#""logout+jwt""#.into()),
        ("the long type of a logout token", "typ", r#""application/logout+jwt""#.into()),
        ("the type of a logout token in capitals", "typ", r#""LOGOUT+JWT""#.into()),
        ("the type of a DPoP proof", "typ", r#""dpop+jwt""#.into()),
        ("the type of a security event", "typ", r#""secevent+jwt""#.into()),
        ("the type of a request object", "typ", r#""oauth-authz-req+jwt""#.into()),
        ("the type of an introspection answer", "typ", r#""token-introspection+jwt""#.into()),
        ("the type of a client's own assertion", "typ", r#""client-authentication+jwt""#.into()),
        ("the type of an ID token", "typ", r#""id_token""#.into()),
        ("the type of a refresh token", "typ", r#""refresh+jwt""#.into()),
        ("a type that nobody knows", "typ", r#""urn:example:type""#.into()),
        ("an empty type", "typ", r#""""#.into()),
        ("a list of types", "typ", r#"["at+jwt"]"#.into()),
        ("a number as type", "typ", "1".into()),
    ];
    let b64 = forgery.header_with("b64", "false").replacen('{', r#"{"crit":["b64"],"#, 1);
    let without_alg = json!({"kid": id, "typ": "at+jwt"}).to_string();
    let attacks = table
        .into_iter()
        .map(|(name, member, value)| Attack::bearer(name, forgery.with_header(forgery.header_with(member, &value))));
    attacks
        .chain([
            Attack::bearer("b64 false, with crit that says so", forgery.with_header(b64)),
            Attack::bearer("a header without an algorithm", forgery.with_header(without_alg)),
        ])
        .collect()
}

/// Readers that disagree on which of two counts are how checks are got around.
fn doubled(forgery: &Forgery<'_>) -> Vec<Attack> {
    let header = forgery.header();
    let (alg, id) = (json!(forgery.signer.algorithm().as_str()), json!(forgery.signer.key_id()));
    let before = |member: String| header.replacen('{', &format!("{{{member},"), 1);
    let behind = |member: &str| format!("{},{member}}}", &header[..header.len() - 1]);
    let table = [
        ("alg twice, the same", before(format!(r#""alg":{alg}"#))),
        ("alg twice, none first", before(r#""alg":"none""#.into())),
        ("alg twice, none last", behind(r#""alg":"none""#)),
        ("alg twice, once with an escape", behind(r#""\u0061lg":"none""#)),
        ("kid twice, the same", before(format!(r#""kid":{id}"#))),
        ("kid twice, another first", before(r#""kid":"other""#.into())),
        ("kid twice, another last", behind(r#""kid":"other""#)),
        ("typ twice, another first", before(r#""typ":"logout+jwt""#.into())),
        ("typ twice, another last", behind(r#""typ":"logout+jwt""#)),
        ("a name twice in an object of the header", behind(r#""x":{"a":1,"a":2}"#)),
        ("a name twice deep in the header, once with an escape", behind(r#""x":[[{"a":1,"\u0061":2}]]"#)),
    ];
    table.into_iter().map(|(name, header)| Attack::bearer(name, forgery.with_header(header))).collect()
}

/// What is not one JSON object.
fn shapes(forgery: &Forgery<'_>) -> Vec<Attack> {
    let header = forgery.header();
    let open = &header[..header.len() - 1];
    let mut not_text = header.clone().into_bytes();
    not_text.insert(header.len() - 2, 0xff);
    let table: [(&'static str, Vec<u8>); 13] = [
        ("an empty header", Vec::new()),
        ("an empty object as header", b"{}".to_vec()),
        ("a list as header", format!("[{header}]").into()),
        ("text as header", json!(header).to_string().into()),
        ("null as header", b"null".to_vec()),
        ("a header and another behind it", format!("{header}{header}").into()),
        ("a header and a zero behind it", format!("{header}\0").into()),
        ("a header that does not end", open.into()),
        ("a header with a comma too many", format!("{open},}}").into()),
        ("a header with a comment", format!("{open}/**/}}").into()),
        ("a header behind a byte order mark", format!("\u{feff}{header}").into()),
        ("a header that is not UTF-8", not_text),
        ("a header of brackets without end", format!(r#"{open},"x":{}"#, "[".repeat(3_000)).into()),
    ];
    table.into_iter().map(|(name, header)| Attack::bearer(name, forgery.with_header(header))).collect()
}
