//! What a check works with.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use halfbyte_billing::GrantSpec;
use halfbyte_core::{TenantId, error_chain};
use halfbyte_identity::testing::Persona;
use http::header::AUTHORIZATION;
use http::{HeaderName, Version};
use jiff::SignedDuration;

use super::client::{Answer, Ask};
use super::credentials;
use super::product::{Product, Suite};
use super::report::Exchange;
use super::sample::{Does, Sample};
use crate::manifest::{Manifest, Route};

/// One check's view of the product; it keeps what was sent and what came back.
pub(super) struct Bench<'s> {
    pub suite: &'s Suite,
    pub product: &'s Product,
    /// The last ones.
    exchanges: VecDeque<(Ask, Result<Answer, String>)>,
    /// Routes that were to be asked and have no sample.
    not_asked: BTreeSet<String>,
    /// Routes that cannot be asked for what the check is about, by what their samples say, and why.
    left_out: BTreeSet<LeftOut>,
}

/// More units than any check uses, and than another process holds.
pub(super) const PLENTY: u64 = 1_000_000;

/// A route, and why it was left out.
pub(super) type LeftOut = (String, &'static str);

/// A name that nothing else has in this process: of a tenant, a request, an operation, an `Idempotency-Key`.
pub(super) fn fresh() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    format!("conformance-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A route as a sample names it.
pub(super) fn name_of(route: &Route) -> String {
    format!("{} {}", route.method, route.path)
}

/// What stands for each parameter of a path that nobody has said.
const UNSAID: &str = "conformance";

/// The name of the parameter that a segment of a route's path is.
fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}').map(|name| name.trim_start_matches('*'))
}

/// At which segment `pattern` has the parameter `name`.
fn place(pattern: &str, name: &str) -> Option<usize> {
    pattern.split('/').position(|segment| parameter(segment) == Some(name))
}

/// Where a request names what the policies are asked for.
enum Thing {
    /// In the segment of the path with this number.
    Segment(usize),
    Header(HeaderName),
}

fn thing(route: &Route) -> Option<Thing> {
    let found_in = &route.asks.resource.as_ref()?.found_in;
    if let Some(pattern) = found_in.strip_prefix("path ") {
        return place(pattern, "id").map(Thing::Segment);
    }
    let header = found_in.strip_prefix("header ")?;
    HeaderName::from_bytes(header.as_bytes()).ok().map(Thing::Header)
}

/// `path` with another segment.
fn with_segment(path: &str, number: usize, value: &str) -> String {
    let segments = path.split('/').enumerate();
    segments.map(|(at, segment)| if at == number { value } else { segment }).collect::<Vec<_>>().join("/")
}

/// `ask` where it is about the thing `id`; nothing of a route that is not about one that is named in the request.
pub(super) fn of_thing(route: &Route, mut ask: Ask, id: &str) -> Option<Ask> {
    match thing(route)? {
        Thing::Segment(number) => ask.path = with_segment(&ask.path, number, id),
        Thing::Header(name) => {
            ask.headers.remove(&name);
            ask = ask.header(name, id);
        }
    }
    Some(ask)
}

/// What `ask` is about, as it names it.
pub(super) fn thing_of(route: &Route, ask: &Ask) -> Option<String> {
    match thing(route)? {
        Thing::Segment(number) => ask.path.split('/').nth(number).map(str::to_owned),
        Thing::Header(name) => ask.headers.get(name)?.to_str().ok().map(str::to_owned),
    }
}

