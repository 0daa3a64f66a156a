//! What a caller may do: policies in Cedar, decided in the process, the same way in every product.

mod action;
mod alike;
mod around;
mod authorized;
mod check;
mod checks;
mod coverage;
mod decide;
mod decision;
mod declarations;
mod denied;
mod entity;
#[cfg(test)]
mod equal;
#[cfg(feature = "axum")]
mod extract;
mod future;
mod index;
mod layer;
mod metrics;
mod place;
mod policies;
mod provider;
mod question;
mod rules;
mod schema;
mod shape;
mod source;
mod statements;
mod target;
#[cfg(feature = "testing")]
pub mod testing;
mod tokens;
mod words;

pub use self::action::Action;
pub use self::authorized::Authorized;
pub use self::check::Access;
pub use self::checks::Checks;
pub use self::decision::{Decision, EvaluationError};
pub use self::denied::Denied;
pub use self::entity::{Entity, EntityRef, Resource, Value};
pub use self::future::AuthorizeFuture;
pub use self::layer::{Authorize, AuthorizeLayer};
pub use self::policies::{Bounds, Policies};
pub use self::provider::{EntityProvider, Membership};
pub use self::question::name_of;
pub use self::rules::Rules;
pub use self::source::{Finding, Invalid, SourceFile};
pub use self::target::Target;
