//! Credentials that are lent: when they are renewed, when they are replaced, and which are to be given back.

mod held;
mod ledger;

pub(crate) use self::held::{Due, Held};
pub(crate) use self::ledger::Ledger;
