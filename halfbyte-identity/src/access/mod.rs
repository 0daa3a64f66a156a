//! What a caller may do: policies in Cedar, decided in the process, the same way in every product.

mod action;
mod asked;
mod check;
mod cited;
mod decide;
mod decision;
mod entity;
mod explain;
mod log;
mod provider;
mod question;
mod recorder;
mod replay;
mod rules;
mod source;
mod who_can;

pub use self::action::Action;
pub use self::asked::Asked;
pub use self::check::{Access, Denied};
pub use self::cited::Cited;
pub use self::decision::{Decision, EvaluationError};
pub use self::entity::{Entity, EntityRef, Resource, Value};
pub use self::explain::{Deciding, Explanation, Near};
pub use self::log::{DecisionLog, Record};
pub use self::provider::{EntityProvider, Membership};
pub use self::question::name_of;
pub use self::recorder::Recorder;
pub use self::replay::{Change, Replay};
pub use self::rules::Rules;
pub use self::source::{Finding, Invalid, SourceFile};
pub use self::who_can::{Grant, WhoCan};
