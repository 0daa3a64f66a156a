//! Credentials that are lent: when they are renewed, when they are replaced, and how they are given back, also those that
//! nobody waits for or uses any more.

mod borrower;
mod held;
mod ledger;
mod loans;
mod running;
mod unserved;

pub(crate) use self::borrower::{Borrower, Holder};
pub(crate) use self::held::{Due, Held, SHORTEST};
pub(crate) use self::loans::Loans;
