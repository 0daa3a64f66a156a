//! What of an exchange is a credential: it must not be seen anywhere else, and a report does not show it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::client::{Answer, Ask};

/// What is shown in place of a credential.
pub(super) const HIDDEN: &str = "...";

/// The shortest text that is looked for, in letters: shorter ones stand somewhere by chance.
const TELLING: usize = 16;

/// Whether a header, a field of a form or a member of an object holds what makes somebody be let in, by its name.
fn is_secret(name: &str) -> bool {
    const STEMS: [&str; 7] = ["token", "secret", "password", "apikey", "assertion", "credential", "privatekey"];
    const ABOUT: [&str; 6] = ["type", "hint", "endpoint", "supported", "error", "expiresin"];
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    STEMS.iter().any(|stem| name.contains(stem)) && !ABOUT.iter().any(|end| name.ends_with(end))
}

fn is_secret_header(name: &HeaderName, value: &HeaderValue) -> bool {
    let is_known = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE].contains(name) || *name == "dpop";
    is_known || value.is_sensitive() || is_secret(name.as_str())
}

/// A header as people may see it: of a credential, how it is presented and no more.
pub(super) fn header<'v>(name: &HeaderName, value: &'v HeaderValue) -> std::borrow::Cow<'v, str> {
    let text = String::from_utf8_lossy(value.as_bytes());
    if !is_secret_header(name, value) {
        return text;
    }
    let presents = [AUTHORIZATION, PROXY_AUTHORIZATION].contains(name);
    match text.split_once(' ').filter(|_| presents) {
        Some((scheme, _)) => format!("{scheme} {HIDDEN}").into(),
        None => HIDDEN.into(),
    }
}

/// A path with its query as people may see it.
pub(super) fn path(path: &str) -> String {
    match path.split_once('?') {
        Some((path, query)) => format!("{path}?{}", fields(query)),
        None => path.to_owned(),
    }
}

/// A form without what is secret in it; nothing else is changed.
fn fields(form: &str) -> String {
    let shown = form.split('&').map(|field| match field.split_once('=') {
        Some((name, _)) if is_secret(name) || name == "code" => format!("{name}={HIDDEN}"),
        _ => field.to_owned(),
    });
    shown.collect::<Vec<_>>().join("&")
}

/// A body as people may see it: without what is secret by its name.
pub(super) fn body(headers: &HeaderMap, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if is_form(headers) {
        return fields(&text);
    }
    let mut secrets = Vec::new();
    if let Ok(json) = serde_json::from_slice(body) {
        members(&json, &mut secrets);
    }
    // In the text, whose order and spaces may be what is looked at.
    secrets.iter().fold(text.into_owned(), |text, secret| text.replace(secret, &format!("\"{HIDDEN}\"")))
}

/// All that is secret by its name in `json`, as JSON.
fn members(json: &Value, secrets: &mut Vec<String>) {
    match json {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(text) if is_secret(name) && !text.is_empty() => secrets.push(value.to_string()),
                    _ => members(value, secrets),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| members(item, secrets)),
        _ => {}
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let form = "application/x-www-form-urlencoded";
    headers.get(CONTENT_TYPE).is_some_and(|is| is.as_bytes().starts_with(form.as_bytes()))
}

/// The credentials in a request, each with what it is.
pub(super) fn sent(ask: &Ask) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for (name, value) in &ask.headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        if *name == AUTHORIZATION {
            let (scheme, rest) = text.split_once(' ').unwrap_or(("", &text));
            if scheme.eq_ignore_ascii_case("basic") {
                let pair = STANDARD.decode(rest.trim()).unwrap_or_default();
                let pair = String::from_utf8_lossy(&pair).into_owned();
                found.extend(pair.split_once(':').map(|(_, secret)| ("a client's secret", secret.to_owned())));
            } else {
                found.push((if rest.starts_with("hb_") { "an API key" } else { "a token" }, rest.to_owned()));
            }
        } else if *name == "dpop" {
            found.push(("a proof of possession", text.into_owned()));
        } else if is_secret_header(name, value) {
            found.push(("a credential in a header", text.into_owned()));
        }
    }
    if is_form(&ask.headers) {
        let fields = url::form_urlencoded::parse(&ask.body).filter(|(name, _)| is_secret(name));
        found.extend(fields.map(|(_, value)| ("a credential in a form", value.into_owned())));
    }
    found
}

