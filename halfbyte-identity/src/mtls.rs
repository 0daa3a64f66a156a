//! Tokens that are bound to a client's certificate (RFC 8705), where a proxy in front ends the TLS connections and tells
//! which certificate the client has shown (RFC 9440).

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use halfbyte_core::Problem;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use ipnet::{IpNet, Ipv4Net};

/// The header in which the proxy sends the certificate.
pub(crate) const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");

/// The longest header that is looked at, in bytes.
const MAX_HEADER: usize = 16 * 1024;

/// RFC 9651, 4.2.7: padding that is left out or not zero is no fault.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Finds out which certificate a client has shown to a proxy that is trusted.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    trusted: Box<[IpNet]>,
}

impl Certificates {
    /// Believes peers in `trusted` and nobody else.
    pub(crate) fn new(trusted: Vec<IpNet>) -> Self {
        Self { trusted: trusted.into_iter().map(canonical).collect() }
    }

    /// The SHA-256 fingerprint of the client's certificate as DER (`x5t#S256`), as the proxy at `peer` says.
    ///
    /// What anybody but a trusted proxy sends is as if it were not there, and so is what such a proxy sends that is not
    /// one certificate.
    pub(crate) fn thumbprint(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Option<[u8; 32]> {
        // First, as it costs less than to ask who the peer is.
        let mut values = headers.get_all(CLIENT_CERT).iter();
        let value = values.next()?;
        if !peer.is_some_and(|peer| self.trusts(peer.ip())) {
            return None;
        }
        let der = if values.next().is_some() { None } else { certificate(value) };
        if der.is_none() {
            tracing::debug!("a trusted proxy sent a Client-Cert header that is not one certificate");
        }
        digest(&SHA256, &der?).as_ref().try_into().ok()
    }

    /// Checks that the client has shown the certificate whose fingerprint `bound_to` is.
    ///
    /// # Errors
    ///
    /// `invalid-token`: it has shown another one, or none.
    pub(crate) fn check(
        &self,
        bound_to: &[u8; 32],
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<(), Problem> {
        match self.thumbprint(headers, peer) {
            Some(shown) if verify_slices_are_equal(&shown, bound_to).is_ok() => Ok(()),
            _ => {
                Err(Problem::invalid_token("the access token is bound to a client certificate that was not presented"))
            }
        }
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }
}

/// A network of IPv4 addresses written as IPv6 ones is the network of those IPv4 addresses.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4)
}

/// The DER in a byte sequence (RFC 9651, 3.3.5), the only thing that the header may hold.
fn certificate(value: &HeaderValue) -> Option<Vec<u8>> {
    let value = value.as_bytes();
    if value.len() > MAX_HEADER {
        return None;
    }
    let base64 = value.trim_ascii().strip_prefix(b":")?.strip_suffix(b":")?;
    BASE64.decode(base64).ok().filter(|der| is_one_sequence(der))
}

/// Whether it is one SEQUENCE from end to end, its length in the one form that DER allows. What is in it was the proxy's
/// to check.
fn is_one_sequence(der: &[u8]) -> bool {
    let (length, content) = match der {
        [0x30, short @ 0..=0x7f, content @ ..] => (usize::from(*short), content),
        [0x30, 0x81, length @ 0x80..=0xff, content @ ..] => (usize::from(*length), content),
        [0x30, 0x82, high @ 1..=0xff, low, content @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), content),
        _ => return false,
    };
    length > 0 && content.len() == length
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use halfbyte_core::problem::Kind;
    use proptest::prelude::*;

    use super::*;
    use crate::jose::decode;

    /// RFC 8705, appendix A: the certificate and its `x5t#S256`.
    const EXAMPLE: &str = "MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAxODEyMzcwOVoXDTIyMDUwMjEyMzcwOVow\
                           DzENMAsGA1UEAwwEbXRsczBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ\
                           /Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwIDSQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+\
                           hlV/PpQEKTWUVeORWz83AiEA5x2eXZOVbUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=";
    const EXAMPLE_THUMBPRINT: &str = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";
    const PROXY: &str = "10.1.2.3:5000";

