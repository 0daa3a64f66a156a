//! Credentials that are lent: when they are renewed, when they are replaced, and which are to be given back.

mod held;
mod ledger;
mod unserved;

pub(crate) use self::held::{Due, Held, SHORTEST};
pub(crate) use self::ledger::Ledger;
pub(crate) use self::unserved::Unserved;
