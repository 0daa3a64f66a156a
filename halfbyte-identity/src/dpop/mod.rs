//! Proofs that a caller has the key which his access token is bound to (DPoP, RFC 9449): what a resource server checks.
//!
//! Nothing here waits, does I/O or reads a clock, and no proof is accepted twice. What was used is remembered in this
//! process only: several processes that stand behind one address each accept a proof once. A nonce that proofs must hold
//! narrows that to the nonce's own life, and to nothing after a restart where its key is random.

mod fault;
mod nonce;
mod proof;
mod replay;
mod target;
mod thumbprint;

#[cfg(test)]
mod holder;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_nonce;
#[cfg(test)]
mod tests_replay;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use halfbyte_core::Problem;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use self::fault::Fault;
use self::nonce::{Nonces, Step};
use self::proof::Proof;
use self::replay::Replays;
use self::target::Target;
pub(crate) use self::thumbprint::thumbprint;
use crate::jose::decode;

/// The algorithms that a proof may be signed with, as challenges and metadata have them: separated by spaces, and none of
/// them symmetric.
pub(crate) const ALGORITHMS: &str = "ES256 ES384 EdDSA PS256 RS256";

/// The header that holds the proof.
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The header by which an answer hands out a nonce.
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// How old a proof may be, in seconds.
const MOST_AGE: i64 = 60;

/// How far the clock of a client may be ahead, in seconds: what is granted to the clocks of issuers as well.
const LEEWAY: i64 = 30;

/// The longest `jti`, in bytes.
const MAX_ID: usize = 256;

/// Checks proofs, and remembers which were used.
pub(crate) struct Proofs {
    target: Target,
    nonce_required: bool,
    nonces: Nonces,
    replays: Replays,
}

impl Proofs {
    /// Checks proofs for what is served under `public_url`, whatever host a request names.
    ///
    /// Several processes behind one address share `nonce_key`, so that each takes the nonces of the others: at least 32
    /// random bytes. Without it the key is this process's own.
    ///
    /// # Errors
    ///
    /// The operating system has no random bytes.
    pub(crate) fn new(
        public_url: &Url,
        nonce_required: bool,
        nonce_key: Option<&SecretString>,
    ) -> Result<Self, Unspecified> {
        let random = || hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let nonce_key = match nonce_key {
            Some(key) => hmac::Key::new(hmac::HMAC_SHA256, key.expose_secret().as_bytes()),
            None => random()?,
        };
        Ok(Self {
            target: Target::new(public_url),
            nonce_required,
            nonces: Nonces::new(nonce_key),
            replays: Replays::new(random()?, replay::MOST),
        })
    }

    /// Checks (RFC 9449, 4.3) that the caller of `method` and `path` has the key whose thumbprint `bound_to` is, by the
    /// one proof in `headers`. That proof is used up then.
    ///
    /// `path` is the path of the request as it was received, and `access_token` the token as it was sent.
    ///
    /// The nonce that comes back is to be sent along with the answer as [`DPOP_NONCE`]: the one in the proof will soon
    /// be too old (RFC 9449, 8.2).
    ///
    /// # Errors
    ///
    /// `invalid_dpop_proof`, `use_dpop_nonce`, or `unavailable` when more proofs are in use than can be remembered.
    pub(crate) fn check(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        access_token: &str,
        bound_to: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<HeaderValue>, Problem> {
        let step = self
            .prove(method, path, headers, access_token, bound_to, now)
            .map_err(|fault| fault.problem(|| self.nonces.current(now)))?;
        Ok((step == Some(Step::Previous)).then(|| self.nonce(now)))
    }

    /// The nonce that proofs made now should hold: 22 characters of base64url.
    pub(crate) fn nonce(&self, now: Timestamp) -> HeaderValue {
        self.nonces.current(now).header()
    }

    // The cheap checks come first, and the thumbprint before the signature: whoever does not even name the right key makes
    // nobody work. The proof is used up last, so that one which is refused can be sent again with its cause mended.
    fn prove(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        access_token: &str,
        bound_to: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<Step>, Fault> {
        let mut values = headers.get_all(DPOP).iter();
        let value = values.next().ok_or(Fault::Missing)?;
        if values.next().is_some() {
            return Err(Fault::Several);
        }
        let proof = Proof::parse(value.as_bytes())?;
        let thumbprint = thumbprint(proof.key()).ok_or(Fault::Key("no thumbprint can be made of it"))?;
        if verify_slices_are_equal(&thumbprint, bound_to).is_err() {
            return Err(Fault::OtherKey);
        }
        let id = proof.text("jti")?;
        if !(1..=MAX_ID).contains(&id.len()) {
            return Err(Fault::Form("the jti of the DPoP proof is not one of 1 to 256 bytes"));
        }
        if proof.text("htm")? != method.as_str() {
            return Err(Fault::Method);
        }
        if !self.target.is(proof.text("htu")?, path) {
            return Err(Fault::Target);
        }
        let expires = in_time(&proof, now)?;
        let token_hash = decode(proof.text("ath")?).map_err(|_| Fault::Token)?;
        if verify_slices_are_equal(&token_hash, digest(&SHA256, access_token.as_bytes()).as_ref()).is_err() {
            return Err(Fault::Token);
        }
        let step = match proof.optional_text("nonce")? {
            Some(nonce) => Some(self.nonces.step(nonce, now).ok_or(Fault::Nonce)?),
            None if self.nonce_required => return Err(Fault::Nonce),
            None => None,
        };
        proof.verify()?;
        self.replays.use_up(&thumbprint, id, expires, now.as_second())?;
        Ok(step)
    }
}

/// The first second at which the proof is too old, if it is neither that nor from the future.
fn in_time(proof: &Proof<'_>, now: Timestamp) -> Result<i64, Fault> {
    let now = now.as_second();
    let issued_at = proof.seconds("iat")?.ok_or(Fault::Form("the DPoP proof has no iat"))?;
    let expires = issued_at.saturating_add(MOST_AGE + 1);
    let is_ahead = |time: i64| time > now.saturating_add(LEEWAY);
    let is_over = proof.seconds("exp")?.is_some_and(|end| now >= end.saturating_add(LEEWAY));
    if now >= expires || is_ahead(issued_at) || is_over || proof.seconds("nbf")?.is_some_and(is_ahead) {
        return Err(Fault::Time);
    }
    Ok(expires)
}
