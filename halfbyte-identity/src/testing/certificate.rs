//! A self-signed certificate (RFC 5280) in a few lines: enough for a service that believes `x5c`.

use super::signer::Signer;

/// `ecdsa-with-SHA256` (RFC 5758).
const ECDSA_WITH_SHA256: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// `commonName` (RFC 5280, appendix A).
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// The certificate in DER, from 2020 to 2049; `None` of a key that is not on an elliptic curve.
pub(super) fn self_signed(signer: &Signer, name: &str) -> Option<Vec<u8>> {
    let name = [COMMON_NAME.as_slice(), &tlv(UTF8_STRING, name.as_bytes())].concat();
    let name = tlv(SEQUENCE, &tlv(SET, &tlv(SEQUENCE, &name)));
    let validity = [tlv(UTC_TIME, b"200101000000Z"), tlv(UTC_TIME, b"491231235959Z")].concat();
    let signed = [
        tlv(VERSION, &tlv(INTEGER, &[2])),
        tlv(INTEGER, &[1]),
        ECDSA_WITH_SHA256.to_vec(),
        name.clone(),
        tlv(SEQUENCE, &validity),
        name,
        signer.public_der(),
    ];
    let signed = tlv(SEQUENCE, &signed.concat());
    let signature = [&[0], signer.sign_der(&signed)?.as_slice()].concat();
    Some(tlv(SEQUENCE, &[signed, ECDSA_WITH_SHA256.to_vec(), tlv(BIT_STRING, &signature)].concat()))
}

/// One element of DER: what it is, how long it is, and what it holds.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count().min(length.len() - 1)..];
    let mut element = vec![tag];
    if content.len() >= 0x80 {
        element.push(0x80 | u8::try_from(length.len()).unwrap_or(u8::MAX));
    }
    element.extend(length);
    element.extend(content);
    element
}

#[cfg(test)]
mod tests {
    use super::super::signer::Owner;
    use super::*;
    use crate::jose::Algorithm;

    #[test]
    fn lengths_are_written_as_der_has_them() {
        assert_eq!(tlv(4, &[]), [4, 0]);
        assert_eq!(tlv(4, &[7; 0x7f])[..3], [4, 0x7f, 7]);
        assert_eq!(tlv(4, &[7; 0x80])[..4], [4, 0x81, 0x80, 7]);
        assert_eq!(tlv(4, &[7; 0x1_00])[..5], [4, 0x82, 1, 0, 7]);
    }

    #[test]
    fn a_certificate_is_one_element_that_holds_the_public_key() {
        let signer = Signer::generate(Algorithm::Es256, "k", Owner::Stranger);
        let der = self_signed(&signer, "stranger").expect("an elliptic curve");
        assert_eq!(
            usize::from(u16::from_be_bytes([der[2], der[3]])),
            der.len() - 4,
            "one element, of two length bytes"
        );
        assert!(der.windows(signer.public_der().len()).any(|window| window == signer.public_der()));
        assert!(self_signed(&Signer::generate(Algorithm::EdDsa, "k", Owner::Stranger), "x").is_none());
    }
}
