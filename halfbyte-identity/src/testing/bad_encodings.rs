//! Tokens that are not three parts in canonical base64url. The signatures are made over what is sent, and are good.

use serde_json::json;

use super::attack::Attack;
use super::forgery::Forgery;
use super::signer::b64;

pub(super) fn attacks(forgery: &Forgery<'_>) -> Vec<Attack> {
    let parts = [spellings(forgery), parts(forgery), payloads(forgery)];
    parts.into_iter().flatten().collect()
}

/// A second spelling of the same bytes makes of one token two: for caches, for revocation lists, for logs.
fn spellings(forgery: &Forgery<'_>) -> Vec<Attack> {
    // White space at the end makes both have bits to spare in their last character.
    let header = with_bits_to_spare(forgery.header());
    let payload = with_bits_to_spare(forgery.claims_with("note", r#""???>>>~~~""#));
    let (head, body) = (b64(&header), b64(&payload));
    let token = |head: &str, body: &str| forgery.signer.token_of_parts(head, body);
    let (signed_header, signed_payload, signature) = forgery.parts();
    let plain = |text: &str| text.replace('-', "+").replace('_', "/");
    let spaced = |text: &str| format!("{} {}", &text[..8], &text[8..]);
    vec![
        Attack::bearer("a header with padding", token(&padded(&head), &body)),
        Attack::bearer("claims with padding", token(&head, &padded(&body))),
        Attack::bearer("a signature with padding", format!("{}==", forgery.good)),
        Attack::bearer("a header with other bits to spare", token(&other_spelling(&head), &body)),
        Attack::bearer("claims with other bits to spare", token(&head, &other_spelling(&body))),
        Attack::bearer("a signature with other bits to spare", {
            format!("{signed_header}.{signed_payload}.{}", other_spelling(signature))
        }),
        Attack::bearer("claims in the alphabet of plain base64", token(&head, &plain(&body))),
        Attack::bearer("a space in the header", token(&spaced(&head), &body)),
        Attack::bearer("a space in the claims", token(&head, &spaced(&body))),
        Attack::bearer("a tab in the claims", token(&head, &spaced(&body).replace(' ', "\t"))),
        Attack::bearer("a character more than base64 has room for", token(&head, &overfull(&body))),
        Attack::bearer("dots that are percent-encoded", forgery.good.replace('.', "%2E")),
        Attack::bearer("dots that only look like dots", forgery.good.replace('.', "\u{ff0e}")),
        Attack::bearer("a letter that only looks like one", forgery.good.replacen('e', "\u{435}", 1)),
        Attack::bearer("a line break, percent-encoded", format!("{}%0d%0a", forgery.good)),
        Attack::bearer("a zero, percent-encoded", format!("{}%00", forgery.good)),
    ]
}

fn with_bits_to_spare(mut json: String) -> String {
    while json.len().is_multiple_of(3) {
        json.push(' ');
    }
    json
}

fn padded(text: &str) -> String {
    format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4))
}

/// One character stands for less than a byte.
fn overfull(text: &str) -> String {
    format!("{text}{}", "A".repeat((5 - text.len() % 4) % 4))
}

/// The same bytes where the last character has bits to spare, and other bytes where it has none.
fn other_spelling(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let Some(last) = text.bytes().last() else { return String::new() };
    let value = ALPHABET.iter().position(|letter| *letter == last).unwrap_or_default();
    format!("{}{}", &text[..text.len() - 1], char::from(ALPHABET[value ^ 1]))
}

