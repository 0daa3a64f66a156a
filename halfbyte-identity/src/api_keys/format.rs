//! The text of an API key: `hb_ENV_ID_SECRET`, in one canonical form.

use std::fmt;

use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halfbyte_core::config::Environment;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// What a secret scanner looks for, as a regular expression that every engine knows.
///
/// ENV is `dev`, `stg` or `live`; the id has 12 characters; the secret has 43, and 6 more that are the CRC-32 (IEEE) of
/// everything before them, written in base 62 with the digits `0-9A-Za-z`, the most significant first. A scanner that
/// checks them reports no text that merely looks like a key.
pub const KEY_PATTERN: &str = r"\bhb_(dev|stg|live)_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}\b";

const PREFIX: &str = "hb_";
const ID: usize = 12;
/// 62^43 is a little more than 2^256.
const SECRET: usize = 43;
/// 62^6 is more than 2^32.
const CHECKSUM: usize = 6;
const BASE: usize = 62;
const DIGITS: &[u8; BASE] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Whether `token` means to be an API key, well-formed or not.
pub(crate) fn looks_like(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// The id of one key. Not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id([u8; ID]);

impl Id {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(Self(text.as_bytes().try_into().ok().filter(|id: &[u8; ID]| id.iter().all(u8::is_ascii_alphanumeric))?))
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// One of `parts`, evenly: an id is random.
    #[cfg(feature = "postgres")]
    pub(super) fn part_of(&self, parts: usize) -> usize {
        crc32fast::hash(&self.0) as usize % parts
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id in `key`; `None` when it is not a key of `environment` in the one form that keys have.
pub(super) fn parse(key: &str, environment: Environment) -> Option<Id> {
    let (id, secret) = key.strip_prefix(PREFIX)?.strip_prefix(word(environment))?.strip_prefix('_')?.split_once('_')?;
    let is_secret = secret.len() == SECRET + CHECKSUM && secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let id = Id::parse(id).filter(|_| is_secret)?;
    let (checked, sum) = key.split_at(key.len() - CHECKSUM);
    (checksum(checked) == sum.as_bytes()).then_some(id)
}

/// A new key with a new secret; of the id given, or of a new one.
pub(super) fn generate(environment: Environment, id: Option<Id>) -> Result<(Id, SecretString), Error> {
    let id = match id {
        Some(id) => id,
        None => Id(random()?),
    };
    let secret: [u8; SECRET] = random()?;
    let word = word(environment);
    // As long as it gets: a text that grows leaves copies behind.
    let mut key = String::with_capacity(PREFIX.len() + word.len() + ID + SECRET + CHECKSUM + 2);
    key.extend([PREFIX, word, "_", id.as_str(), "_"]);
    key.extend(secret.map(char::from));
    let sum = checksum(&key);
    key.extend(sum.map(char::from));
    Ok((id, key.into()))
}

fn word(environment: Environment) -> &'static str {
    match environment {
        Environment::Development => "dev",
        Environment::Staging => "stg",
        Environment::Production => "live",
    }
}

fn checksum(text: &str) -> [u8; CHECKSUM] {
    let mut rest = crc32fast::hash(text.as_bytes()) as usize;
    let mut digits = [0; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[rest % BASE];
        rest /= BASE;
    }
    digits
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    // Bytes from here on would make the first digits likelier than the others.
    const UNFAIR: usize = 256 - 256 % BASE;
    let mut text = [0; N];
    let mut filled = 0;
    while filled < N {
        let mut bytes = [0; 64];
        rand::fill(&mut bytes).map_err(|_| Error::new(ErrorKind::Storage, "this machine gives no random numbers"))?;
        let fair = bytes.into_iter().map(usize::from).filter(|byte| *byte < UNFAIR);
        for (place, byte) in text[filled..].iter_mut().zip(fair) {
            *place = DIGITS[byte % BASE];
            filled += 1;
        }
    }
    Ok(text)
}

/// What is kept of a key. A secret of 256 random bits needs no slow hash: there is nothing to guess.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Digest([u8; 32]);

impl Digest {
    /// Of nobody's key: what a key is compared with when there is none of its id, so that it takes as long.
    pub(super) const NOBODY: Self = Self([0; 32]);

    pub(super) fn of(key: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        // Separated from every other use of the same hash.
        context.update(b"halfbyte api key v1\0");
        context.update(key.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }

    /// In constant time.
    pub(super) fn is(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    #[cfg(feature = "postgres")]
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = &'static str;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self).map_err(|_| "a digest is not one of SHA-256")
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| "a digest is not base64url")?;
        Self::try_from(&*bytes)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        URL_SAFE_NO_PAD.encode(digest.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    const ENVIRONMENTS: [Environment; 3] = [Environment::Development, Environment::Staging, Environment::Production];

    fn environments() -> impl Strategy<Value = Environment> {
        prop::sample::select(&ENVIRONMENTS[..])
    }

    /// The documented pattern, read by hand: there is no regex engine among the dependencies.
    fn matches_pattern(text: &str) -> bool {
        let parts: Vec<&str> = text.split('_').collect();
        let [prefix, env, id, secret] = parts[..] else { return false };
        let is = |text: &str, len: usize| text.len() == len && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        prefix == "hb" && ["dev", "stg", "live"].contains(&env) && is(id, 12) && is(secret, 49)
    }

    #[test]
    fn keys_that_are_out_there_stay_good() {
        // Made by another program from the documentation of the pattern.
        let key = "hb_live_0123456789AZ_3AHOVcjqx4BIPWdkry5CJQXelsz6DKRYfmt07ELSZgn3IbyMl";
        assert_eq!(parse(key, Environment::Production).expect("a key").as_str(), "0123456789AZ");
        assert_eq!(String::from(Digest::of(key)), "dtBcoQkeWkG2HWVdOZzN99wX3U5lSQyyDkPjzIjobbg");
        assert_eq!(&checksum("123456789"), b"3jZRME");
        assert_eq!(&checksum(""), b"000000");
    }

    #[test]
    fn digits_are_equally_likely() {
        let mut counts = [0_u32; 256];
        for _ in 0..1000 {
            random::<62>().expect("random").into_iter().for_each(|digit| counts[usize::from(digit)] += 1);
        }
        for digit in DIGITS {
            // 1,000 are expected; so far off is less likely than one in 10^9.
            let count = counts[usize::from(*digit)];
            assert!((800..1200).contains(&count), "{} came {count} times", char::from(*digit));
        }
    }

    proptest! {
        #[test]
        fn a_generated_key_matches_the_pattern_and_is_read_back(environment in environments()) {
            let (id, key) = generate(environment, None).expect("generated");
            prop_assert!(matches_pattern(key.expose_secret()));
            prop_assert_eq!(parse(key.expose_secret(), environment), Some(id));
            let (same, other) = generate(environment, Some(id)).expect("generated");
            prop_assert_eq!(same, id);
            prop_assert_ne!(key.expose_secret(), other.expose_secret());
        }

        #[test]
        fn a_key_of_another_environment_is_none(ours in environments(), theirs in environments()) {
            let (_, key) = generate(theirs, None).expect("generated");
            prop_assert_eq!(parse(key.expose_secret(), ours).is_some(), ours == theirs);
        }

        #[test]
        fn any_changed_character_is_noticed(at in any::<prop::sample::Index>(), to in any::<char>()) {
            let (_, key) = generate(Environment::Production, None).expect("generated");
            let mut chars: Vec<char> = key.expose_secret().chars().collect();
            let at = at.index(chars.len());
            prop_assume!(chars[at] != to);
            chars[at] = to;
            let changed: String = chars.into_iter().collect();
            prop_assert_eq!(parse(&changed, Environment::Production), None);
        }

        #[test]
        fn any_piece_that_is_missing_or_added_is_noticed(at in any::<prop::sample::Index>(), more in "\\PC{1,3}") {
            let (_, key) = generate(Environment::Development, None).expect("generated");
            let key = key.expose_secret();
            let at = at.index(key.len());
            prop_assert_eq!(parse(&key[..at], Environment::Development), None);
            prop_assert_eq!(parse(&key[at + 1..], Environment::Development), None);
            let (before, after) = key.split_at(at);
            for longer in [format!("{before}{more}{after}"), format!("{key}{more}")] {
                prop_assert_eq!(parse(&longer, Environment::Development), None);
            }
        }

        #[test]
        fn what_looks_like_a_key_is_one_only_with_its_checksum(text in "hb_(dev|stg|live)_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}") {
            prop_assert!(matches_pattern(&text) && looks_like(&text));
            let good = checksum(&text[..text.len() - CHECKSUM]) == text.as_bytes()[text.len() - CHECKSUM..];
            let found = ENVIRONMENTS.iter().any(|environment| parse(&text, *environment).is_some());
            prop_assert_eq!(found, good);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,90}", near in "hb_(dev|stg|live|é)?_?\\PC{0,80}") {
            for environment in ENVIRONMENTS {
                prop_assert_eq!(parse(&text, environment), None);
                prop_assert_eq!(parse(&near, environment), None);
            }
        }
    }
}
