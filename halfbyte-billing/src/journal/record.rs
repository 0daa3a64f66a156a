//! How what a process has answered for is written into a journal, and how a journal is read back after whatever happened
//! to it. Pure: bytes in, records out.
//!
//! A record is `length: u32 LE`, `check: u32 LE`, then `length` bytes of body; `check` is the CRC-32 of length and body. A
//! body is a kind and its content.
//!
//! The check tells records that a crash or a disk has spoilt, not forged ones: whoever can write here can write a check
//! too. Nothing that a client sends looks like the start of a record: every length has a byte 0, and text has none.

use jiff::Timestamp;

use crate::IdempotencyKey;

const USE: u8 = 2;
const EVENT: u8 = 4;
const HEADER: usize = 4 + 4;
/// Kind, key, time in microseconds, units, units held, cell.
const FIXED: usize = 1 + 16 + 8 + 8 + 8 + 8;
/// The longest body: an event with 64 KiB of data, each byte of which may be written as six, and the names of all meters of a
/// catalogue.
const LONGEST: usize = 2 * 1024 * 1024;

/// What is in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A request that was answered well.
    Use(Use<'a>),
    /// An event that was taken in while the store could not be written.
    Event {
        /// The names of the meters that count it, with a space after each: whoever takes it over must know them.
        meters: &'a str,
        /// CloudEvents JSON.
        json: &'a str,
    },
}

/// One use of a metered feature. The names are valid where they are made; a journal only carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) feature: &'a str,
    pub(crate) key: IdempotencyKey,
    /// When the units were reserved: what decides the period that they count in.
    pub(crate) at: Timestamp,
    /// In the meter's smallest unit.
    pub(crate) units: u64,
    /// So many of them were held by `cell` of the process.
    pub(crate) held: u64,
    pub(crate) cell: i64,
    /// What else the event says: a JSON object, or empty.
    pub(crate) data: &'a str,
}

impl<'a> Record<'a> {
    /// Appends the record to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        match self {
            Record::Use(used) => used.encode(out),
            Record::Event { meters, json } => {
                out.push(EVENT);
                out.extend_from_slice(&u32::try_from(meters.len()).unwrap_or(0).to_le_bytes());
                out.extend_from_slice(meters.as_bytes());
                out.extend_from_slice(json.as_bytes());
            }
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
        let body = rest.get(..size).filter(|_| (1..=LONGEST).contains(&size))?;
        if check(length, body) != header[4..] {
            return None;
        }
        let record = match body.split_first()? {
            (&USE, _) => Record::Use(Use::decode(body)?),
            (&EVENT, event) => {
                let (length, texts) = event.split_first_chunk::<4>()?;
                let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                let (meters, json) = std::str::from_utf8(texts).ok()?.split_at_checked(length)?;
                Record::Event { meters, json }
            }
            _ => return None,
        };
        Some((record, HEADER + size))
    }
}

impl<'a> Use<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(USE);
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.at.as_microsecond().to_le_bytes());
        out.extend_from_slice(&self.units.to_le_bytes());
        out.extend_from_slice(&self.held.to_le_bytes());
        out.extend_from_slice(&self.cell.to_le_bytes());
        for name in [self.tenant, self.feature] {
            debug_assert!(name.len() <= 255, "names are bounded where they are made");
            out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(&name.as_bytes()[..name.len().min(255)]);
        }
        out.extend_from_slice(self.data.as_bytes());
    }

    fn decode(body: &'a [u8]) -> Option<Self> {
        let (fixed, mut names) = body.split_first_chunk::<FIXED>()?;
        let mut name = || {
            let (length, rest) = names.split_first()?;
            let (name, rest) = rest.split_at_checked(usize::from(*length))?;
            names = rest;
            std::str::from_utf8(name).ok()
        };
        let (tenant, feature) = (name()?, name()?);
        let number = |at: usize| Some(u64::from_le_bytes(fixed.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            tenant,
            feature,
            key: IdempotencyKey::from_bytes(fixed[1..17].try_into().ok()?),
            at: Timestamp::from_microsecond(number(17)?.cast_signed()).ok()?,
            units: number(25)?,
            held: number(33)?,
            cell: number(41)?.cast_signed(),
            data: std::str::from_utf8(names).ok()?,
        })
    }
}

fn check(length: [u8; 4], body: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(body);
    hasher.finalize().to_le_bytes()
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
            (1..=LONGEST).contains(&size) && tail.len() < HEADER + size
        }
    };
    cut_short || tail.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(tenant: &str, units: u64) -> Record<'_> {
        let key = IdempotencyKey::of(tenant.as_bytes());
        let at = Timestamp::from_millisecond(1_900_000_000_123).expect("in range");
        Record::Use(Use { tenant, feature: "labels", key, at, units, held: 1, cell: 3, data: "{\"carrier\":\"dhl\"}" })
    }

    fn journal(records: &[Record<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        bytes
    }

    #[test]
    fn a_journal_cut_anywhere_gives_back_every_whole_record_and_calls_the_rest_torn() {
        let long = "x".repeat(128);
        let records = [record("acme", 1), record("globex", 7), record(&long, u64::MAX)];
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
            names in prop::array::uniform2("[!-~]{1,128}"), data in ".{0,300}", sent in any::<[u8; 8]>(),
            units in any::<u64>(), held in any::<u64>(), cell in any::<i64>(), microsecond in 0_i64..250_000_000_000_000_000,
        ) {
            let used = Record::Use(Use {
                tenant: &names[0], feature: &names[1], key: IdempotencyKey::of(&sent), units, held, cell, data: &data,
                at: Timestamp::from_microsecond(microsecond).expect("in range"),
            });
            let event = Record::Event { meters: &names[0], json: &data };
            let bytes = journal(&[used, event, used]);
            prop_assert_eq!(Contents::read(&bytes).records, [used, event, used]);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let contents = Contents::read(&bytes);
            prop_assert!(contents.torn + contents.damaged <= bytes.len());
        }
    }
}