/// More parts or fewer, or another serialization.
fn parts(forgery: &Forgery<'_>) -> Vec<Attack> {
    let good = &forgery.good;
    let (header, payload, signature) = forgery.parts();
    let flattened = json!({"protected": header, "payload": payload, "signature": signature}).to_string();
    let general = json!({"payload": payload, "signatures": [{"protected": header, "signature": signature}]});
    let encrypted = b64(json!({"alg": "dir", "enc": "A256GCM", "kid": forgery.signer.key_id()}).to_string());
    let wrapped = b64(json!({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": forgery.signer.key_id()}).to_string());
    let nested = forgery.header_with("cty", r#""JWT""#);
    vec![
        Attack::bearer("one part", header),
        Attack::bearer("nothing but dots", ".."),
        Attack::bearer("a dot before a good token", format!(".{good}")),
        Attack::bearer("a dot behind a good token", format!("{good}.")),
        Attack::bearer("two dots in a row", format!("{header}..{payload}.{signature}")),
        Attack::bearer("a good token with a fourth part", format!("{good}.{signature}")),
        Attack::bearer("a token without its payload, as if it came from elsewhere", format!("{header}..{signature}")),
        Attack::bearer("a token without its header", format!(".{payload}.{signature}")),
        Attack::bearer("a good token twice", format!("{good}{good}")),
        Attack::bearer("a good token with a letter before it", format!("A{good}")),
        Attack::bearer("an encrypted token of five parts", format!("{encrypted}..{payload}.{payload}.{signature}")),
        Attack::bearer("an encrypted token of five parts with a wrapped key", {
            format!("{wrapped}.{signature}.{payload}.{payload}.{signature}")
        }),
        Attack::bearer("a good token and two more parts", format!("{good}.{payload}.{signature}")),
        Attack::bearer("a token in flattened JSON", &flattened),
        Attack::bearer("a token in flattened JSON, encoded", b64(&flattened)),
        Attack::bearer("a token in general JSON", general.to_string()),
        Attack::bearer("a good token, encoded", b64(good)),
        Attack::bearer("a good token nested in another", forgery.signer.token(nested, good)),
        Attack::bearer("a good token as the claims of another", forgery.with_claims(good)),
        Attack::bearer(
            "a good token as the claims of another, in quotes",
            forgery.with_claims(json!(good).to_string()),
        ),
    ]
}

/// Claims that are not one JSON object, or are too much of one.
fn payloads(forgery: &Forgery<'_>) -> Vec<Attack> {
    let claims = forgery.claims();
    let open = &claims[..claims.len() - 1];
    let mut not_text = claims.clone().into_bytes();
    not_text.insert(claims.len() - 2, 0xff);
    let long = |length: usize| forgery.claims_with("note", &json!("x".repeat(length)).to_string());
    let table: [(&'static str, Vec<u8>); 18] = [
        ("no claims", Vec::new()),
        ("an empty object as claims", b"{}".to_vec()),
        ("a list of claims", format!("[{claims}]").into()),
        ("text as claims", json!(claims).to_string().into()),
        ("null as claims", b"null".to_vec()),
        ("a number as claims", b"1".to_vec()),
        ("claims and others behind them", format!("{claims}{claims}").into()),
        ("claims and a bracket behind them", format!("{claims}]").into()),
        ("claims and a zero behind them", format!("{claims}\0").into()),
        ("claims that do not end", open.into()),
        ("claims with a comma too many", format!("{open},}}").into()),
        ("claims with a comment", format!("{open}/**/}}").into()),
        ("claims behind a byte order mark", format!("\u{feff}{claims}").into()),
        ("claims that are not UTF-8", not_text),
        ("claims with half a character", forgery.claims_with("note", r#""\udfff""#).into()),
        ("claims of brackets without end", format!(r#"{open},"x":{}"#, "[".repeat(3_000)).into()),
        ("claims of objects in objects, thousands deep", {
            let (begin, end) = (r#"{"a":"#.repeat(1_500), "}".repeat(1_500));
            forgery.claims_with("note", &format!("{begin}1{end}")).into()
        }),
        ("claims that are longer than any service should read", long(16 * 1024).into()),
    ];
    let mut attacks: Vec<_> =
        table.into_iter().map(|(name, claims)| Attack::bearer(name, forgery.with_claims(claims))).collect();
    let huge = forgery.with_claims(long(256 * 1024));
    attacks.push(Attack::bearer("claims of a quarter of a million bytes", huge));
    attacks
}
