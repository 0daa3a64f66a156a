//! The forms in which a secret turns up.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode};
use secrecy::zeroize::Zeroizing;

use super::SHORTEST;

/// What is longer is looked for as it is, and in no other form.
const LONGEST: usize = 64 << 10;

/// The most bytes that a form makes of one byte.
const MOST: usize = 10;

/// As `encodeURIComponent` leaves them, and what follows RFC 3986.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The sets of the URL standard.
const FRAGMENT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`');
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');
const SPECIAL_QUERY: &AsciiSet = &QUERY.add(b'\'');
const PATH: &AsciiSet = &QUERY.add(b'?').add(b'^').add(b'`').add(b'{').add(b'}');
const SEGMENT: &AsciiSet = &PATH.add(b'/').add(b'%');
const USER_INFO: &AsciiSet =
    &PATH.add(b'/').add(b':').add(b';').add(b'=').add(b'@').add(b'[').add(b'\\').add(b']').add(b'|');
const COMPONENT: &AsciiSet = &USER_INFO.add(b'$').add(b'%').add(b'&').add(b'+').add(b',');
const SETS: [&AsciiSet; 9] =
    [NON_ALPHANUMERIC, UNRESERVED, FRAGMENT, QUERY, SPECIAL_QUERY, PATH, SEGMENT, USER_INFO, COMPONENT];

/// One form of a secret.
pub(super) struct Form<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether the letter before and the one after hold bits of the secret, and bits of its neighbours.
    pub(super) before: bool,
    pub(super) after: bool,
}

/// Hands each form of `secret` to `found`, some more than once. Its own buffers are wiped.
pub(super) fn forms(secret: &[u8], mut found: impl FnMut(Form<'_>)) {
    let mut found = |bytes: &[u8], before, after| {
        if bytes.len() >= SHORTEST {
            found(Form { bytes, before, after });
        }
    };
    found(secret, false, false);
    if secret.len() > LONGEST {
        return;
    }
    // Of full size from the start: one that grows leaves copies behind.
    let room = || Zeroizing::new(Vec::with_capacity(secret.len() * MOST + 16));
    let mut to = room();
    let mut whole = |to: &mut Vec<u8>| {
        found(to, false, false);
        to.clear();
    };
    if let Ok(text) = str::from_utf8(secret) {
        let _infallible = write!(&mut *to, "{text:?}");
        unquoted(&mut to, &mut whole);
        let mut nested = room();
        let _infallible = serde_json::to_writer(&mut *to, text);
        nested.extend_from_slice(inner(&to));
        unquoted(&mut to, &mut whole);
        if let Ok(text) = str::from_utf8(&nested) {
            let _infallible = serde_json::to_writer(&mut *to, text);
            unquoted(&mut to, &mut whole);
        }
    } else {
        lossy(secret, &mut to);
        whole(&mut to);
    }
    to.extend(secret.escape_ascii());
    whole(&mut to);
    for set in SETS {
        to.extend(percent_encode(secret, set).flat_map(str::bytes));
        percent_encoded(&mut to, &mut whole);
    }
    to.extend(url::form_urlencoded::byte_serialize(secret).flat_map(str::bytes));
    percent_encoded(&mut to, &mut whole);
    for digits in [b"0123456789abcdef", b"0123456789ABCDEF"] {
        to.extend(secret.iter().flat_map(|byte| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]));
        whole(&mut to);
    }
    // As `Debug` shows bytes, as JSON does, and as `tracing` does.
    for list in [", ", ",", " "] {
        for byte in secret {
            let separator = if to.is_empty() { "" } else { list };
            let _infallible = match list {
                " " => write!(&mut *to, "{separator}{byte:02x}"),
                _ => write!(&mut *to, "{separator}{byte}"),
            };
        }
        whole(&mut to);
    }
    base64(secret, &mut to, &mut found);
}

/// What is in `to` without its quotes.
fn unquoted(to: &mut Vec<u8>, whole: &mut impl FnMut(&mut Vec<u8>)) {
    to.pop();
    to.drain(..to.len().min(1));
    whole(to);
}

fn inner(quoted: &[u8]) -> &[u8] {
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default()
}

