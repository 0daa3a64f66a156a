//! Which names are names of secrets: by their last words, so that `user.password_hash` is one and `token.type` is not.

/// Words that say nothing: `password.value`, `token_text`, `new_password_confirmation`.
const NEUTRAL: [&str; 9] = ["value", "text", "raw", "string", "plain", "hash", "header", "confirmation", "confirm"];

/// What makes a `key` a secret one. A `routing_key`, a `primary_key` and `feature_flag.key` are none.
const SECRET_KEYS: [&str; 18] = [
    "access",
    "account",
    "api",
    "app",
    "auth",
    "client",
    "decryption",
    "encryption",
    "hmac",
    "host",
    "license",
    "master",
    "private",
    "secret",
    "session",
    "shared",
    "signing",
    "ssh",
];

/// Names of the semantic conventions that end like secrets and are none.
const CONVENTIONS: [&str; 2] = ["session.id", "mcp.session.id"];

/// Parameters of a query that are secret, besides those that their name gives away anywhere.
const QUERY: [&str; 14] = [
    "assertion",
    "auth",
    "awsaccesskeyid",
    "client_assertion",
    "code",
    "googleaccessid",
    "key",
    "otp",
    "pass",
    "pin",
    "pw",
    "samlresponse",
    "sig",
    "ticket",
];

/// Whether `key`, of an attribute, a field, a header or a setting, names a secret; `more` are names that were configured, each
/// as its words in lower case, the last one first.
pub(super) fn names_a_secret(key: &str, more: &[Box<[Box<str>]>]) -> bool {
    // Digits as well: `password2`.
    let mut words =
        Words(key).skip_while(|word| is_one_of(word, &NEUTRAL) || word.bytes().all(|byte| byte.is_ascii_digit()));
    let before = words.clone();
    let Some(last) = words.next() else { return false };
    let is_known = match last.as_bytes()[last.len() - 1].to_ascii_lowercase() {
        b'n' => ends_with(last, "token") || is(last, "session") || ends_with(last, "authorization"),
        b'd' => match () {
            () if is(last, "id") => {
                words.next().is_some_and(|word| is_one_of(word, &["session", "sess"])) && !CONVENTIONS.contains(&key)
            }
            () => {
                ends_with(last, "password")
                    || ends_with(last, "passwd")
                    || is_one_of(last, &["pwd", "sessionid", "sid"])
            }
        },
        b't' => ends_with(last, "secret") || is(last, "jwt"),
        b'e' => ["passphrase", "passcode", "cookie", "signature"].iter().any(|ending| ends_with(last, ending)),
        b'l' => ends_with(last, "credential"),
        b's' => ["passwords", "secrets", "cookies", "credentials"].iter().any(|ending| ends_with(last, ending)),
        b'r' => is(last, "bearer"),
        b'p' => is(last, "dpop"),
        b'y' if ends_with(last, "key") => {
            let of = &last[..last.len() - "key".len()];
            let of = if of.is_empty() { words.next().unwrap_or_default() } else { of };
            is_one_of(of, &SECRET_KEYS)
        }
        _ => false,
    };
    is_known
        || more.iter().any(|name| {
            let mut words = before.clone();
            name.iter().all(|word| words.next().is_some_and(|found| is(found, word)))
        })
}

/// Whether `key` names a secret in the query of a URL.
pub(super) fn is_secret_in_query(key: &str, more: &[Box<[Box<str>]>], query: &[Box<str>]) -> bool {
    is_one_of(key, &QUERY) || query.iter().any(|known| is(key, known)) || names_a_secret(key, more)
}

/// The words of a configured name, the last one first.
pub(super) fn compiled(name: &str) -> Box<[Box<str>]> {
    Words(name).map(|word| word.to_lowercase().into()).collect()
}

fn is(word: &str, known: &str) -> bool {
    word.eq_ignore_ascii_case(known)
}

fn is_one_of(word: &str, known: &[&str]) -> bool {
    known.iter().any(|known| is(word, known))
}

fn ends_with(word: &str, ending: &str) -> bool {
    word.len().checked_sub(ending.len()).and_then(|start| word.get(start..)).is_some_and(|end| is(end, ending))
}

/// The words of a name, the last one first: between separators, where `camelCase` has a hump, and where digits begin.
#[derive(Clone)]
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        // Letters that are not ASCII are letters.
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
        self.0 = self.0.trim_end_matches(|char: char| char.is_ascii() && !char.is_ascii_alphanumeric());
        let bytes = self.0.as_bytes();
        let last = *bytes.last()?;
        let (mut start, mut has_lower) = (bytes.len(), false);
        while let Some(&byte) = start.checked_sub(1).and_then(|before| bytes.get(before)) {
            let hump = byte.is_ascii_lowercase() && bytes.get(start).is_some_and(u8::is_ascii_uppercase);
            if !is_part(byte) || byte.is_ascii_digit() != last.is_ascii_digit() || hump {
                break;
            }
            start -= 1;
            if byte.is_ascii_uppercase() && has_lower {
                break;
            }
            has_lower |= byte.is_ascii_lowercase();
        }
        let (rest, word) = self.0.split_at(start);
        self.0 = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart_from_the_end() {
        for (name, words) in [
            ("http.request.header.x-api-key", "key api x header request http"),
            ("AWSAccessKeyId", "Id Key Access AWS"),
            ("accessTOKEN", "TOKEN access"),
            ("APIKey2", "2 Key API"),
            ("user[password]", "password user"),
            ("Größe_ß", "ß Größe"),
            ("--", ""),
            ("", ""),
        ] {
            assert_eq!(Words(name).collect::<Vec<_>>().join(" "), words, "{name}");
        }
    }

    #[test]
    fn a_configured_name_is_one_by_its_last_words() {
        let more = [compiled("cardNumber")];
        for (name, secret) in [
            ("card_number", true),
            ("payment.card.number", true),
            ("CARD-NUMBER", true),
            ("card_number_text", true),
            ("number", false),
            ("card", false),
            ("card_number_kind", false),
        ] {
            assert_eq!(names_a_secret(name, &more), secret, "{name}");
        }
    }
}
