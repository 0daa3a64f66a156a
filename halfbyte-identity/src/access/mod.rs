//! What a caller may do: policies in Cedar, decided in the process, the same way in every product.

mod action;
mod alike;
mod around;
mod asked;
mod authorized;
mod check;
mod checks;
mod cited;
mod coverage;
mod decide;
mod decision;
mod declarations;
mod denied;
mod entity;
#[cfg(test)]
mod equal;
mod explain;
#[cfg(feature = "axum")]
mod extract;
mod future;
mod index;
mod layer;
mod log;
mod metrics;
mod place;
mod policies;
mod provider;
mod question;
mod recorder;
mod replay;
mod rules;
mod schema;
mod shape;
mod source;
mod statements;
mod target;
#[cfg(feature = "testing")]
pub mod testing;
mod tokens;
mod who_can;
mod words;

pub use self::action::Action;
pub use self::asked::Asked;
pub use self::authorized::Authorized;
pub use self::check::Access;
pub use self::checks::Checks;
pub use self::cited::Cited;
pub use self::decision::{Decision, EvaluationError};
pub use self::denied::Denied;
pub use self::entity::{Entity, EntityRef, Resource, Value};
pub use self::explain::{Deciding, Explanation, Near};
pub use self::future::AuthorizeFuture;
pub use self::layer::{Authorize, AuthorizeLayer};
pub use self::log::{DecisionLog, Record};
pub use self::policies::{Bounds, Policies};
pub use self::provider::{EntityProvider, Membership};
pub use self::question::name_of;
pub use self::recorder::Recorder;
pub use self::replay::{Change, Replay};
pub use self::rules::Rules;
pub use self::source::{Finding, Invalid, SourceFile};
pub use self::target::Target;
pub use self::who_can::{Grant, WhoCan};
