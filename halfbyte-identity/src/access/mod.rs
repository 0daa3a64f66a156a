//! What a caller may do: policies in Cedar, decided in the process, the same way in every product.

mod action;
mod alike;
mod check;
mod decide;
mod decision;
mod entity;
#[cfg(test)]
mod equal;
mod index;
mod provider;
mod question;
mod rules;
mod shape;
mod source;

pub use self::action::Action;
pub use self::check::{Access, Denied};
pub use self::decision::{Decision, EvaluationError};
pub use self::entity::{Entity, EntityRef, Resource, Value};
pub use self::provider::{EntityProvider, Membership};
pub use self::question::name_of;
pub use self::rules::Rules;
pub use self::source::{Finding, Invalid, SourceFile};
