#![doc = include_str!("docs/crate.md")]
#![doc = include_str!("docs/serving.md")]

mod admin;
mod asks;
mod bound;
mod builder;
#[cfg(feature = "conformance")]
pub mod conformance;
mod contract;
mod demo;
#[cfg(feature = "deploy")]
pub mod deploy;
mod deviation;
mod drain;
mod error;
mod guard;
mod handed_over;
pub mod layers;
pub mod manifest;
mod names;
mod notify;
mod platform;
mod policies;
mod progress;
mod public;
#[cfg(feature = "axum")]
mod routes;
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

pub use self::asks::{Asks, Resource};
pub use self::builder::Builder;
pub use self::contract::Contract;
pub use self::demo::Demo;
pub use self::deviation::Deviation;
pub use self::error::{Error, ErrorKind, exit_code};
pub use self::guard::{FeatureGuard, Guard};
pub use self::manifest::Manifest;
pub use self::platform::Platform;
pub use self::progress::{Step, StepKind};
pub use self::public::{Public, RouteGuard};
#[cfg(feature = "axum")]
pub use self::routes::Routes;
pub use self::serve::{RequestBody, Sendable, Servable};
pub use self::stack::{Stack, Stacked};
