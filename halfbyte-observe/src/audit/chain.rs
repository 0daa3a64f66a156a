//! What links one line to the one before, so that neither can be changed alone.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{digest, hmac};

/// Ends every line; what stands before it is what is hashed.
const BEFORE_HASH: &str = r#","hash":""#;
const AFTER_HASH: &[u8] = b"\"}";

/// The hash of a line, which covers that of the line before, and so all before it.
///
/// Shown, and parsed, as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// What stands before the first line of a log.
    pub const START: Self = Self([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a [`struct@Hash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHash;

impl fmt::Display for InvalidHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a hash is 64 lower-case hexadecimal digits")
    }
}

impl std::error::Error for InvalidHash {}

impl FromStr for Hash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(InvalidHash),
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(InvalidHash) };
        let pairs: &[[u8; 2]; 32] = pairs.try_into().map_err(|_| InvalidHash)?;
        let mut hash = [0; 32];
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(hash))
    }
}

impl serde::Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A place in a log: what [`verify_to`](super::verify_to) needs to tell that nothing up to there is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The number of the line in the whole log, from 1.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Link {
    /// Before the first line.
    pub(super) const START: Self = Self { sequence: 0, hash: Hash::START };
}

/// A secret with which the lines are hashed, so that who can write the files cannot make the chain anew.
///
/// Keep it where who may write the files cannot read it; who has it can do both.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl Key {
    /// A key from at least 32 random bytes; `None` from fewer.
    pub fn new(secret: &[u8]) -> Option<Self> {
        (secret.len() >= 32).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// HMAC-SHA-256 of `parts`, none of which can be taken for a piece of another.
    pub(super) fn hash(&self, parts: &[&str]) -> Hash {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        Hash(to_array(context.sign().as_ref()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// How the lines of a log are hashed.
#[derive(Clone, Debug)]
pub(super) struct Sealer(Option<hmac::Key>);

impl Sealer {
    pub(super) fn new(key: Option<&Key>) -> Self {
        Self(key.map(|key| key.0.clone()))
    }

    /// As the first line of each file says it.
    pub(super) fn algorithm(&self) -> &'static str {
        if self.0.is_some() { "hmac-sha256" } else { "sha256" }
    }

    /// Completes a line, which is a JSON object that ends in its `prev`.
    pub(super) fn seal(&self, line: &mut Vec<u8>) -> Hash {
        // The brace.
        line.pop();
        let hash = self.hash(line);
        line.extend_from_slice(BEFORE_HASH.as_bytes());
        line.extend_from_slice(hash.to_string().as_bytes());
        line.extend_from_slice(AFTER_HASH);
        line.push(b'\n');
        hash
    }

    /// The hash of a line (without its end), if it is that of what stands before it.
    pub(super) fn check(&self, line: &[u8]) -> Option<Hash> {
        let line = line.strip_suffix(AFTER_HASH)?;
        let (line, hash) = line.split_last_chunk::<64>()?;
        let line = line.strip_suffix(BEFORE_HASH.as_bytes())?;
        let hash = std::str::from_utf8(hash).ok()?.parse().ok()?;
        (self.hash(line) == hash).then_some(hash)
    }

    fn hash(&self, line: &[u8]) -> Hash {
        Hash(match &self.0 {
            Some(key) => to_array(hmac::sign(key, line).as_ref()),
            None => to_array(digest::digest(&digest::SHA256, line).as_ref()),
        })
    }
}

/// SHA-256, of what is no line.
pub(super) fn sha256(bytes: &[u8]) -> Hash {
    Sealer(None).hash(bytes)
}

fn to_array(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().expect("both algorithms answer 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_shown_and_in_no_other_way() {
        // FIPS 180-4: of "abc".
        let shown = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc").to_string(), shown);
        assert_eq!(shown.parse(), Ok(sha256(b"abc")));
        for wrong in ["", &shown[1..], &shown.to_uppercase(), &format!("{shown}00"), &shown.replace('b', "g")] {
            assert_eq!(wrong.parse::<Hash>(), Err(InvalidHash), "{wrong}");
        }
    }

    #[test]
    fn a_line_is_sealed_with_the_key_and_only_checks_with_it() {
        let [plain, keyed, other] = [None, Some(1), Some(2)].map(|byte| {
            let key = byte.map(|byte| Key::new(&[byte; 32]).expect("long enough"));
            Sealer::new(key.as_ref())
        });
        let mut line = br#"{"seq":1}"#.to_vec();
        let hash = keyed.seal(&mut line);
        let line = line.strip_suffix(b"\n").expect("a line");
        assert_eq!((plain.check(line), keyed.check(line), other.check(line)), (None, Some(hash), None));
    }

    #[test]
    fn a_short_key_is_none_and_a_key_is_not_shown() {
        assert!(Key::new(&[7; 31]).is_none());
        assert_eq!(format!("{:?}", Key::new(&[7; 32])), "Some(Key(..))");
    }

    #[test]
    fn parts_of_a_keyed_hash_do_not_run_together() {
        let key = Key::new(&[7; 32]).expect("long enough");
        assert_ne!(key.hash(&["ab", "c"]), key.hash(&["a", "bc"]));
    }
}
