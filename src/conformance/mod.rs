#![doc = include_str!("../docs/conformance.md")]

mod access;
mod admin;
mod bench;
mod check;
mod client;
mod collector;
mod connection;
mod credentials;
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
use std::time::Duration;

use axum::Router;
use halfbyte_core::config::Config;
use secrecy::SecretString;

pub(crate) use self::collector::shows_the_log;
pub use self::report::{Counts, Exchange, NotAsked, Outcome, Report, Verdict};
pub use self::sample::Sample;
use crate::error::Error;
use crate::platform::Platform;

/// The conformance suite, for one product: see the [module](self).
#[must_use = "nothing is checked before `run`"]
#[derive(Clone)]
pub struct Conformance {
    start: Start,
    samples: Vec<Sample>,
    /// Routes that have none, each with why.
    without_sample: Vec<(String, String)>,
    plan: Option<String>,
    /// Values of secrets, by their names.
    secrets: Vec<(String, SecretString)>,
    /// The longest that a check takes, for each route and besides.
    limit: (Duration, Duration),
    /// Breaks the product, to see whether the suite finds it.
    #[cfg(test)]
    mutation: mutants::Mutation,
    /// That it is known to be broken: what fails first is enough.
    #[cfg(test)]
    is_broken: bool,
    /// That its report has all exchanges and not only the last ones.
    #[cfg(test)]
    keeps_all: bool,
}

/// The longest that a check takes, for each route and besides: many times what it does.
const LIMIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(120));

/// The most exchanges that a report keeps of one check: the last ones.
const KEPT: usize = 20;

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
            without_sample: Vec::new(),
            plan: None,
            secrets: Vec::new(),
            limit: LIMIT,
            #[cfg(test)]
            mutation: mutants::Mutation::default(),
            #[cfg(test)]
            is_broken: false,
            #[cfg(test)]
            keeps_all: false,
        }
    }

    /// How to call a route so that it succeeds. Each route that is guarded needs one, or a reason to have none.
    pub fn sample(mut self, sample: Sample) -> Self {
        self.samples.push(sample);
        self
    }

    /// Says of a guarded route that it has no sample, and why. The report shows both, with what was not asked of the route for want of one; a
    /// guarded route with neither sample nor reason fails the run. A metered route needs a sample whatever is said.
    ///
    /// ```
    /// # fn example(parcel: halfbyte::conformance::Conformance) -> halfbyte::conformance::Conformance {
    /// parcel.without_sample("POST /payouts", "a bank would have to be there")
    /// # }
    /// ```
    pub fn without_sample(mut self, route: &str, reason: &str) -> Self {
        self.without_sample.push((route.to_owned(), reason.to_owned()));
        self
    }

    /// The value of one of the product's secrets, where it cannot be any text: a private key, a URL, JSON. Others get values that the suite
    /// makes. Also the parts of this one must not be seen anywhere, so it has to have 16 letters and digits in a row; and it must be good
    /// for nothing but tests.
    ///
    /// A second value for the same name is what the secret is rotated to while requests are under way. One with a single value is not rotated,
    /// which the report says.
    ///
    /// ```
    /// # fn example(parcel: halfbyte::conformance::Conformance) -> halfbyte::conformance::Conformance {
    /// let carrier = |password| format!("https://parcel:{password}@carrier.example/v1");
    /// parcel
    ///     .secret("carrier", &carrier("5d0b3f7e8c2a49161f"))
    ///     .secret("carrier", &carrier("c41e9a7703b85d2f66"))
    /// # }
    /// ```
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.push((name.to_owned(), value.into()));
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

    fn kept(&self) -> usize {
        #[cfg(test)]
        if self.keeps_all {
            return usize::MAX;
        }
        KEPT
    }
}

impl fmt::Debug for Conformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes: Vec<_> = self.samples.iter().map(|sample| &sample.route).collect();
        f.debug_struct("Conformance").field("samples", &routes).field("plan", &self.plan).finish_non_exhaustive()
    }
}