    fn example_thumbprint() -> [u8; 32] {
        decode(EXAMPLE_THUMBPRINT).expect("base64url").try_into().expect("32 bytes")
    }

    fn certificates(trusted: &[&str]) -> Certificates {
        Certificates::new(trusted.iter().map(|network| network.parse().expect("a network")).collect())
    }

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (CLIENT_CERT, HeaderValue::from_str(value).expect("a header"))).collect()
    }

    fn peer(address: &str) -> Option<SocketAddr> {
        Some(address.parse().expect("an address"))
    }

    fn shown_by_proxy(value: &str) -> Option<[u8; 32]> {
        certificates(&["10.0.0.0/8"]).thumbprint(&headers(&[value]), peer(PROXY))
    }

    fn sequence(length: &[u8], content: usize) -> String {
        let der = [&[0x30], length, &vec![7; content]].concat();
        format!(":{}:", STANDARD.encode(der))
    }

    #[test]
    fn the_certificate_of_rfc_8705_has_the_fingerprint_that_it_states() {
        assert_eq!(shown_by_proxy(&format!(":{EXAMPLE}:")), Some(example_thumbprint()));
        assert_eq!(shown_by_proxy(&format!("  :{EXAMPLE}: ")), Some(example_thumbprint()));
        assert_eq!(shown_by_proxy(&format!(":{}:", EXAMPLE.trim_end_matches('='))), Some(example_thumbprint()));
    }

    #[test]
    fn a_certificate_that_is_not_sent_by_a_trusted_proxy_is_not_there() {
        let sent = headers(&[&format!(":{EXAMPLE}:")]);
        let table = [
            (&["10.0.0.0/8"][..], Some("11.1.2.3:5000")),
            (&["10.0.0.0/8"], Some("[2001:db8::1]:5000")),
            (&["10.0.0.0/8"], Some("[::ffff:11.1.2.3]:5000")),
            (&["10.0.0.0/8"], Some("[::10.1.2.3]:5000")),
            (&["10.0.0.0/8"], None),
            (&[], Some(PROXY)),
            (&["2001:db8::/32"], Some(PROXY)),
            (&["::/0"], Some(PROXY)),
            (&["0.0.0.0/0"], Some("[2001:db8::1]:5000")),
            (&["::ffff:10.0.0.0/104"], Some("11.1.2.3:5000")),
        ];
        for (trusted, address) in table {
            assert_eq!(
                certificates(trusted).thumbprint(&sent, address.and_then(peer)),
                None,
                "{trusted:?} {address:?}"
            );
        }
    }

    #[test]
    fn a_trusted_proxy_is_known_by_its_address_however_that_is_written() {
        let sent = headers(&[&format!(":{EXAMPLE}:")]);
        for (network, address) in [
            ("10.0.0.0/8", PROXY),
            ("10.1.2.3/32", PROXY),
            ("10.0.0.0/8", "[::ffff:10.1.2.3]:5000"),
            ("::ffff:10.0.0.0/104", PROXY),
            ("::ffff:10.0.0.0/104", "[::ffff:10.1.2.3]:5000"),
            ("2001:db8::/32", "[2001:db8::1]:5000"),
            ("::1/128", "[::1]:5000"),
        ] {
            let shown = certificates(&["192.0.2.0/24", network]).thumbprint(&sent, peer(address));
            assert_eq!(shown, Some(example_thumbprint()), "{network} {address}");
        }
    }

    #[test]
    fn a_header_that_is_not_one_certificate_shows_none() {
        let pem = format!("-----BEGIN CERTIFICATE----- {EXAMPLE} -----END CERTIFICATE-----");
        for bad in [
            "",
            ":",
            "::",
            EXAMPLE,
            &format!(":{EXAMPLE}"),
            &format!("{EXAMPLE}:"),
            &format!("\"{EXAMPLE}\""),
            &format!(":{EXAMPLE}:;a=1"),
            &format!(":{EXAMPLE}:, :{EXAMPLE}:"),
            &format!(":{}:", EXAMPLE.replace('+', "-").replace('/', "_")),
            &format!(":{}:", &EXAMPLE[4..]),
            &format!(":{}:", &EXAMPLE[..EXAMPLE.len() - 4]),
            &format!(":{}AAAA:", STANDARD_NO_PAD.encode(&STANDARD.decode(EXAMPLE).expect("base64")[..264])),
            &pem,
            &format!(":{pem}:"),
        ] {
            assert_eq!(shown_by_proxy(bad), None, "{bad}");
        }
        let trusting = certificates(&["10.0.0.0/8"]);
        let good = format!(":{EXAMPLE}:");
        assert_eq!(trusting.thumbprint(&headers(&[&good, &good]), peer(PROXY)), None);
        assert_eq!(trusting.thumbprint(&HeaderMap::new(), peer(PROXY)), None);
    }

    #[test]
    fn the_length_of_the_certificate_is_exact_and_in_the_one_form_of_der() {
        for (length, content) in
            [(&[0x7f][..], 0x7f), (&[0x81, 0x80], 0x80), (&[0x81, 0xff], 0xff), (&[0x82, 0x01, 0x00], 0x100)]
        {
            assert!(shown_by_proxy(&sequence(length, content)).is_some(), "{length:x?}");
            assert!(shown_by_proxy(&sequence(length, content - 1)).is_none(), "{length:x?}");
            assert!(shown_by_proxy(&sequence(length, content + 1)).is_none(), "{length:x?}");
        }
        for (length, content) in [
            (&[][..], 0),
            (&[0x00], 0),
            (&[0x80], 4),
            (&[0x81], 0),
            (&[0x81, 0x7f], 0x7f),
            (&[0x82, 0x00, 0xff], 0xff),
            (&[0x82, 0x01], 0),
            (&[0x83, 0x00, 0x01, 0x00], 0x100),
        ] {
            assert!(shown_by_proxy(&sequence(length, content)).is_none(), "{length:x?}");
        }
    }

    #[test]
    fn a_certificate_without_end_is_not_read() {
        let fits = sequence(&[0x82, 0x2f, 0x00], 0x2f00);
        assert!(fits.len() <= MAX_HEADER && shown_by_proxy(&fits).is_some());
        let too_long = sequence(&[0x82, 0x30, 0x00], 0x3000);
        assert!(too_long.len() > MAX_HEADER && shown_by_proxy(&too_long).is_none());
    }

    #[test]
    fn a_bound_token_is_good_with_its_certificate_and_with_no_other() {
        let trusting = certificates(&["10.0.0.0/8"]);
        let sent = headers(&[&format!(":{EXAMPLE}:")]);
        assert!(trusting.check(&example_thumbprint(), &sent, peer(PROXY)).is_ok());
        let mut other = example_thumbprint();
        other[31] ^= 1;
        for refused in [
            trusting.check(&other, &sent, peer(PROXY)),
            trusting.check(&example_thumbprint(), &sent, peer("11.1.2.3:5000")),
            trusting.check(&example_thumbprint(), &HeaderMap::new(), peer(PROXY)),
            trusting.check(&example_thumbprint(), &headers(&["::"]), peer(PROXY)),
        ] {
            let problem = refused.expect_err("refused");
            assert_eq!(problem.kind(), Kind::InvalidToken);
            assert_eq!(problem.detail(), "the access token is bound to a client certificate that was not presented");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_header_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                prop_assert_eq!(certificate(&value), None);
            }
            let encoded = HeaderValue::from_str(&format!(":{}:", STANDARD.encode(&bytes))).expect("a header");
            prop_assert_eq!(certificate(&encoded), Some(bytes).filter(|bytes| is_one_sequence(bytes)));
        }
    }
}
