//! How one use of a meter is written into a journal, and how a journal is read back after whatever happened to it.
//! Pure: bytes in, records out.
//!
//! A record is `length: u32 LE`, `check: 8 bytes`, then `length` bytes of body; `check` is the start of the SHA-256 of
//! length and body. A body is a version, the key, the time in milliseconds, the units, and four names.

use aws_lc_rs::digest;
use jiff::Timestamp;

use crate::IdempotencyKey;
use crate::period::day_of;

const VERSION: u8 = 1;
const HEADER: usize = 4 + 8;
const FIXED: usize = 1 + 16 + 8 + 4;
/// Four names of at most 255 bytes with a byte of length each.
const LONGEST: usize = FIXED + 4 * 256;

/// One use of a meter. The names are valid where they are made; a journal only carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) product: &'a str,
    pub(crate) meter: &'a str,
    pub(crate) feature: &'a str,
    pub(crate) key: IdempotencyKey,
    /// When the units were reserved: what decides the period that they count in.
    pub(crate) at: Timestamp,
    pub(crate) units: u32,
}

impl<'a> Record<'a> {
    /// The UTC day that the use counts in.
    pub(crate) fn day(&self) -> i32 {
        day_of(self.at)
    }

    /// Appends the record to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        out.push(VERSION);
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.at.as_millisecond().to_le_bytes());
        out.extend_from_slice(&self.units.to_le_bytes());
        for name in [self.tenant, self.product, self.meter, self.feature] {
            debug_assert!(name.len() <= 255, "names are bounded where they are made");
            out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(&name.as_bytes()[..name.len().min(255)]);
        }
        let length = u32::try_from(out.len() - start - HEADER).unwrap_or(0).to_le_bytes();
        let check = check(length, &out[start + HEADER..]);
        out[start..start + 4].copy_from_slice(&length);
        out[start + 4..start + HEADER].copy_from_slice(&check);
    }

    /// The record at the start of `bytes` and its size, or `None` if there is no whole and undamaged one.
    fn decode(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let length = [header[0], header[1], header[2], header[3]];
        let size = usize::try_from(u32::from_le_bytes(length)).ok()?;
        let body = rest.get(..size).filter(|_| (FIXED + 4..=LONGEST).contains(&size))?;
        if check(length, body) != header[4..] {
            return None;
        }
        let (fixed, mut names) = body.split_first_chunk::<FIXED>()?;
        if fixed[0] != VERSION {
            return None;
        }
        let mut name = || {
            let (length, rest) = names.split_first()?;
            let (name, rest) = rest.split_at_checked(usize::from(*length))?;
            names = rest;
            std::str::from_utf8(name).ok()
        };
        let (tenant, product, meter, feature) = (name()?, name()?, name()?, name()?);
        let record = Self {
            tenant,
            product,
            meter,
            feature,
            key: IdempotencyKey::from_bytes(fixed[1..17].try_into().ok()?),
            at: Timestamp::from_millisecond(i64::from_le_bytes(fixed[17..25].try_into().ok()?)).ok()?,
            units: u32::from_le_bytes(fixed[25..29].try_into().ok()?),
        };
        Some((record, HEADER + size))
    }
}

fn check(length: [u8; 4], body: &[u8]) -> [u8; 8] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&length);
    context.update(body);
    let mut check = [0; 8];
    check.copy_from_slice(&context.finish().as_ref()[..8]);
    check
}

/// What a journal held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents<'a> {
    /// Every whole and undamaged record, those after a damaged place included.
    pub(crate) records: Vec<Record<'a>>,
    /// The bytes of a last record whose write the end of the process cut short: nobody was answered for it.
    pub(crate) torn: usize,
    /// The bytes that are neither: something else wrote here, or the disk lost them.
    pub(crate) damaged: usize,
}

