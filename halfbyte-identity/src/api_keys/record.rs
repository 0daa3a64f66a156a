//! One API key as it is kept, what can be done to it, and whether a text is it. No I/O, no clock.

use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::{Principal, PrincipalKind, TenantId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::format::{Digest, Id};
use super::spec::{ApiKey, ApiKeySpec, MAX_OVERLAP, are_names, is_label, is_visible, refused};
use crate::error::Error;

/// Who vouches for the principals of API keys.
pub const ISSUER: &str = "urn:halfbyte:api-keys";

/// How long a key is still listed after its end.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A key as the stores keep it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) tenant: TenantId,
    pub(super) subject: String,
    pub(super) scopes: Vec<String>,
    pub(super) roles: Vec<String>,
    pub(super) label: String,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) revoked_at: Option<Timestamp>,
    pub(super) rotated_at: Option<Timestamp>,
    pub(super) digest: Digest,
    pub(super) previous: Option<Previous>,
}

/// The secret before the last rotation.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Previous {
    pub(super) digest: Digest,
    pub(super) issued_at: Timestamp,
    pub(super) until: Timestamp,
}

impl Stored {
    pub(super) fn new(spec: ApiKeySpec, id: Id, digest: Digest, now: Timestamp) -> Result<Self, Error> {
        spec.validate(now)?;
        Ok(Self {
            tenant: spec.tenant,
            subject: spec.subject.unwrap_or_else(|| format!("key:{}", id.as_str())),
            scopes: spec.scopes,
            roles: spec.roles,
            label: spec.label,
            created_at: in_micros(now),
            expires_at: spec.expires_at.map(in_micros),
            revoked_at: None,
            rotated_at: None,
            digest,
            previous: None,
        })
    }

    /// Makes `digest` the secret; the one before stays good for `overlap`, the one before that ends.
    pub(super) fn rotate(&mut self, digest: Digest, overlap: Duration, now: Timestamp) -> Result<(), Error> {
        if overlap > MAX_OVERLAP {
            return Err(refused("the secret before a rotation stays good for at most 90 days"));
        }
        if self.revoked_at.is_some() {
            return Err(refused("the API key is revoked and stays so; create another"));
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(refused("the API key has expired; create another"));
        }
        let overlap = SignedDuration::try_from(overlap).unwrap_or(SignedDuration::ZERO);
        let until = in_micros(now.checked_add(overlap).unwrap_or(Timestamp::MAX));
        let previous = Previous { digest: self.digest, issued_at: self.rotated_at.unwrap_or(self.created_at), until };
        self.previous = (!overlap.is_zero()).then_some(previous);
        self.digest = digest;
        self.rotated_at = Some(in_micros(now));
        Ok(())
    }

    pub(super) fn revoke(&mut self, now: Timestamp) {
        self.revoked_at.get_or_insert(in_micros(now));
    }

    /// Whether it ended so long ago that it is not kept any more.
    pub(super) fn is_forgotten(&self, now: Timestamp) -> bool {
        let ended = self.revoked_at.into_iter().chain(self.expires_at).min();
        ended.is_some_and(|ended| ended < forgotten_before(now))
    }

    /// What is wrong with a key that was read from a store.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match () {
            () if !is_visible(&self.subject, 255) => Some("the subject of a key"),
            () if !are_names(&self.scopes) => Some("the scopes of a key"),
            () if !are_names(&self.roles) => Some("the roles of a key"),
            () if !is_label(&self.label) => Some("the label of a key"),
            () => None,
        }
    }

    pub(super) fn info(&self, id: Id) -> ApiKey {
        ApiKey {
            id: id.as_str().to_owned(),
            tenant: self.tenant.clone(),
            subject: self.subject.clone(),
            scopes: self.scopes.clone(),
            roles: self.roles.clone(),
            label: self.label.clone(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
            rotated_at: self.rotated_at,
            overlap_ends_at: self.previous.as_ref().map(|previous| previous.until),
        }
    }
}

/// Keys that ended before this are not kept any more.
pub(super) fn forgotten_before(now: Timestamp) -> Timestamp {
    now.checked_sub(KEPT_FOR).unwrap_or(Timestamp::MIN)
}

/// Every store keeps times to the microsecond, so that what is listed is what was answered.
fn in_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// A key as it is asked on every request: the principals are made already.
#[derive(Clone)]
pub(super) struct Record {
    current: Secret,
    previous: Option<Secret>,
    revoked: bool,
    expires_at: Timestamp,
}

#[derive(Clone)]
struct Secret {
    digest: Digest,
    principal: Principal,
}

/// What a text is, as far as a record tells.
pub(super) enum Verdict {
    /// A key that is in force.
    Good(Principal),
    /// A key that has expired, with the right secret.
    Expired,
    /// None: unknown, with a wrong secret, or revoked.
    Wrong,
}

impl Record {
    pub(super) fn new(id: Id, stored: &Stored, issuer: &Arc<str>) -> Self {
        let expires_at = stored.expires_at.unwrap_or(Timestamp::MAX);
        let secret = |digest, issued_at, until| {
            let principal = Principal::builder(stored.subject.as_str(), stored.tenant.clone(), expires_at.min(until))
                .kind(PrincipalKind::Service)
                .scopes(stored.scopes.iter().map(String::as_str))
                .roles(stored.roles.iter().map(String::as_str))
                .issuer(issuer.clone())
                .issued_at(Some(issued_at))
                .credential_id(Some(id.as_str()));
            Secret { digest, principal: principal.build() }
        };
        let issued_at = stored.rotated_at.unwrap_or(stored.created_at);
        Self {
            current: secret(stored.digest, issued_at, Timestamp::MAX),
            previous: stored
                .previous
                .as_ref()
                .map(|previous| secret(previous.digest, previous.issued_at, previous.until)),
            revoked: stored.revoked_at.is_some(),
            expires_at,
        }
    }
}

/// Whether the key that `principal` came with is no longer in force: it is gone or revoked, or has another secret by now.
pub(super) fn has_ended(record: Option<&Record>, principal: &Principal, now: Timestamp) -> bool {
    let Some(record) = record.filter(|record| !record.revoked) else { return true };
    let mut secrets = [Some(&record.current), record.previous.as_ref()].into_iter().flatten();
    !secrets.any(|secret| secret.principal.issued_at() == principal.issued_at() && now < secret.principal.expires_at())
}

/// Whether a key of `digest` is that of `record`. Takes as long whether there is a record and a secret before, or not.
pub(super) fn judge(record: Option<&Record>, digest: &Digest, now: Timestamp) -> Verdict {
    let current = record.map(|record| &record.current);
    let previous = record.and_then(|record| record.previous.as_ref());
    let is = |secret: Option<&Secret>| secret.map_or(&Digest::NOBODY, |secret| &secret.digest).is(digest);
    let (is_current, is_previous) = (is(current), is(previous));
    let secret = match (is_current, is_previous) {
        (true, _) => current,
        (false, true) => previous,
        (false, false) => None,
    };
    match (record, secret) {
        (Some(record), Some(_)) if record.revoked => Verdict::Wrong,
        (Some(record), Some(_)) if record.expires_at <= now => Verdict::Expired,
        // What is left is the end of an overlap: the secret is none any more.
        (Some(_), Some(secret)) if secret.principal.expires_at() <= now => Verdict::Wrong,
        (Some(_), Some(secret)) => Verdict::Good(secret.principal.clone()),
        _ => Verdict::Wrong,
    }
}
