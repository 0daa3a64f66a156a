use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::live::Snapshot;
use halfbyte_core::{BoxError, Live, Principal, error_chain};
use opentelemetry::global;
use opentelemetry::metrics::Meter;
use tokio::time::Instant;

use super::action::Action;
use super::around::{Around, Known, Lost, around};
use super::checks::Checks;
use super::decide;
use super::decision::{Decision, Timed};
use super::denied::Denied;
use super::entity::{Entity, EntityRef, Resource, TENANT, Value};
use super::layer::AuthorizeLayer;
use super::log::{Concluded, DecisionLog, Log};
use super::metrics::{Fault, Metrics};
use super::provider::{EntityProvider, Erased};
use super::question::{entity_of, entity_of_tenant, unfit};
use super::rules::Rules;

/// The access control of one product. Cheap to clone.
#[derive(Clone)]
pub struct Access(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    rules: Live<Rules>,
    provider: Arc<dyn Erased>,
    resource_metadata: Option<Arc<str>>,
    metrics: Metrics,
    log: Log,
}

/// When to ask again after the product's own provider failed.
const AGAIN: Duration = Duration::from_secs(1);

impl Access {
    /// Decides by `rules`, with what `provider` knows.
    pub fn new(rules: Live<Rules>, provider: impl EntityProvider) -> Self {
        let metrics = Metrics::new(&global::meter("halfbyte-identity"));
        Self(Arc::new(Inner {
            rules,
            provider: Arc::new(provider),
            resource_metadata: None,
            metrics,
            log: Log::default(),
        }))
    }

    /// Decides by rules that never change, for tests and tools.
    pub fn fixed(rules: Rules) -> Self {
        Self::new(Live::fixed("access", rules), ())
    }

    /// Counts `halfbyte.access.decisions` and `halfbyte.access.errors` with `meter` in place of the global one.
    #[must_use]
    pub fn meter(mut self, meter: &Meter) -> Self {
        Arc::make_mut(&mut self.0).metrics = Metrics::new(meter);
        self
    }

    /// Where the protected-resource metadata is (RFC 9728), for the layers' refusals of who has not signed in:
    /// [`Identity::resource_metadata`](crate::Identity::resource_metadata).
    #[must_use]
    pub fn resource_metadata(mut self, url: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).resource_metadata = Some(url.into());
        self
    }

    /// A layer that lets only those through who may do `action`, to their tenant as a whole unless it is told
    /// [what else](AuthorizeLayer).
    pub fn authorize(&self, action: Action) -> AuthorizeLayer {
        AuthorizeLayer::new(self.clone(), action, self.0.resource_metadata.clone())
    }

    /// Tells of decisions by `log`, and not by the default one.
    #[must_use]
    pub fn log(mut self, log: DecisionLog) -> Self {
        Arc::make_mut(&mut self.0).log = Log::new(log);
        self
    }

    /// What one request of `principal` asks, with all that the provider answers kept for the next question. Behind a layer of
    /// [`authorize`](Self::authorize) it is there already: see [`Checks`].
    pub fn checks(&self, principal: &Principal) -> Checks {
        Checks::new(self, principal)
    }

    /// Whether `principal` may do `action` to `resource`; `Ok` if so.
    ///
    /// # Errors
    ///
    /// [`Denied`]: policies say no, or could not be evaluated; or there are none, or the product's own provider failed. Cancel safe.
    pub async fn check(
        &self,
        principal: &Principal,
        action: Action,
        resource: &(impl Resource + Sync),
    ) -> Result<(), Denied> {
        allowed(self.decide(principal, action, resource).await?)
    }

    /// The same, with the decision whichever it is.
    ///
    /// # Errors
    ///
    /// [`Denied::Unavailable`].
    pub async fn decide(
        &self,
        principal: &Principal,
        action: Action,
        resource: &(impl Resource + Sync),
    ) -> Result<Decision, Denied> {
        let resource = resource.entity();
        self.asking(principal, &Known::default()).decide(action, resource).await
    }

    /// The decision on each of `resources`, in their order, for less than one question each.
    ///
    /// # Errors
    ///
    /// [`Denied::Unavailable`].
    pub async fn check_all(
        &self,
        principal: &Principal,
        action: Action,
        resources: &[impl Resource + Sync],
    ) -> Result<Vec<Decision>, Denied> {
        let resources = resources.iter().map(Resource::entity).collect();
        self.asking(principal, &Known::default()).decide_all(action, resources).await
    }

    /// Those of `resources` that `principal` may do `action` to, in their order: what a list shows.
    ///
    /// # Errors
    ///
    /// [`Denied::Unavailable`].
    pub async fn filter<R: Resource>(
        &self,
        principal: &Principal,
        action: Action,
        resources: Vec<R>,
    ) -> Result<Vec<R>, Denied> {
        let entities = resources.iter().map(Resource::entity).collect();
        Ok(permitted(resources, self.asking(principal, &Known::default()).decide_all(action, entities).await?))
    }

    pub(super) fn asking<'a>(&'a self, principal: &'a Principal, known: &'a Known) -> Asking<'a> {
        Asking { access: self, principal, known }
    }

    /// Whether `other` is a clone of it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Every decision passes here, once.
    fn concluded(
        &self,
        principal: &Principal,
        action: Action,
        resource: &EntityRef,
        seen: &[&Entity],
        timed: Timed,
    ) -> Decision {
        let Timed { decision, took } = timed;
        let concluded = Concluded { principal, action: action.name(), resource, seen, decision: &decision, took };
        self.0.log.concluded(&concluded);
        self.0.metrics.decided(action, decision.is_allowed);
        for error in &decision.errors {
            self.0.metrics.failed(action, error.policy.as_ref().map_or(Fault::Question, |_| Fault::Policy));
        }
        decision
    }

    fn unavailable(&self, action: Action, fault: Fault, retry_in: Duration, source: BoxError) -> Denied {
        self.0.metrics.failed(action, fault);
        tracing::warn!(%action, cause = fault.as_str(), error = error_chain(&*source), "access cannot be decided");
        Denied::Unavailable { retry_in, source }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Access").field(&self.0.rules).finish()
    }
}