impl<'a> Contents<'a> {
    /// Reads a whole journal.
    pub(crate) fn read(bytes: &'a [u8]) -> Self {
        let mut contents = Self { records: Vec::new(), torn: 0, damaged: 0 };
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            if let Some((record, size)) = Record::decode(rest) {
                contents.records.push(record);
                at += size;
                continue;
            }
            match (1..rest.len()).find(|skip| Record::decode(&rest[*skip..]).is_some()) {
                Some(skip) => {
                    contents.damaged += skip;
                    at += skip;
                }
                None if is_torn(rest) => {
                    contents.torn = rest.len();
                    break;
                }
                None => {
                    contents.damaged += rest.len();
                    break;
                }
            }
        }
        contents
    }
}

/// Whether `tail` is the beginning of a record, or room that was never written (zeros, after a loss of power).
fn is_torn(tail: &[u8]) -> bool {
    let cut_short = match tail.first_chunk::<4>() {
        None => true,
        Some(length) => {
            let size = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
            (FIXED + 4..=LONGEST).contains(&size) && tail.len() < HEADER + size
        }
    };
    cut_short || tail.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(tenant: &str, units: u32) -> Record<'_> {
        let key = IdempotencyKey::of(tenant.as_bytes());
        let at = Timestamp::from_millisecond(1_900_000_000_123).expect("in range");
        Record { tenant, product: "parcel", meter: "labels", feature: "labels", key, at, units }
    }

    fn journal(records: &[Record<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        bytes
    }

    #[test]
    fn a_journal_cut_anywhere_gives_back_every_whole_record_and_calls_the_rest_torn() {
        let long = "x".repeat(128);
        let records = [record("acme", 1), record("globex", 7), record(&long, u32::MAX)];
        let bytes = journal(&records);
        let ends = [0, journal(&records[..1]).len(), journal(&records[..2]).len(), bytes.len()];
        for cut in 0..=bytes.len() {
            let contents = Contents::read(&bytes[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!(contents.records, records[..whole], "cut at {cut}");
            assert_eq!((contents.torn, contents.damaged), (cut - ends[whole], 0), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen_and_costs_one_record_only() {
        let records = [record("acme", 1), record("globex", 7), record("initech", 3)];
        let (good, first) = (journal(&records), journal(&records[..1]).len());
        let second = journal(&records[..2]).len();
        for position in first..second {
            let mut bytes = good.clone();
            bytes[position] ^= 0x10;
            let contents = Contents::read(&bytes);
            assert_eq!(contents.records, [records[0], records[2]], "flipped at {position}");
            assert_eq!((contents.torn, contents.damaged), (0, second - first), "flipped at {position}");
        }
    }

    #[test]
    fn a_damaged_last_record_is_not_taken_for_a_torn_one() {
        let mut bytes = journal(&[record("acme", 1), record("globex", 7)]);
        *bytes.last_mut().expect("not empty") ^= 1;
        let contents = Contents::read(&bytes);
        assert_eq!((contents.records.len(), contents.torn), (1, 0));
        assert!(contents.damaged > 0);
    }

    #[test]
    fn zeros_after_the_last_record_are_room_that_was_never_written() {
        let mut bytes = journal(&[record("acme", 1)]);
        bytes.extend_from_slice(&[0; 4096]);
        let contents = Contents::read(&bytes);
        assert_eq!((contents.records.len(), contents.torn, contents.damaged), (1, 4096, 0));
    }

    proptest! {
        #[test]
        fn any_record_survives_the_journal(
            names in prop::array::uniform4("[!-~]{1,128}"), sent in any::<[u8; 8]>(), units in any::<u32>(),
            millisecond in 0_i64..250_000_000_000_000,
        ) {
            let record = Record {
                tenant: &names[0], product: &names[1], meter: &names[2], feature: &names[3],
                key: IdempotencyKey::of(&sent), units,
                at: Timestamp::from_millisecond(millisecond).expect("in range"),
            };
            let bytes = journal(&[record, record]);
            prop_assert_eq!(Contents::read(&bytes).records, [record, record]);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let contents = Contents::read(&bytes);
            prop_assert!(contents.torn + contents.damaged <= bytes.len());
        }
    }
}
