//! Base64url as RFC 7515 has it: no padding, no white space, and no second spelling of the same bytes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Error, ErrorKind};

const NOT_CANONICAL: Error = ErrorKind::Malformed.because("not canonical base64url");

pub(crate) fn decode(text: &str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| NOT_CANONICAL)
}

/// Room for `N` bytes on the stack, so that what is short is decoded without an allocation.
pub(super) struct Buffer<const N: usize> {
    few: [u8; N],
    many: Vec<u8>,
}

impl<const N: usize> Buffer<N> {
    pub(super) fn new() -> Self {
        Self { few: [0; N], many: Vec::new() }
    }

    pub(super) fn decode(&mut self, text: &str) -> Result<&[u8], Error> {
        if text.len() / 4 * 3 + 3 > N {
            self.many = decode(text)?;
            return Ok(&self.many);
        }
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut self.few).map_err(|_| NOT_CANONICAL)?;
        Ok(&self.few[..length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_decodes_what_fits_and_what_does_not_as_the_plain_function_does() {
        for length in 0..100 {
            let bytes: Vec<u8> = (0..length).collect();
            let text = URL_SAFE_NO_PAD.encode(&bytes);
            assert_eq!(Buffer::<40>::new().decode(&text), Ok(&bytes[..]), "{length}");
            for bad in [format!("{text}="), format!("{text} "), format!("{text}+"), format!("{text}é")] {
                assert_eq!(Buffer::<40>::new().decode(&bad), Err(NOT_CANONICAL), "{bad}");
                assert_eq!(decode(&bad), Err(NOT_CANONICAL), "{bad}");
            }
        }
    }

    #[test]
    fn of_the_spellings_of_one_byte_only_the_canonical_one_is_read() {
        let read: Vec<char> =
            ('A'..='Z').filter(|last| Buffer::<40>::new().decode(&format!("A{last}")).is_ok()).collect();
        assert_eq!(read, ['A', 'Q']);
    }
}
