use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use jiff::Timestamp;

/// Nonces that nobody has to store (RFC 9449, 8): the MAC of the time, which only we can make and anybody can have.
pub(super) struct Nonces(hmac::Key);

/// 128 bits in base64url, all of which RFC 9449 allows in a nonce.
pub(super) struct Nonce([u8; 22]);

/// When a nonce that is still good was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Current,
    Previous,
}

/// How long one nonce is handed out, in seconds; it is good for as long again.
pub(super) const STEP: i64 = 120;

/// Keeps these MACs apart from all others that may be made with the same key.
const LABEL: &[u8] = b"halfbyte DPoP nonce\0";

impl Nonces {
    pub(super) fn new(key: hmac::Key) -> Self {
        Self(key)
    }

    /// The nonce to hand out now.
    pub(super) fn current(&self, now: Timestamp) -> Nonce {
        self.of(now.as_second().div_euclid(STEP))
    }

    /// Which of the two good ones `nonce` is.
    pub(super) fn step(&self, nonce: &str, now: Timestamp) -> Option<Step> {
        let step = now.as_second().div_euclid(STEP);
        let is = |step| verify_slices_are_equal(nonce.as_bytes(), &self.of(step).0).is_ok();
        if is(step) {
            return Some(Step::Current);
        }
        is(step - 1).then_some(Step::Previous)
    }

    fn of(&self, step: i64) -> Nonce {
        let mut mac = hmac::Context::with_key(&self.0);
        mac.update(LABEL);
        mac.update(&step.to_be_bytes());
        let mut text = [0; 22];
        let written = URL_SAFE_NO_PAD.encode_slice(&mac.sign().as_ref()[..16], &mut text);
        debug_assert_eq!(written, Ok(text.len()));
        Nonce(text)
    }
}

impl Nonce {
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64url is ASCII")
    }

    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).expect("base64url fits into a header")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("in range")
    }

    fn nonces(key: &[u8]) -> Nonces {
        Nonces::new(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    #[test]
    fn a_nonce_is_good_in_its_own_step_and_in_the_next_and_never_before_or_after() {
        let nonces = nonces(&[7; 32]);
        for start in [0, -5 * STEP, 15_000_000 * STEP] {
            let nonce = nonces.current(at(start));
            let step = |seconds| nonces.step(nonce.as_str(), at(start + seconds));
            assert_eq!(step(-1), None);
            assert_eq!(step(0), Some(Step::Current));
            assert_eq!(step(STEP - 1), Some(Step::Current));
            assert_eq!(step(STEP), Some(Step::Previous));
            assert_eq!(step(2 * STEP - 1), Some(Step::Previous));
            assert_eq!(step(2 * STEP), None);
        }
    }

    #[test]
    fn a_nonce_is_of_the_characters_that_a_nonce_may_have() {
        let nonce = nonces(&[7; 32]).current(at(0));
        let is_nqchar = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        assert_eq!(nonce.as_str().len(), 22);
        assert!(nonce.as_str().bytes().all(is_nqchar));
        assert_eq!(nonce.header(), nonce.as_str());
    }

    #[test]
    fn processes_that_share_the_key_take_each_others_nonces_and_others_do_not() {
        let nonce = nonces(&[7; 32]).current(at(0));
        assert_eq!(nonces(&[7; 32]).step(nonce.as_str(), at(1)), Some(Step::Current));
        assert_eq!(nonces(&[8; 32]).step(nonce.as_str(), at(1)), None);
    }

    #[test]
    fn what_is_only_the_beginning_of_a_nonce_or_more_than_one_is_none() {
        let nonces = nonces(&[7; 32]);
        let nonce = nonces.current(at(0));
        for bad in ["", &nonce.as_str()[..21], &format!("{}A", nonce.as_str()), "AAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(nonces.step(bad, at(0)), None, "{bad}");
        }
    }
}
