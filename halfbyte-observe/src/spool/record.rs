//! How a batch stands in a file: a header that checks itself, and the payload.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crc32fast::Hasher;

/// Every header starts with it: this format, version 1.
const MAGIC: [u8; 4] = *b"HbS1";
/// So much is read at a time where the next header has to be searched for.
const STRIDE: usize = 64 * 1024;

/// What stands before a payload. Its checksum is salted with the file that it is in, so that what a client sends, though
/// it looks like a header, is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) items: u64,
    /// How many items its writer had written before: where a header is damaged, the next one tells what is lost.
    pub(super) before: u64,
    len: u32,
    checksum: u32,
}

/// What [`find`] meets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Record {
        at: u64,
        header: Header,
    },
    /// No whole record any more. Of a last one that was cut short the header may still be there.
    End {
        torn: Option<Header>,
    },
}

impl Header {
    pub(super) const LEN: u64 = 32;
    const BYTES: usize = Self::LEN as usize;

    /// `None` when the payload is too long for a record.
    pub(super) fn of(items: u64, before: u64, payload: &[u8]) -> Option<Self> {
        let len = u32::try_from(payload.len()).ok()?;
        Some(Self { items, before, len, checksum: crc32fast::hash(payload) })
    }

    pub(super) fn encode(&self, salt: u32) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..12].copy_from_slice(&self.items.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.before.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.len.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.checksum.to_le_bytes());
        let own = checksum(salt, &bytes[..28]);
        bytes[28..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; Self::BYTES], salt: u32) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk()?;
        let (items, rest) = rest.split_first_chunk()?;
        let (before, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (payload, own) = rest.split_first_chunk()?;
        let whole = *magic == MAGIC && checksum(salt, &bytes[..28]).to_le_bytes() == own;
        whole.then(|| Self {
            items: u64::from_le_bytes(*items),
            before: u64::from_le_bytes(*before),
            len: u32::from_le_bytes(*len),
            checksum: u32::from_le_bytes(*payload),
        })
    }

    /// How many bytes header and payload take.
    pub(super) fn extent(&self) -> u64 {
        Self::LEN + u64::from(self.len)
    }

    /// How many items its writer had written with it.
    pub(super) fn after(&self) -> u64 {
        self.before.saturating_add(self.items)
    }

    /// The payload of the record at `at`; `None` when it is not what was written.
    pub(super) fn payload(&self, file: &File, at: u64) -> io::Result<Option<Vec<u8>>> {
        let mut payload = vec![0; self.len as usize];
        match file.read_exact_at(&mut payload, at + Self::LEN) {
            Ok(()) => Ok((crc32fast::hash(&payload) == self.checksum).then_some(payload)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The first whole record at `from` or behind it, in a file of `len` bytes, that goes on from `before` items.
pub(super) fn find(file: &File, from: u64, len: u64, before: u64, salt: u32) -> io::Result<Found> {
    let mut at = from;
    let mut torn = None;
    let mut window = Vec::new();
    // Almost always there is one right here, and a search is not needed.
    let mut size = Header::BYTES;
    while at.saturating_add(Header::LEN) <= len {
        window.resize(size.min(usize::try_from(len - at).unwrap_or(size)), 0);
        match file.read_exact_at(&mut window, at) {
            Ok(()) => {}
            // It has become shorter than it was.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Found::End { torn }),
            Err(error) => return Err(error),
        }
        for (offset, bytes) in (0..).zip(window.array_windows::<{ Header::BYTES }>()) {
            let Some(header) = Header::decode(bytes, salt).filter(|header| header.before >= before) else { continue };
            let at = at + offset;
            if at.saturating_add(header.extent()) <= len {
                return Ok(Found::Record { at, header });
            }
            torn = torn.or(Some(header));
        }
        at += window.len() as u64 - Header::LEN + 1;
        size = STRIDE;
    }
    Ok(Found::End { torn })
}

pub(super) fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const SALT: u32 = 7;

    fn file(bytes: &[u8]) -> (File, u64) {
        let mut file = tempfile::tempfile().expect("made");
        file.write_all(bytes).expect("written");
        (file, bytes.len() as u64)
    }

    fn record(items: u64, before: u64, payload: &[u8]) -> Vec<u8> {
        let header = Header::of(items, before, payload).expect("short");
        [&header.encode(SALT)[..], payload].concat()
    }

    #[test]
    fn a_header_with_any_bit_flipped_is_none() {
        let bytes = Header::of(3, 9, b"payload").expect("short").encode(SALT);
        assert_eq!(Header::decode(&bytes, SALT), Header::of(3, 9, b"payload"));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped, SALT), None, "bit {bit}");
        }
    }

    #[test]
    fn a_record_is_found_behind_garbage_of_any_length_around_the_stride() {
        for garbage in [0, 1, 31, 32, 33, STRIDE - 33, STRIDE - 1, STRIDE, STRIDE + 1, 3 * STRIDE] {
            // Full of what looks like the start of a header.
            let mut bytes: Vec<u8> = MAGIC.iter().copied().cycle().take(garbage).collect();
            bytes.extend(record(1, 5, b"payload"));
            let (file, len) = file(&bytes);
            let header = Header::of(1, 5, b"payload").expect("short");
            let found = find(&file, 0, len, 5, SALT).expect("read");
            assert_eq!(found, Found::Record { at: garbage as u64, header });
        }
    }

    #[test]
    fn a_header_of_another_file_or_of_what_was_before_is_not_taken_for_one() {
        let (file, len) = file(&record(1, 5, b"payload"));
        assert_eq!(find(&file, 0, len, 5, SALT + 1).expect("read"), Found::End { torn: None });
        assert_eq!(find(&file, 0, len, 6, SALT).expect("read"), Found::End { torn: None });
    }

    #[test]
    fn a_record_that_is_cut_short_still_says_how_many_items_it_had() {
        let bytes = record(4, 0, b"payload");
        for cut in 32..bytes.len() {
            let (file, len) = file(&bytes[..cut]);
            let torn = Header::of(4, 0, b"payload");
            assert_eq!(find(&file, 0, len, 0, SALT).expect("read"), Found::End { torn });
        }
    }
}
