//! Credentials of AWS that the leak firewall knows.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, Result, SharedCredentialsProvider, future};
use halfbyte_core::fingerprint::{Fingerprint, register};

/// Where credentials come from, and the fingerprints of those that came last. What the SDK finds has nothing to fall back on.
pub(super) struct Known {
    provider: SharedCredentialsProvider,
    /// They are replaced some minutes before they expire, so those before are good for a while.
    last: Mutex<[Vec<Fingerprint>; 2]>,
}

impl Known {
    pub(super) fn by(provider: SharedCredentialsProvider) -> Self {
        Self { provider, last: Mutex::default() }
    }

    /// Credentials that are there already.
    pub(super) fn here(credentials: Credentials) -> Self {
        let fingerprints = fingerprints(&credentials);
        let provider = SharedCredentialsProvider::new(credentials);
        Self { provider, last: Mutex::new([fingerprints, Vec::new()]) }
    }

    fn learn(&self, credentials: &Credentials) {
        let news = fingerprints(credentials);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let [now, before] = &mut *last;
        *before = std::mem::replace(now, news);
    }
}

/// Of what is secret in them: the access key's id is not.
fn fingerprints(credentials: &Credentials) -> Vec<Fingerprint> {
    let secrets = [Some(credentials.secret_access_key()), credentials.session_token()];
    secrets.into_iter().flatten().map(|secret| register(secret.as_bytes())).collect()
}

impl ProvideCredentials for Known {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let provided: Result = self.provider.provide_credentials().await;
            provided.inspect(|credentials| self.learn(credentials))
        })
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Known").field(&self.provider).finish()
    }
}

#[cfg(test)]
mod tests {
    use halfbyte_core::fingerprint::{REDACTED, REMEMBERED, mask};

    use super::*;

    /// Other ones with each question.
    #[derive(Debug, Default)]
    struct Rotating(Mutex<u32>);

    impl ProvideCredentials for Rotating {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let mut number = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *number += 1;
            let (key, token) = (format!("secret-access-key-{number}"), format!("session-token-{number}"));
            future::ProvideCredentials::ready(Ok(Credentials::new("AKIDKNOWN1", key, Some(token), None, "test")))
        }
    }

    #[tokio::test]
    async fn the_last_two_are_known_and_none_is_shown() {
        let known = Known::by(SharedCredentialsProvider::new(Rotating::default()));
        for _ in 0..3 {
            known.provide_credentials().await.expect("provided");
        }
        // So that those that are gone are not remembered.
        for n in 0..=REMEMBERED {
            drop(register(format!("one of many other keys: {n}").as_bytes()));
        }
        for (text, is_known) in [
            ("secret-access-key-3", true),
            ("session-token-3", true),
            ("secret-access-key-2", true),
            ("session-token-2", true),
            ("session-token-1", false),
            ("AKIDKNOWN1", false),
        ] {
            assert_eq!(mask(text) == REDACTED, is_known, "{text}");
        }
        assert!(!format!("{known:?}").contains("session-token"), "{known:?}");
    }

    #[test]
    fn what_is_there_is_known_before_anybody_asks() {
        let known = Known::here(Credentials::new("AKIDKNOWN3", "secret-access-key-here", None, None, "test"));
        assert_eq!(mask("secret-access-key-here"), REDACTED);
        assert!(!format!("{known:?}").contains("secret-access-key-here"), "{known:?}");
    }
}
