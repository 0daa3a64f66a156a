use std::num::NonZeroU64;

use http::{HeaderMap, StatusCode};

use super::rules::{Bill, rpc_status};
use crate::Error;
use crate::entitle::{Claim, Settlement};

/// A use that is settled when the body of its response ends. Dropped before, it is settled by what was delivered.
#[derive(Debug)]
pub(super) struct Settling {
    claim: Claim,
    count: Count,
    judge: Judge,
    data: Option<Box<str>>,
    /// Bytes handed to the connection.
    delivered: u64,
    ended: bool,
}

/// How the units are counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    /// By the call: so many, or what was reserved.
    Call(Option<u64>),
    /// By the bytes of the body, so many to a unit.
    Bytes(NonZeroU64),
    /// As the handler says.
    Said,
}

/// What is still to be found out of whether it is paid for.
pub(super) enum Judge {
    /// Nothing.
    Known,
    /// Whether trailers bring a `grpc-status` that is not 0. `needed` if it must be there, as in gRPC.
    Status { needed: bool },
    /// What the product says of headers and trailers together.
    Product { bill: Bill, status: StatusCode, headers: Box<HeaderMap> },
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Judge::Known => "Known",
            Judge::Status { .. } => "Status",
            Judge::Product { .. } => "Product",
        })
    }
}

/// How a body ended.
pub(super) enum End<'a> {
    Whole {
        trailers: Option<&'a HeaderMap>,
    },
    Failed,
    /// Its client has left, or wants no more.
    Dropped,
}

impl Settling {
    pub(super) fn new(claim: Claim, count: Count, judge: Judge, data: Option<Box<str>>) -> Self {
        Self { claim, count, judge, data, delivered: 0, ended: false }
    }

    /// Bytes go to the client.
    pub(super) fn deliver(&mut self, bytes: usize) {
        self.delivered = self.delivered.saturating_add(bytes as u64);
    }

    /// Settles or gives back; what ended before stays so.
    ///
    /// # Errors
    ///
    /// It cannot be recorded.
    pub(super) fn end(&mut self, end: End<'_>) -> Result<(), Error> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let whole = matches!(end, End::Whole { .. });
        if !self.is_paid_for(&end) || (!whole && self.delivered == 0) {
            self.claim.release();
            return Ok(());
        }
        let (units, whole) = match self.count {
            // A call is not done by halves.
            Count::Call(units) => (units, true),
            Count::Bytes(unit) => (Some(self.delivered.div_ceil(unit.get())), whole),
            Count::Said => (None, whole),
        };
        self.claim.settle(Settlement { units, whole, data: self.data.take() })
    }

    fn is_paid_for(&self, end: &End<'_>) -> bool {
        match (&self.judge, end) {
            // A call that fails half-way has failed; what was counted byte by byte was delivered.
            (Judge::Known | Judge::Status { .. }, End::Failed) => !matches!(self.count, Count::Call(_)),
            (Judge::Known, _) | (Judge::Status { .. }, End::Dropped) => true,
            (Judge::Status { needed }, End::Whole { trailers }) => trailers.and_then(rpc_status).unwrap_or(!needed),
            (Judge::Product { bill, status, headers }, end) => {
                let mut headers = headers.clone();
                if let End::Whole { trailers: Some(trailers) } = end {
                    headers.extend((*trailers).clone());
                }
                bill.wants(*status, &headers)
            }
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        // What goes wrong is in the log; there is nobody left to tell.
        _ = self.end(End::Dropped);
    }
}
