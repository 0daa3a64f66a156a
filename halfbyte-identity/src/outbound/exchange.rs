//! Tokens on behalf of callers (RFC 8693), kept for as long as they are good.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};

use super::grant::Target;
use super::{AccessToken, Error, ErrorKind, Flights, Registration};

/// Bounded in entries. A token is kept until shortly before it expires, and never longer than the one it was exchanged for.
pub(super) struct Exchanges {
    kept: Cache<Key, Kept>,
    flights: Flights<Key, Result<AccessToken, Error>>,
}

/// The caller's token by its hash: fixed in size, and no secret in the cache that is not of use there.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    subject: [u8; 32],
    target: Target,
}

#[derive(Clone)]
struct Kept {
    token: AccessToken,
    since: Timestamp,
    until: Timestamp,
}

const MOST: usize = 10_000;

impl Exchanges {
    pub(super) fn new() -> Self {
        Self { kept: Cache::new(MOST), flights: Flights::new(MOST) }
    }

    pub(super) async fn token(
        &self,
        registration: &Registration,
        subject: &SecretString,
        subject_expires_at: Option<Timestamp>,
        target: Target,
    ) -> Result<AccessToken, Error> {
        let now = registration.now();
        if subject_expires_at.is_some_and(|at| at <= now) {
            return Err(Error::new(ErrorKind::Expired, "the token to be exchanged has expired"));
        }
        let mut key = Key { subject: [0; 32], target };
        key.subject.copy_from_slice(digest(&SHA256, subject.expose_secret().as_bytes()).as_ref());
        if let Some(token) = self.kept(&key, now) {
            return Ok(token);
        }
        let call = async {
            let since = registration.now();
            if let Some(token) = self.kept(&key, since) {
                return Ok(token);
            }
            let granted = registration.exchange(subject, &key.target).await?;
            let lasts = SignedDuration::try_from(granted.lasts).unwrap_or(SignedDuration::MAX);
            let until = since.checked_add(lasts).unwrap_or(Timestamp::MAX);
            let until = subject_expires_at.map_or(until, |at| at.min(until));
            self.kept.insert(key.clone(), Kept { token: granted.token.clone(), since, until });
            Ok(granted.token)
        };
        self.flights.join(&key, call).await
    }

    fn kept(&self, key: &Key, now: Timestamp) -> Option<AccessToken> {
        let kept = self.kept.get(key)?;
        // A clock that was set back does not lengthen its life.
        if kept.since <= now && now < kept.until {
            return Some(kept.token);
        }
        self.kept.remove(key);
        None
    }
}