/// One who asks, with what is known of him and of what he asks for.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    access: &'a Access,
    principal: &'a Principal,
    known: &'a Known,
}

impl<'a> Asking<'a> {
    pub(super) async fn decide(self, action: Action, resource: Entity) -> Result<Decision, Denied> {
        let mut decisions = self.decide_all(action, vec![resource]).await?;
        Ok(decisions.pop().expect("a decision on each"))
    }

    pub(super) async fn decide_all(self, action: Action, resources: Vec<Entity>) -> Result<Vec<Decision>, Denied> {
        let began = Instant::now();
        // One set of policies says what must be known, and decides.
        let rules = self.rules(action)?;
        let failed = |error| self.access.unavailable(action, Fault::Provider, AGAIN, error);
        let who = self.who().await.map_err(failed)?;
        let tenant = self.tenant().await.map_err(failed)?;
        let resources: Vec<_> = resources.into_iter().map(with_what_tenants_have).collect();
        let asked = Asked { rules: &rules, who, tenant, action };
        let mut seen = Vec::new();
        let answers = self.answers(&asked, &resources, &mut seen).await;
        let mut decisions = answers.or_else(|lost| asked.denied(&resources, lost)).map_err(failed)?;
        // One of many may be what is out of bounds or does not fit, or have it around: the others are not denied for it.
        if resources.len() > 1 {
            for (resource, decision) in resources.chunks(1).zip(&mut decisions) {
                if decision.errors.iter().any(|error| error.policy.is_none()) {
                    let alone = self.answers(&asked, resource, &mut seen).await;
                    let alone = alone.or_else(|lost| asked.denied(resource, lost)).map_err(failed)?;
                    decision.clone_from(&alone[0]);
                }
            }
        }
        let took = began.elapsed() / u32::try_from(resources.len().max(1)).unwrap_or(u32::MAX);
        let mut seen: Vec<&Entity> = seen.iter().map(|thing| &**thing).chain([who, tenant]).collect();
        let concluded = resources.iter().zip(decisions).map(|(resource, decision)| {
            seen.push(resource);
            let decision =
                self.access.concluded(self.principal, action, resource.name(), &seen, Timed { decision, took });
            seen.pop();
            decision
        });
        Ok(concluded.collect())
    }

    /// The decision on each of `resources`, from the same surroundings, which are added to `seen` if they are to be recorded.
    async fn answers(
        self,
        asked: &Asked<'_>,
        resources: &[Entity],
        seen: &mut Vec<Arc<Entity>>,
    ) -> Result<Vec<Decision>, Lost> {
        let Asked { rules, who, tenant, action } = *asked;
        let provider = &*self.access.0.provider;
        let Around { things, outside } = around(self.known, provider, rules, who, tenant, resources).await?;
        let others: Vec<_> = [tenant].into_iter().chain(things.iter().map(|thing| &**thing)).collect();
        let mut decisions = decided(rules, who, action, resources, &others);
        for (decision, reason) in decisions.iter_mut().zip(outside) {
            if let Some(reason) = reason {
                *decision = Decision::unfit(rules, unfit(reason));
            }
        }
        if self.access.0.log.is_recorded() {
            seen.extend(things);
        }
        Ok(decisions)
    }