/// What is in `to` with digits in upper case, as it is usual, and in lower case.
fn percent_encoded(to: &mut Vec<u8>, whole: &mut impl FnMut(&mut Vec<u8>)) {
    if !to.contains(&b'%') {
        return whole(to);
    }
    let mut lower = Zeroizing::new(Vec::with_capacity(to.len()));
    lower.extend_from_slice(to);
    whole(to);
    let mut at = 0;
    while let Some(byte) = lower.get(at) {
        let length = if *byte == b'%' { 3 } else { 1 };
        if let (3, Some(encoded)) = (length, lower.get_mut(at..at + 3)) {
            encoded.make_ascii_lowercase();
        }
        at += length;
    }
    whole(&mut lower);
}

/// As `String::from_utf8_lossy` shows it, if enough of it is left.
fn lossy(secret: &[u8], to: &mut Vec<u8>) {
    let mut left = 0;
    for chunk in secret.utf8_chunks() {
        left += chunk.valid().len();
        to.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            to.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    if left < SHORTEST {
        to.clear();
    }
}

/// In base64, behind 0, 1 or 2 bytes of something else: the letters that are all the secret's.
fn base64(secret: &[u8], to: &mut Vec<u8>, found: &mut impl FnMut(&[u8], bool, bool)) {
    let mut shifted = Zeroizing::new(Vec::with_capacity(secret.len() + 2));
    for shift in 0..3 {
        shifted.clear();
        shifted.resize(shift, 0);
        shifted.extend_from_slice(secret);
        let bits = 8 * shifted.len();
        let from = (8 * shift).div_ceil(6);
        for alphabet in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            to.clear();
            to.resize(bits.div_ceil(6), 0);
            if alphabet.encode_slice(&*shifted, to).is_ok() {
                found(&to[from..bits / 6], shift > 0, !bits.is_multiple_of(6));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(secret: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        forms(secret, |form| all.push(String::from_utf8_lossy(form.bytes).into_owned()));
        all
    }

    #[test]
    fn each_form_is_what_its_encoder_makes() {
        let secret = "pass\"wörd\\ /+?&'\n~";
        let json = serde_json::to_string(secret).expect("serialized");
        let nested = serde_json::to_string(&json).expect("serialized");
        let debug = format!("{secret:?}");
        let mut url = url::Url::parse("postgres://u@h/").expect("a URL");
        url.set_password(Some(secret)).expect("set");
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("p", secret).finish();
        let numbers = format!("{:?}", secret.as_bytes());
        let all = all(secret.as_bytes());
        for form in [
            secret,
            &json[1..json.len() - 1],
            &nested[3..nested.len() - 3],
            &debug[1..debug.len() - 1],
            &secret.as_bytes().escape_ascii().to_string(),
            url.password().expect("a password"),
            &query[2..],
            &query[2..].to_ascii_lowercase(),
            &numbers[1..numbers.len() - 1],
            &numbers[1..numbers.len() - 1].replace(' ', ""),
            "70 61 73 73 22 77 c3 b6 72 64 5c 20 2f 2b 3f 26 27 0a 7e",
            "706173732277c3b672645c202f2b3f26270a7e",
            "706173732277C3B672645C202F2B3F26270A7E",
        ] {
            assert!(all.iter().any(|other| other == form), "{form} is not in {all:?}");
        }
    }

    #[test]
    fn base64_is_of_each_alphabet_and_alignment() {
        let secret = b"\xff\xfesecret\x3e\x3f";
        let all = all(secret);
        for before in ["", "u", "u:", "us:"] {
            for alphabet in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let text = alphabet.encode([before.as_bytes(), secret, b"tail"].concat());
                let inside = all.iter().filter(|form| form.len() > 10 && text.contains(*form)).count();
                assert!(inside > 0, "{text}");
            }
        }
    }

    #[test]
    fn no_form_is_shorter_than_a_secret_may_be() {
        for secret in [b"\xff\xff\xff\xff\xff\xff\xff\xff".as_slice(), b"aaaaaaaa", &[0; 9]] {
            assert!(all(secret).iter().all(|form| form.len() >= SHORTEST));
        }
        assert_eq!(all(&[b'a'; LONGEST + 1]).len(), 1);
    }
}
