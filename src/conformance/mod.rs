#![doc = include_str!("../docs/conformance.md")]

mod access;
mod admin;
mod bench;
mod check;
mod client;
mod collector;
mod connection;
mod drain;
mod exposition;
mod http2;
mod invariants;
mod issuer;
mod junit;
mod keys;
mod life;
mod product;
mod proofs;
mod provoke;
mod quota;
mod refusals;
mod report;
mod requests;
mod sample;
mod sessions;
mod steps;
mod streams;
mod telemetry;
mod tokens;
mod unseen;
mod usage;
mod versions;
mod witness;

#[cfg(test)]
mod mutants;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use halfbyte_core::config::Config;

pub(crate) use self::collector::shows_the_log;
pub use self::report::{Counts, Exchange, Outcome, Report, Verdict};
pub use self::sample::Sample;
use crate::error::Error;
use crate::platform::Platform;

/// The conformance suite, for one product: see the [module](self).
#[must_use = "nothing is checked before `run`"]
#[derive(Clone)]
pub struct Conformance {
    start: Start,
    samples: Vec<Sample>,
    plan: Option<String>,
    /// Breaks the product, to see whether the suite finds it.
    #[cfg(test)]
    mutation: mutants::Mutation,
    /// That it is known to be broken: what fails first is enough.
    #[cfg(test)]
    is_broken: bool,
}

type Started = Pin<Box<dyn Future<Output = Result<(Platform, Router), Error>> + Send>>;

/// Starts the product with a configuration.
type Start = Arc<dyn Fn(Config) -> Started + Send + Sync>;

impl Conformance {
    /// A product that `start` starts with a configuration in place of the environment's: the platform and the routes, as they are given to
    /// [`Platform::serve`]. It is called several times.
    pub fn new<F, R>(start: impl Fn(Config) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(Platform, R), Error>> + Send + 'static,
        R: Into<Router>,
    {
        let start = Arc::new(start);
        let start: Start = Arc::new(move |config| {
            let started = start(config);
            Box::pin(async move { started.await.map(|(platform, routes)| (platform, routes.into())) })
        });
        Self {
            start,
            samples: Vec::new(),
            plan: None,
            #[cfg(test)]
            mutation: mutants::Mutation::default(),
            #[cfg(test)]
            is_broken: false,
        }
    }

    /// How to call a route so that it succeeds. A route that asks for a metered feature needs one.
    pub fn sample(mut self, sample: Sample) -> Self {
        self.samples.push(sample);
        self
    }

    /// The plan of the catalogue with which customers may use all routes; without it customers have none.
    pub fn plan(mut self, plan: &str) -> Self {
        self.plan = Some(plan.to_owned());
        self
    }

    /// Starts the product with an issuer, a collector and a folder of the suite's own, and checks it by real requests over real sockets. It
    /// takes about a minute.
    ///
    /// Telemetry is set up once in a process: give the suite a test program of its own, or what it asks of telemetry fails.
    pub async fn run(self) -> Report {
        check::run(self, check::all()).await
    }
}

impl fmt::Debug for Conformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conformance").field("samples", &self.samples).field("plan", &self.plan).finish_non_exhaustive()
    }
}
