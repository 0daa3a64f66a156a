//! What a check works with.

use std::sync::atomic::{AtomicUsize, Ordering};

use halfbyte_core::TenantId;
use halfbyte_identity::testing::Persona;
use jiff::SignedDuration;

use super::client::{Answer, Ask};
use super::product::{Product, Suite};
use super::report::Exchange;
use super::sample::{Does, Sample};
use crate::manifest::{Manifest, Route};

/// One check's view of the product; it keeps what was sent and what came back.
pub(super) struct Bench<'s> {
    pub suite: &'s Suite,
    pub product: &'s Product,
    exchanges: Vec<Exchange>,
}

/// The most exchanges that a report keeps of one check: the last ones.
const KEPT: usize = 20;

/// Tenants are never used twice, so that no check leaves usage to another.
static TENANTS: AtomicUsize = AtomicUsize::new(1);

impl<'s> Bench<'s> {
    pub fn new(suite: &'s Suite, product: &'s Product) -> Self {
        Self { suite, product, exchanges: Vec::new() }
    }

    pub fn manifest(&self) -> Manifest {
        let manifest = self.product.platform.manifest();
        #[cfg(test)]
        let manifest = {
            let mut manifest = manifest;
            self.suite.conformance.mutation.manifest(&mut manifest);
            manifest
        };
        manifest
    }

    /// The routes that are guarded; the public ones with `is_public`.
    pub fn routes(&self, is_public: bool) -> Vec<Route> {
        self.manifest().routes.into_iter().filter(|route| route.asks.is_public == is_public).collect()
    }

    /// Sends `ask` to the product and keeps the exchange.
    pub async fn send(&mut self, ask: Ask) -> Result<Answer, String> {
        self.send_to(self.product, ask).await
    }

    /// Sends `ask` to another product than the one all checks share.
    pub async fn send_to(&mut self, product: &Product, ask: Ask) -> Result<Answer, String> {
        let answer = ask.send(product.address).await;
        self.keep(&ask, &answer);
        answer
    }

    /// Sends all of `asks` at once; answers in their order.
    pub async fn send_all(&mut self, asks: Vec<(&Product, Ask)>) -> Vec<Result<Answer, String>> {
        let answers = asks.iter().map(|(product, ask)| ask.send(product.address));
        let answers = futures_util::future::join_all(answers).await;
        asks.iter().zip(&answers).for_each(|((_, ask), answer)| self.keep(ask, answer));
        answers
    }

    /// Asks the admin listener of `product`.
    pub async fn admin(&mut self, product: &Product, path: &str) -> Result<Answer, String> {
        let ask = Ask::new("GET", path);
        let answer = ask.send(product.admin).await;
        self.keep(&ask, &answer);
        answer
    }

    /// Keeps an exchange, also one that was not made by [`send`](Self::send).
    pub fn keep(&mut self, ask: &Ask, answer: &Result<Answer, String>) {
        if let Ok(answer) = answer {
            self.suite.witness.answered(&format!("{} {}", ask.method, ask.path), answer);
        }
        self.exchanges.push(ask.exchanged(answer));
        if self.exchanges.len() > KEPT {
            self.exchanges.remove(0);
        }
    }

    pub fn exchanges(self) -> Vec<Exchange> {
        self.exchanges
    }

    /// A new customer who may use all routes.
    pub async fn customer(&self) -> Result<TenantId, String> {
        let name = format!("conformance-{}", TENANTS.fetch_add(1, Ordering::Relaxed));
        self.suite.customer(self.product, &name).await
    }

    /// Somebody of `tenant` who has all that `route` asks for.
    pub fn persona(&self, route: &Route, tenant: &TenantId) -> Persona {
        let signed_in = route.asks.max_age_seconds.map(|_| SignedDuration::ZERO);
        self.persona_signed_in(route, tenant, signed_in)
    }

