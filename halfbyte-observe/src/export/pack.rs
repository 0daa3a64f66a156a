//! From records to encoded requests that no collector finds too large.

use bytes::Bytes;
use opentelemetry_proto::tonic::resource::v1::Resource as ResourceMessage;
use opentelemetry_sdk::Resource;
use prost::Message;

use super::queue::BATCH_BYTES;
use crate::spool::Batch;

/// Records that come one after the other, grouped by their scope, in requests of at most about [`BATCH_BYTES`]. A record
/// that is larger has a request of its own.
pub(super) struct Packer<S, R, F> {
    build: F,
    groups: Vec<(S, Vec<R>)>,
    items: u64,
    bytes: usize,
    batches: Vec<Batch>,
}

impl<S: PartialEq, R: Message, F: FnMut(Vec<(S, Vec<R>)>) -> Vec<u8>> Packer<S, R, F> {
    /// `build` makes a request.
    pub(super) fn new(build: F) -> Self {
        Self { build, groups: Vec::new(), items: 0, bytes: 0, batches: Vec::new() }
    }

    /// Adds a record that is so many items of its signal.
    pub(super) fn push(&mut self, scope: S, record: R, items: u64) {
        let bytes = record.encoded_len() + 8;
        if self.items > 0 && self.bytes + bytes > BATCH_BYTES {
            self.cut();
        }
        self.bytes += bytes;
        self.items += items;
        match self.groups.iter_mut().rev().find(|(known, _)| *known == scope) {
            Some((_, records)) => records.push(record),
            None => self.groups.push((scope, vec![record])),
        }
    }

    pub(super) fn finish(mut self) -> Vec<Batch> {
        self.cut();
        self.batches
    }

    fn cut(&mut self) {
        let (groups, items) = (std::mem::take(&mut self.groups), std::mem::take(&mut self.items));
        self.bytes = 0;
        if items > 0 {
            let payload = Bytes::from((self.build)(groups));
            self.batches.push(Batch { items, payload });
        }
    }
}

/// Who speaks, as every request says it.
#[derive(Clone, Debug)]
pub(super) struct Speaker {
    pub(super) resource: ResourceMessage,
    pub(super) schema_url: String,
}

impl From<&Resource> for Speaker {
    fn from(resource: &Resource) -> Self {
        Self { resource: resource.into(), schema_url: resource.schema_url().unwrap_or_default().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each request holds: the scopes with the lengths of their records.
    fn packed(records: &[(char, usize)]) -> Vec<(u64, Vec<u8>)> {
        let mut packer = Packer::new(|groups: Vec<(char, Vec<String>)>| {
            let lengths = |records: Vec<String>| {
                records.iter().map(String::len).map(|length| length.to_string()).collect::<Vec<_>>().join(",")
            };
            groups
                .into_iter()
                .map(|(scope, records)| format!("{scope}:{} ", lengths(records)))
                .collect::<String>()
                .into()
        });
        records.iter().for_each(|(scope, length)| packer.push(*scope, "x".repeat(*length), 2));
        packer.finish().into_iter().map(|batch| (batch.items, batch.payload.to_vec())).collect()
    }

    #[test]
    fn records_are_grouped_by_their_scope_in_the_order_of_arrival() {
        assert_eq!(packed(&[('a', 1), ('b', 2), ('a', 3)]), [(6, b"a:1,3 b:2 ".to_vec())]);
        assert_eq!(packed(&[]), []);
    }

    #[test]
    fn a_request_ends_before_it_is_too_large_and_a_record_that_is_has_one_of_its_own() {
        let third = BATCH_BYTES / 3;
        let records = [('a', third), ('a', third), ('a', third), ('b', 2 * BATCH_BYTES), ('a', 1)];
        let expected = [
            (4, format!("a:{third},{third} ")),
            (2, format!("a:{third} ")),
            (2, format!("b:{} ", 2 * BATCH_BYTES)),
            (2, "a:1 ".into()),
        ];
        assert_eq!(packed(&records), expected.map(|(items, text)| (items, text.into_bytes())));
    }
}
