//! What a caller may do: policies in Cedar, decided in the process, the same way in every product.

mod action;
mod check;
mod coverage;
mod decide;
mod decision;
mod declarations;
mod entity;
mod place;
mod policies;
mod provider;
mod question;
mod rules;
mod schema;
mod source;
mod statements;
#[cfg(feature = "testing")]
pub mod testing;
mod tokens;
mod words;

pub use self::action::Action;
pub use self::check::{Access, Denied};
pub use self::decision::{Decision, EvaluationError};
pub use self::entity::{Entity, EntityRef, Resource, Value};
pub use self::policies::{Bounds, Policies};
pub use self::provider::{EntityProvider, Membership};
pub use self::question::name_of;
pub use self::rules::Rules;
pub use self::source::{Finding, Invalid, SourceFile};
