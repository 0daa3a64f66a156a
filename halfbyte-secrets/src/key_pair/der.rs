//! The frame of a private key in DER, which aws-lc does not look at: it leaves alone what is behind a key.

use super::Encoding;

const SEQUENCE: u8 = 0x30;

/// Version 1, as an INTEGER, and the tag of the OCTET STRING behind it (RFC 5915, 3). In PKCS #8 a SEQUENCE follows.
const SEC1: [u8; 4] = [0x02, 0x01, 0x01, 0x04];

/// Whether `der` is one SEQUENCE and nothing else, and not one of another encoding that is taken for this one.
pub(super) fn is_framed(encoding: Encoding, der: &[u8]) -> bool {
    let Some(content) = content(der) else { return false };
    encoding != Encoding::Sec1 || content.starts_with(&SEC1)
}

/// Of a SEQUENCE that ends where `der` ends.
fn content(der: &[u8]) -> Option<&[u8]> {
    let (&[tag, length], rest) = der.split_first_chunk()?;
    let (length, content) = match length {
        0..=0x7f => (usize::from(length), rest),
        // In that many bytes, of which no key needs more than two; and none is in a length without an end.
        0x81..=0x82 => {
            let (length, content) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (length.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)), content)
        }
        _ => return None,
    };
    (tag == SEQUENCE && length == content.len()).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_sequence_that_ends_where_it_does() {
        let of = |head: &[u8], length| [head, &vec![7; length]].concat();
        for (der, is_framed) in [
            (of(&[0x30, 0], 0), true),
            (of(&[0x30, 0x7f], 127), true),
            (of(&[0x30, 0x81, 0xff], 255), true),
            (of(&[0x30, 0x82, 1, 2], 258), true),
            (of(&[0x30, 0x7f], 126), false),
            (of(&[0x30, 0x7f], 128), false),
            (of(&[0x30, 0x82, 1, 2], 257), false),
            (of(&[0x30, 0x82, 1, 2], 259), false),
            (of(&[0x31, 0x7f], 127), false),
            (of(&[0x30, 0x80], 0), false),
            (of(&[0x30, 0x83, 0, 1, 2], 258), false),
            (of(&[0x30, 0x82, 1], 0), false),
            (of(&[0x30], 0), false),
            (Vec::new(), false),
        ] {
            assert_eq!(super::is_framed(Encoding::Pkcs8, &der), is_framed, "{:?}", der.get(..der.len().min(4)));
        }
    }

    #[test]
    fn a_key_of_sec_1_has_its_version_and_then_its_octets() {
        for (content, is_sec1) in [
            (&[2, 1, 1, 4, 0][..], true),
            (&[2, 1, 0, 4, 0], false),
            (&[2, 1, 1, 0x30, 0], false),
            (&[2, 1, 0, 0x30, 0], false),
            (&[2, 1, 1], false),
        ] {
            let der = [&[SEQUENCE, content.len() as u8], content].concat();
            assert_eq!(is_framed(Encoding::Sec1, &der), is_sec1, "{content:?}");
            assert!(is_framed(Encoding::Pkcs8, &der), "it is not looked at in others");
        }
    }
}