    /// The same, who signed in so long ago, or does not say when.
    pub fn persona_signed_in(&self, route: &Route, tenant: &TenantId, signed_in: Option<SignedDuration>) -> Persona {
        let asks = &route.asks;
        let roles = asks.roles.iter().chain(self.any_sample(route).into_iter().flat_map(|sample| &sample.roles));
        let persona = Persona::service("conformance")
            .tenant(tenant.as_str())
            .scopes(asks.scopes.iter().map(String::as_str))
            .roles(roles.map(String::as_str));
        let persona = match asks.acr.first() {
            Some(acr) => persona.acr(acr),
            None => persona,
        };
        match signed_in {
            Some(ago) => persona.signed_in(ago),
            None => persona,
        }
    }

    /// An access token of `persona` for the product.
    pub fn token(&self, persona: &Persona) -> String {
        let token = self.suite.issuer.token(persona, self.audience());
        self.suite.witness.credential("an access token", &token);
        token
    }

    /// How the product says that `route` is called so that it succeeds.
    pub fn sample(&self, route: &Route) -> Option<&'s Sample> {
        self.any_sample(route).filter(|sample| sample.does == Does::Succeed)
    }

    /// Whether who may call `route` gets the whole of an answer in a while, as far as the product has said.
    pub fn ends(&self, route: &Route) -> bool {
        self.any_sample(route).is_none_or(|sample| !matches!(sample.does, Does::Hang | Does::Stream))
    }

    fn any_sample(&self, route: &Route) -> Option<&'s Sample> {
        let name = format!("{} {}", route.method, route.path);
        self.suite.conformance.samples.iter().find(|sample| sample.route == name)
    }

    /// The routes that answer with success or a refusal when they are called, as far as is known: all but those whose samples say otherwise.
    pub fn answering(&self) -> Vec<Route> {
        let is_usual = |route: &Route| self.any_sample(route).is_none_or(|sample| sample.does == Does::Succeed);
        self.manifest().routes.into_iter().filter(is_usual).collect()
    }

    /// A route whose sample says that it `does` this.
    pub fn that(&self, does: Does) -> Option<Route> {
        let is_it = |route: &Route| self.any_sample(route).is_some_and(|sample| sample.does == does);
        self.manifest().routes.into_iter().find(is_it)
    }

    /// What names the product in `aud`.
    pub fn audience(&self) -> &'s str {
        let platform = &self.product.platform;
        platform.config().audience.as_deref().unwrap_or(platform.product().as_str())
    }

    /// A call of `route` without credentials, with its sample's body, and the path of `tenant` and of something that is not there.
    pub fn ask(&self, route: &Route, tenant: &str) -> Ask {
        let path = route.path.split('/').map(|segment| match segment {
            "{tenant}" => tenant,
            _ if segment.starts_with('{') => "conformance",
            _ => segment,
        });
        let mut ask = Ask::new(&route.method, &path.collect::<Vec<_>>().join("/"));
        if let Some(sample) = self.any_sample(route) {
            ask.body.clone_from(&sample.body);
            ask.headers.extend(sample.headers.iter().cloned());
        }
        ask
    }

    /// A call of `route` by somebody of `tenant` who may, of what is there if a sample says how it is made. `None` without a sample.
    pub async fn good(&mut self, route: &Route, tenant: &TenantId) -> Result<Option<Ask>, String> {
        let Some(sample) = self.sample(route) else { return Ok(None) };
        let mut ask = self.ask(route, tenant.as_str());
        if let Some((maker, pointer)) = &sample.made_by {
            let manifest = self.manifest();
            let made_by = manifest.routes.iter().find(|route| format!("{} {}", route.method, route.path) == *maker);
            let made_by =
                made_by.ok_or_else(|| format!("the sample of {} names {maker}, which is no route", sample.route))?;
            let make = self.ask(made_by, tenant.as_str()).bearer(&self.token(&self.persona(made_by, tenant)));
            let made = self.send(make).await?.json()?;
            let id = match made.pointer(pointer) {
                Some(serde_json::Value::String(id)) => id.clone(),
                Some(id) => id.to_string(),
                None => return Err(format!("the answer of {maker} has nothing at {pointer}")),
            };
            ask.path = ask.path.replace("conformance", &id);
        }
        Ok(Some(ask.bearer(&self.token(&self.persona(route, tenant)))))
    }
}