/// The credentials that an answer of the embedded issuer hands out.
pub(super) fn handed(ask: &Ask, answer: &Answer) -> Option<String> {
    let is_of_issuer = ask.path.starts_with("/oauth/");
    let body = is_of_issuer.then(|| answer.json().ok()).flatten()?;
    body["access_token"].as_str().map(str::to_owned)
}

/// The words of `credential` that nobody knows without having seen it.
pub(super) fn words(credential: &str) -> Vec<String> {
    let last = credential.rsplit('.').next().unwrap_or_default();
    // Of an API key, also what is secret of it without the rest.
    let secret = last.strip_prefix("hb_").and_then(|key| key.rsplit('_').next());
    let parts = last.split(|letter| !is_of_a_word(letter)).chain(secret);
    parts.filter(|word| is_telling(word)).map(str::to_owned).collect()
}

/// As `Witness` tells words from each other.
fn is_of_a_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '-' || letter == '_'
}

/// The parts of a product's secret that are secret and long enough to be looked for: all of a plain one, the values of one in JSON, and the
/// lines of a private key in PEM.
pub(super) fn parts(secret: &str) -> Vec<String> {
    fn strings(json: &Value, found: &mut Vec<String>) {
        match json {
            Value::String(text) => found.extend(parts(text)),
            Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
            Value::Object(object) => object.values().for_each(|item| strings(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let Ok(json @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(secret) {
        strings(&json, &mut found);
        return found;
    }
    // Of what stands between the lines of a PEM: whether it is public.
    let mut block = None;
    for line in secret.lines().map(str::trim) {
        if let Some(label) = line.strip_prefix("-----BEGIN ") {
            block = Some(label.contains("CERTIFICATE") || label.contains("PUBLIC"));
        } else if line.starts_with("-----END ") {
            block = None;
        } else if block != Some(true) {
            let is_of_one = |letter: char| {
                is_of_a_word(letter) || matches!(letter, '+' | '=') || (block.is_some() && letter == '/')
            };
            found.extend(line.split(|letter| !is_of_one(letter)).filter(|part| is_telling(part)).map(str::to_owned));
        }
    }
    found
}

/// Whether it is long enough to be looked for, and no name.
fn is_telling(word: &str) -> bool {
    word.len() >= TELLING && word.bytes().any(|letter| letter.is_ascii_digit())
}

/// What a run knows of credentials, so that its report shows none of them.
#[derive(Default)]
pub(super) struct Redaction(Mutex<Known>);

#[derive(Default)]
struct Known {
    words: BTreeSet<String>,
    parts: Vec<String>,
}

impl Redaction {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn word(&self, word: &str) {
        self.known().words.insert(word.to_owned());
    }

    /// What is hidden also where it stands in something.
    pub fn part(&self, part: &str) {
        self.known().parts.push(part.to_owned());
    }

    /// A secret of the product, and its [`parts`].
    pub fn secret(&self, value: &str) {
        if !value.is_empty() {
            self.part(value);
        }
        parts(value).iter().for_each(|part| self.part(part));
    }

    /// `text` without what is known, and without whatever looks like a token or an API key.
    pub fn shown(&self, text: &str) -> String {
        let known = self.known();
        let text = known.parts.iter().fold(text.to_owned(), |text, part| text.replace(part, HIDDEN));
        let mut shown = String::with_capacity(text.len());
        let mut rest = &text[..];
        let is_of_one = |letter: char| is_of_a_word(letter) || letter == '.';
        while let Some(start) = rest.find(is_of_one) {
            let (before, from) = rest.split_at(start);
            let (run, after) = from.split_at(from.find(|letter| !is_of_one(letter)).unwrap_or(from.len()));
            shown.push_str(before);
            if is_credential(run) {
                shown.push_str(HIDDEN);
            } else {
                let words = run.split('.').map(|word| if known.words.contains(word) { HIDDEN } else { word });
                shown.push_str(&words.collect::<Vec<_>>().join("."));
            }
            rest = after;
        }
        shown + rest
    }
}

/// Whether it has the form of a token or of an API key.
fn is_credential(run: &str) -> bool {
    let is_token = run.starts_with("eyJ") && run.matches('.').count() >= 2;
    is_token || (run.starts_with("hb_") && run.len() >= 2 * TELLING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Ask {
        Ask::new("POST", "/oauth/token")
    }

    #[test]
    fn what_is_a_credential_by_its_name_is_not_shown() {
        let shown = |name: &'static str, value: &'static str| {
            header(&HeaderName::from_static(name), &HeaderValue::from_static(value)).into_owned()
        };
        assert_eq!(shown("authorization", "Basic YTpi"), "Basic ...");
        assert_eq!(shown("authorization", "secret"), "...");
        for name in ["cookie", "set-cookie", "dpop", "x-api-key", "x-auth-token", "client-secret"] {
            assert_eq!(shown(name, "a b"), "...", "{name}");
        }
        for name in ["idempotency-key", "x-request-id", "content-type", "dpop-nonce", "www-authenticate"] {
            assert_eq!(shown(name, "a b"), "a b", "{name}");
        }
        let mut sensitive = HeaderValue::from_static("a b");
        sensitive.set_sensitive(true);
        assert_eq!(header(&HeaderName::from_static("x-partner"), &sensitive), "...");
        assert_eq!(path("/a?b=1&access_token=x.y&token"), "/a?b=1&access_token=...&token");
    }

    #[test]
    fn bodies_are_shown_as_they_are_but_for_what_is_secret_in_them() {
        let form = ask().form(&[
            ("grant_type", "x"),
            ("client_secret", "s 1"),
            ("subject_token", "t"),
            ("subject_token_type", "jwt"),
        ]);
        let shown = "grant_type=x&client_secret=...&subject_token=...&subject_token_type=jwt";
        assert_eq!(body(&form.headers, &form.body), shown);
        let json = r#"{ "type" : "x", "access_token": "a\"b", "of": [{"apiKey": "k1", "token_type": "Bearer"}], "password":7}"#;
        let shown = r#"{ "type" : "x", "access_token": "...", "of": [{"apiKey": "...", "token_type": "Bearer"}], "password":7}"#;
        assert_eq!(body(&HeaderMap::new(), json.as_bytes()), shown);
    }

    #[test]
    fn the_credentials_of_a_request_are_found_wherever_they_are_sent() {
        let basic = STANDARD.encode("me:the-secret-of-a-client-1");
        let ask = ask().form(&[("client_secret", "in-a-form-123456"), ("scope", "a")]);
        let ask = ask.header(AUTHORIZATION, &format!("Basic {basic}")).bearer("hb_dev_id_0123456789abcdefghij");
        let ask = ask.header(HeaderName::from_static("dpop"), "a.b.proof0proof0proof0");
        let ask = ask.header(HeaderName::from_static("x-api-key"), "key-of-a-partner-1");
        let words: Vec<_> = sent(&ask).iter().flat_map(|(_, credential)| words(credential)).collect();
        for expected in [
            "the-secret-of-a-client-1",
            "hb_dev_id_0123456789abcdefghij",
            "0123456789abcdefghij",
            "proof0proof0proof0",
            "key-of-a-partner-1",
            "in-a-form-123456",
        ] {
            assert!(words.iter().any(|word| word == expected), "{expected} is not among {words:?}");
        }
        assert_eq!(self::words("a.b.c"), Vec::<String>::new());
    }

    #[test]
    fn of_a_secret_is_looked_for_what_is_secret_in_it() {
        let line = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{line}\n-----END PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIU\n-----END CERTIFICATE-----\n"
        );
        assert_eq!(parts(&pem), [line]);
        assert_eq!(parts(r#"{"a_name_that_is_long":"x","password":"0123456789abcdef"}"#), ["0123456789abcdef"]);
        assert_eq!(parts("canary-0123456789"), ["canary-0123456789"]);
        assert_eq!(parts("https://me:0123456789abcdef@a-long-name.example/applications"), ["0123456789abcdef"]);
        assert_eq!(parts("1234"), Vec::<String>::new());
    }

    #[test]
    fn what_is_known_or_looks_like_a_token_is_hidden_wherever_it_stands() {
        let redaction = Redaction::default();
        redaction.word("c2ln-bmF0_dXJl");
        redaction.part("half of it");
        for (text, shown) in [
            ("nothing. at all", "nothing. at all"),
            ("\"a.b.c2ln-bmF0_dXJl\"", "\"a.b....\""),
            ("xhalf of itx", "x...x"),
            ("<eyJhbGciOiJub25lIn0.e30.>", "<...>"),
            ("an hb_live_0123456789ab_0123456789abcdefghij.", "an ..."),
            ("é c2ln-bmF0_dXJl!", "é ...!"),
        ] {
            assert_eq!(redaction.shown(text), shown);
        }
    }
}
