#![doc = include_str!("docs/crate.md")]
#![doc = include_str!("docs/serving.md")]

mod admin;
mod bound;
mod builder;
mod contract;
mod demo;
mod drain;
mod error;
mod guard;
mod handed_over;
pub mod layers;
mod manifest;
mod notify;
mod platform;
mod policies;
mod progress;
mod serve;
mod signals;
mod stack;
mod tenants;
mod vitals;

pub use halfbyte_billing as billing;
pub use halfbyte_core as core;
pub use halfbyte_core::{Principal, Problem, RequestId, TenantId, problem};
pub use halfbyte_identity as identity;
pub use halfbyte_observe as observe;
pub use halfbyte_secrets as secrets;

pub use self::builder::Builder;
pub use self::contract::Contract;
pub use self::demo::Demo;
pub use self::error::{Error, ErrorKind, exit_code};
pub use self::guard::{FeatureGuard, Guard};
pub use self::platform::Platform;
pub use self::progress::{Step, StepKind};
pub use self::serve::{RequestBody, Sendable, Servable};
pub use self::stack::{Stack, Stacked};