impl<'s> Bench<'s> {
    pub fn new(suite: &'s Suite, product: &'s Product) -> Self {
        Self { suite, product, exchanges: VecDeque::new(), not_asked: BTreeSet::new(), left_out: BTreeSet::new() }
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

    /// Keeps an exchange, also one that was not made by [`send`](Self::send). What was a credential in it is from now on looked for everywhere.
    pub fn keep(&mut self, ask: &Ask, answer: &Result<Answer, String>) {
        let suite = self.suite;
        credentials::sent(ask).iter().for_each(|(what, credential)| suite.credential(what, credential));
        if let Ok(answer) = answer {
            suite.witness.answered(&format!("{} {}", ask.method, ask.path), answer);
            credentials::handed(ask, answer).iter().for_each(|token| suite.credential("an access token", token));
        }
        self.exchanges.push_back((ask.clone(), answer.clone()));
        if self.exchanges.len() > suite.conformance.kept() {
            self.exchanges.pop_front();
        }
    }

    /// What was sent and came back, as the report may show it, which routes were to be asked and have no sample, and which were left out.
    pub fn done(self) -> (Vec<Exchange>, BTreeSet<String>, BTreeSet<LeftOut>) {
        let redaction = &self.suite.redaction;
        let shown = self.exchanges.iter().map(|(ask, answer)| ask.exchanged(answer, redaction)).collect();
        (shown, self.not_asked, self.left_out)
    }

    /// A new customer who may use all routes.
    pub async fn customer(&self) -> Result<TenantId, String> {
        self.suite.customer(self.product, &fresh()).await
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
        let persona = self
            .caller(route, "conformance")
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

    /// Somebody of the kind that calls `route`, as the product has said.
    pub fn caller(&self, route: &Route, subject: &str) -> Persona {
        if self.is_of_user(route) { Persona::user(subject) } else { Persona::service(subject) }
    }

    /// Whether people call `route`.
    pub fn is_of_user(&self, route: &Route) -> bool {
        self.any_sample(route).is_some_and(|sample| sample.is_of_user)
    }

    /// Whether a call of `route` must have an idempotency key.
    pub fn is_keyed(&self, route: &Route) -> bool {
        self.any_sample(route).is_some_and(|sample| sample.is_keyed)
    }

    /// An access token of `persona` for the product.
    pub fn token(&self, persona: &Persona) -> String {
        let token = self.suite.issuer.token(persona, self.audience());
        self.suite.credential("an access token", &token);
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
        let name = name_of(route);
        self.suite.conformance.samples.iter().find(|sample| sample.route == name)
    }

    /// Leaves `route` out of this check, which the report says.
    pub fn leave_out(&mut self, route: &Route, why: &'static str) {
        self.left_out.insert((name_of(route), why));
    }

    /// Whether a call of `route` only reads, by its method or as its sample says.
    pub fn reads(&self, route: &Route) -> bool {
        matches!(&*route.method, "GET" | "HEAD") || self.any_sample(route).is_some_and(|sample| sample.reads)
    }

    /// Whether a second call of `route` about the same fails.
    pub fn is_once(&self, route: &Route) -> bool {
        self.any_sample(route).is_some_and(|sample| sample.is_once)
    }

    /// Whether a second call of `route` by the same tenant fails, whatever it is about.
    pub fn is_once_for_all(&self, route: &Route) -> bool {
        self.any_sample(route).is_some_and(|sample| sample.is_once && sample.made_by.is_none())
    }

    /// The public routes that answer who may call them with success: all but those whose samples say that they hang or panic.
    pub fn open(&self) -> Vec<Route> {
        let does = |route: &Route| self.any_sample(route).map(|sample| sample.does);
        let is_open = |route: &Route| !matches!(does(route), Some(Does::Hang | Does::Panic));
        self.routes(true).into_iter().filter(is_open).collect()
    }

    /// The routes that answer at once who has no credentials, and are not called by gRPC.
    pub fn http_routes(&self) -> Vec<Route> {
        let is_grpc = |route: &Route| self.any_sample(route).is_some_and(|sample| sample.is_grpc);
        let routes = self.routes(false).into_iter().chain(self.open());
        routes.filter(|route| !is_grpc(route)).collect()
    }

    /// The routes that answer with success or a refusal when they are called, as far as is known: all but those whose samples say otherwise.
    pub fn answering(&self) -> Vec<Route> {
        let is_usual = |route: &Route| self.any_sample(route).is_none_or(|sample| sample.does == Does::Succeed);
        self.manifest().routes.into_iter().filter(is_usual).collect()
    }

    /// A route whose sample says that it `does` this.
    pub fn that(&self, does: Does) -> Option<Route> {
        self.those(does).into_iter().next()
    }

    /// All routes whose samples say that they do this.
    pub fn those(&self, does: Does) -> Vec<Route> {
        let is_one = |route: &Route| self.any_sample(route).is_some_and(|sample| sample.does == does);
        self.manifest().routes.into_iter().filter(is_one).collect()
    }

    /// What names the product in `aud`.
    pub fn audience(&self) -> &'s str {
        let platform = &self.product.platform;
        platform.config().audience.as_deref().unwrap_or(platform.product().as_str())
    }

    /// A call of `route` without credentials, with its sample's body, and the path of `tenant` and of something that is not there.
    pub fn ask(&self, route: &Route, tenant: &str) -> Ask {
        let sample = self.any_sample(route);
        let tenants = self.tenants_segment(route);
        let said = |name| sample?.parameters.iter().find(|(parameter, _)| parameter == name).map(|(_, value)| &**value);
        let path = route.path.split('/').enumerate().map(|(number, segment)| match parameter(segment) {
            Some(_) if tenants == Some(number) => tenant,
            Some(name) => said(name).unwrap_or(UNSAID),
            None => segment,
        });
        let mut ask = Ask::new(&route.method, &path.collect::<Vec<_>>().join("/"));
        if let Some(sample) = sample {
            ask.body.clone_from(&sample.body);
            ask.headers.extend(sample.headers.iter().cloned());
            ask.streams = sample.does == Does::Stream;
            if sample.is_grpc {
                ask.version = Version::HTTP_2;
            }
            if sample.is_keyed {
                ask = ask.key(&fresh());
            }
        }
        ask
    }

    /// Which segment of the path is the tenant: where the guard looks for it, or else what is called so.
    fn tenants_segment(&self, route: &Route) -> Option<usize> {
        place(route.asks.tenant_in_path.as_deref().unwrap_or(&route.path), "tenant")
    }

    /// `ask` for the thing `id`, which another route has made.
    fn for_thing(&self, route: &Route, sample: &Sample, ask: Ask, id: &str) -> Result<Ask, String> {
        if let Some(ask) = of_thing(route, ask.clone(), id) {
            return Ok(ask);
        }
        let tenants = self.tenants_segment(route);
        let is_said = |name: &str| sample.parameters.iter().any(|(parameter, _)| parameter == name);
        let is_open = |(number, segment): &(usize, &str)| {
            tenants != Some(*number) && parameter(segment).is_some_and(|name| !is_said(name))
        };
        let mut open = route.path.split('/').enumerate().filter(is_open);
        match (open.next(), open.next()) {
            (Some((number, _)), None) => Ok(Ask { path: with_segment(&ask.path, number, id), ..ask }),
            _ => Err(format!("where in {} stands what is made? Give all other parameters to the sample", sample.route)),
        }
    }

    /// A call of `route` by somebody of `tenant` who may, of what is there if a sample says how it is made. `None` of a guarded route without
    /// a sample, which the report then names, and of one that does not succeed.
    pub async fn good(&mut self, route: &Route, tenant: &TenantId) -> Result<Option<Ask>, String> {
        if self.any_sample(route).is_none() && !route.asks.is_public {
            self.not_asked.insert(name_of(route));
        }
        if self.any_sample(route).is_some_and(|sample| sample.does != Does::Succeed) {
            return Ok(None);
        }
        let mut ask = self.ask(route, tenant.as_str());
        match self.sample(route) {
            // Anybody may, so that nothing need be known of it.
            None if route.asks.is_public => {}
            None => return Ok(None),
            Some(sample) => {
                if let Some((maker, pointer)) = &sample.made_by {
                    let id = self.made(sample, maker, pointer, tenant).await?;
                    ask = self.for_thing(route, sample, ask, &id)?;
                }
            }
        }
        Ok(Some(ask.bearer(&self.token(&self.persona(route, tenant)))))
    }

    /// `good` once more, with the same credential: of a new thing where one is made for it, since the call before may have used it up.
    pub async fn again(&mut self, route: &Route, tenant: &TenantId, good: &Ask) -> Result<Ask, String> {
        if self.sample(route).is_none_or(|sample| sample.made_by.is_none()) {
            return Ok(good.clone());
        }
        let Some(mut again) = self.good(route, tenant).await? else { return Ok(good.clone()) };
        again.headers.remove(AUTHORIZATION);
        again.headers.extend(good.headers.get(AUTHORIZATION).map(|known| (AUTHORIZATION, known.clone())));
        Ok(Ask { version: good.version, ..again })
    }

    /// Gives `tenant` so much of what the things of `route` use that it can be called many times.
    pub async fn stock(&self, route: &Route, tenant: &TenantId) -> Result<(), String> {
        let maker = self.sample(route).and_then(|sample| sample.made_by.as_ref());
        let Some((maker, _)) = maker else { return Ok(()) };
        let maker = self.manifest().routes.into_iter().find(|route| name_of(route) == *maker);
        let Some(feature) = maker.filter(|maker| maker.asks.meter.is_some()).and_then(|maker| maker.asks.feature)
        else {
            return Ok(());
        };
        self.grant(tenant, &feature, PLENTY).await
    }

    /// Gives `tenant` so many units of `feature` more.
    pub async fn grant(&self, tenant: &TenantId, feature: &str, units: u64) -> Result<(), String> {
        let grant = GrantSpec::new(fresh(), feature, units);
        let granted = self.product.platform.billing().customers().grant(tenant, grant).await;
        granted.map(drop).map_err(|error| error_chain(&error).to_string())
    }

    /// What the route `maker` makes for `tenant`, by the name that its answer has at `pointer`.
    async fn made(&mut self, of: &Sample, maker: &str, pointer: &str, tenant: &TenantId) -> Result<String, String> {
        let manifest = self.manifest();
        let made_by = manifest.routes.iter().find(|route| name_of(route) == maker);
        let made_by = made_by.ok_or_else(|| format!("the sample of {} names {maker}, which is no route", of.route))?;
        let make = self.ask(made_by, tenant.as_str()).bearer(&self.token(&self.persona(made_by, tenant)));
        let made = self.send(make).await?;
        match made.json()?.pointer(pointer) {
            Some(serde_json::Value::String(id)) => Ok(id.clone()),
            Some(id) => Ok(id.to_string()),
            None => Err(format!("{maker} answers with {}, and nothing at {pointer}", made.status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asks::{Asks, Resource};

    fn route(path: &str, found_in: &str) -> Route {
        let resource = Some(Resource { kind: Some("Thing".into()), found_in: found_in.into() });
        Route { method: "GET".into(), path: path.into(), asks: Asks { resource, ..Asks::default() } }
    }

    #[test]
    fn a_thing_stands_where_the_guard_looks_for_it_and_nowhere_else() {
        let in_path = route("/conformance/{tenant}/things/{id}/{part}", "path /conformance/{tenant}/things/{id}");
        let ask = Ask::new("GET", "/conformance/acme/things/conformance/conformance");
        let ask = of_thing(&in_path, ask, "7").unwrap();
        assert_eq!(ask.path, "/conformance/acme/things/7/conformance");
        assert_eq!(thing_of(&in_path, &ask).as_deref(), Some("7"));
        let in_header = route("/thing", "header x-thing");
        let ask = Ask::new("GET", "/thing").header(HeaderName::from_static("x-thing"), "1");
        let ask = of_thing(&in_header, ask, "2").unwrap();
        assert_eq!(ask.headers.get_all("x-thing").iter().collect::<Vec<_>>(), ["2"]);
        assert!(of_thing(&route("/{id}", "code"), ask, "3").is_none());
    }
}