    /// The thing of that name, if `action` may be done to it. One that is not there is answered as one of another tenant is.
    pub(super) async fn find(self, action: Action, name: &EntityRef) -> Result<Arc<Entity>, Denied> {
        let began = Instant::now();
        if *name == EntityRef::tenant(self.principal.tenant()) {
            return self.given(action, Entity::named(name.clone())).await;
        }
        let found = self.known.thing(&*self.access.0.provider, name).await;
        match found.map_err(|error| self.access.unavailable(action, Fault::Provider, AGAIN, error))? {
            Some(found) => {
                allowed(self.decide(action, (*found).clone()).await?)?;
                Ok(found)
            }
            None => {
                let version = self.rules(action)?.version().clone();
                let decision = Decision { is_allowed: false, policies: Vec::new(), errors: Vec::new(), version };
                let timed = Timed { decision, took: began.elapsed() };
                Err(Denied::Forbidden(self.access.concluded(self.principal, action, name, &[], timed)))
            }
        }
    }

    /// The thing itself, if `action` may be done to it.
    pub(super) async fn given(self, action: Action, thing: Entity) -> Result<Arc<Entity>, Denied> {
        let thing = Arc::new(thing);
        allowed(self.decide(action, (*thing).clone()).await?)?;
        Ok(thing)
    }

    fn rules(self, action: Action) -> Result<Snapshot<Rules>, Denied> {
        let rules = self.access.0.rules.load();
        rules.map_err(|error| self.access.unavailable(action, Fault::Policies, error.retry_in(), error.into()))
    }

    async fn who(self) -> Result<&'a Entity, BoxError> {
        if let Some(known) = self.known.principal.get() {
            return Ok(known);
        }
        let more = self.access.0.provider.principal(self.principal).await?;
        let profile = more.profile.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let entity = entity_of(self.principal).attribute("profile", Value::Record(profile));
        let entity = more.groups.into_iter().fold(entity, Entity::parent);
        Ok(self.known.principal.get_or_init(|| entity))
    }

    async fn tenant(self) -> Result<&'a Entity, BoxError> {
        if let Some(known) = self.known.tenant.get() {
            return Ok(known);
        }
        let is_suspended = self.access.0.provider.is_suspended(self.principal.tenant()).await?;
        let entity = entity_of_tenant(EntityRef::tenant(self.principal.tenant()), is_suspended);
        Ok(self.known.tenant.get_or_init(|| entity))
    }
}

/// What is the same for all things that are asked for at once.
struct Asked<'a> {
    rules: &'a Rules,
    who: &'a Entity,
    tenant: &'a Entity,
    action: Action,
}

impl Asked<'_> {
    /// What cannot be surveyed is denied.
    fn denied(&self, resources: &[Entity], lost: Lost) -> Result<Vec<Decision>, BoxError> {
        match lost {
            Lost::Provider(error) => Err(error),
            Lost::Bounds(reason) => {
                Ok(resources.iter().map(|_| Decision::unfit(self.rules, unfit(reason.clone()))).collect())
            }
        }
    }
}

/// The decision on each of `resources`.
fn decided(rules: &Rules, who: &Entity, action: Action, resources: &[Entity], others: &[&Entity]) -> Vec<Decision> {
    match resources {
        [resource] => vec![decide::one(rules, who, action, resource, others)],
        resources => decide::many(rules, who, action, resources, others),
    }
}

/// Of tenants only the names are asked with. Whether another one is suspended is nobody's business: it is isolated anyway.
fn with_what_tenants_have(resource: Entity) -> Entity {
    if resource.name().kind() == TENANT { entity_of_tenant(resource.name().clone(), false) } else { resource }
}

pub(super) fn allowed(decision: Decision) -> Result<(), Denied> {
    if decision.is_allowed { Ok(()) } else { Err(Denied::Forbidden(decision)) }
}

pub(super) fn permitted<R>(resources: Vec<R>, decisions: Vec<Decision>) -> Vec<R> {
    let answered = resources.into_iter().zip(decisions);
    answered.filter(|(_, decision)| decision.is_allowed).map(|(resource, _)| resource).collect()
}
