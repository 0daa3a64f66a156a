use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::live::Snapshot;
use halfbyte_core::{BoxError, Live, Principal};
use opentelemetry::global;
use opentelemetry::metrics::Meter;
use tokio::time::Instant;

use super::action::Action;
use super::around::{Around, Known, Lost, around};
use super::asked;
use super::checks::Checks;
use super::decide::{self, Row};
use super::decision::Decision;
use super::denied::Denied;
use super::entity::{Entity, EntityRef, Resource, TENANT, Value};
use super::explain::Explanation;
use super::follows::Follows;
use super::layer::AuthorizeLayer;
use super::log::{Asker, DecisionLog, Log, Record};
use super::metrics::{Fault, Metrics};
use super::provider::{EntityProvider, Erased};
use super::question::{entity_of, entity_of_tenant, unfit};
use super::rules::Rules;
use super::seen::Seen;

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

/// The base set permits nothing: to deny everything would look as if somebody had said so.
const NO_POLICIES: &str =
    "there are no policies but those of the base set, which permit nothing: give the product's own";

/// When to ask again after the product's own provider failed, or without policies.
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

    /// Why `principal` may do `action` to `resource`, or may not: what [`decide`](Self::decide) would decide now, by the same policies
    /// and with all that the provider knows, in words that a person can act on. Nobody is told of it as of a decision.
    ///
    /// For a test, a tool, or a route of the product's own people, which it must be guarded as: it quotes policies and says which of
    /// their conditions do not hold. It looks at each policy about the action, so it is not for every request.
    ///
    /// ```
    /// # use halfbyte_core::Principal;
    /// use halfbyte_identity::access::{Access, Action, Denied, Entity};
    ///
    /// const READ_LABEL: Action = Action::new("ReadLabel");
    ///
    /// /// Support asks on behalf of somebody: `Principal::builder(subject, tenant, expires)` with the roles that he says he has.
    /// async fn why(access: &Access, somebody: &Principal, label: &Entity) -> Result<String, Denied> {
    ///     Ok(access.explain(somebody, READ_LABEL, label).await?.to_string())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Denied::Unavailable`]. Cancel safe.
    pub async fn explain(
        &self,
        principal: &Principal,
        action: Action,
        resource: &(impl Resource + Sync),
    ) -> Result<Explanation, Denied> {
        let resource = resource.entity();
        self.asking(principal, &Known::default()).explain(action, resource, false).await
    }

    pub(super) fn asking<'a>(&'a self, principal: &'a Principal, known: &'a Known) -> Asking<'a> {
        Asking { access: self, principal, known }
    }

    /// Whether `other` is a clone of it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Every decision passes here, once.
    fn count(&self, action: Action, decision: &Decision) {
        self.0.metrics.decided(action, decision.is_allowed);
        for error in &decision.errors {
            self.0.metrics.failed(action, error.policy.as_ref().map_or(Fault::Question, |_| Fault::Policy));
        }
    }

    /// Tells of a request that does not say what it asks for: no policy was asked, and none needs to be there.
    pub(super) fn unclear(&self, principal: &Principal, action: Action) -> Denied {
        let version = self.0.rules.load().map_or_else(|_| "".into(), |rules| rules.version().clone());
        let decision = Decision { is_allowed: false, policies: Vec::new(), errors: Vec::new(), version };
        let asker = Asker { principal, action: action.name(), ended: Instant::now(), took: Duration::ZERO };
        self.0.log.concluded(&asker, &Record::nothing(), &decision, Vec::new);
        self.count(action, &decision);
        Denied::Forbidden(decision)
    }

    fn unavailable(&self, action: Action, fault: Fault, retry_in: Duration, source: BoxError) -> Denied {
        self.0.metrics.failed(action, fault);
        self.0.log.unavailable(action, fault.as_str(), &*source);
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
        let is_kept = self.access.0.log.is_recorded();
        let mut judged = self.judge(action, vec![resource], is_kept).await?;
        let decision = judged.decisions.pop().expect("a decision on each");
        let resource = &judged.resources[0];
        self.access
            .0
            .log
            .concluded(&self.asker(action, &judged), resource.name(), &decision, || judged.seen().of(resource));
        self.access.count(action, &decision);
        Ok(decision)
    }

    pub(super) async fn decide_all(self, action: Action, resources: Vec<Entity>) -> Result<Vec<Decision>, Denied> {
        let is_kept = self.access.0.log.is_recorded();
        let judged = self.judge(action, resources, is_kept).await?;
        self.access.0.log.listed(&self.asker(action, &judged), &judged.resources, &judged.decisions, || judged.seen());
        judged.decisions.iter().for_each(|decision| self.access.count(action, decision));
        Ok(judged.decisions)
    }

    /// What would be decided, and why. Nobody is told.
    pub(super) async fn explain(
        self,
        action: Action,
        resource: Entity,
        with_values: bool,
    ) -> Result<Explanation, Denied> {
        let mut judged = self.judge(action, vec![resource], true).await?;
        let decision = judged.decisions.pop().expect("a decision on each");
        let resource = &judged.resources[0];
        let mut seen = judged.seen().of(resource);
        // The principal comes first.
        let others = seen.split_off(1);
        let asked = asked::Asked::seen(judged.who, action.name(), resource.name(), &others);
        Ok(judged.rules.explained(&asked, decision, with_values))
    }

    fn asker(self, action: Action, judged: &Judged<'a>) -> Asker<'a> {
        let Judged { ended, took, .. } = *judged;
        Asker { principal: self.principal, action: action.name(), ended, took }
    }

    /// Decides on each of `resources`. What things stand in stays in the answer if it `is_kept`.
    async fn judge(self, action: Action, resources: Vec<Entity>, is_kept: bool) -> Result<Judged<'a>, Denied> {
        let began = Instant::now();
        // One set of policies says what must be known, and decides.
        let rules = self.rules(action)?;
        let failed = |error| self.access.unavailable(action, Fault::Provider, AGAIN, error);
        let who = self.who().await.map_err(failed)?;
        let tenant = self.tenant().await.map_err(failed)?;
        let resources: Vec<_> = resources.into_iter().map(with_what_tenants_have).collect();
        let asked = Asked { rules: &rules, who, tenant, action, is_kept };
        let mut things = Vec::new();
        let decisions = match self.answers(&asked, &resources, &mut things).await {
            // One of many has too much around it: the others are not denied for it.
            Err(Lost::Unfit(_)) if resources.len() > 1 => {
                let mut decisions = Vec::with_capacity(resources.len());
                for resource in resources.chunks(1) {
                    let alone = self.answers(&asked, resource, &mut things).await;
                    decisions.extend(alone.or_else(|lost| asked.denied(resource, lost)).map_err(failed)?);
                }
                decisions
            }
            answers => answers.or_else(|lost| asked.denied(&resources, lost)).map_err(failed)?,
        };
        let ended = Instant::now();
        let took = (ended - began) / u32::try_from(resources.len().max(1)).unwrap_or(u32::MAX);
        Ok(Judged { rules, who, tenant, resources, decisions, things, ended, took })
    }

    /// The decision on each of `resources`, from the same surroundings, which are added to `seen` if they are to be kept.
    async fn answers(
        self,
        asked: &Asked<'_>,
        resources: &[Entity],
        seen: &mut Vec<Arc<Entity>>,
    ) -> Result<Vec<Decision>, Lost> {
        let Asked { rules, who, tenant, action, is_kept } = *asked;
        let Around { things, of_who, of_each } = self.around(rules, action, (who, tenant), resources).await?;
        let decisions = match resources {
            [resource] => {
                let others: Vec<_> = [tenant].into_iter().chain(things.iter().map(|thing| &**thing)).collect();
                vec![decide::one(rules, who, action, resource, &others)]
            }
            resources => {
                let others: Vec<_> = [tenant].into_iter().chain(of_who.iter().map(|thing| &**thing)).collect();
                let around = of_each.iter().map(|around| match around {
                    Ok(things) => Ok(things.iter().map(|thing| &**thing).collect()),
                    Err(reason) => Err(reason.as_str()),
                });
                let rows: Vec<_> =
                    resources.iter().zip(around).map(|(resource, around)| Row { resource, around }).collect();
                decide::many(rules, who, action, &rows, &others)
            }
        };
        if is_kept {
            seen.extend(things);
        }
        Ok(decisions)
    }

    async fn around(
        self,
        rules: &Rules,
        action: Action,
        who: (&Entity, &Entity),
        resources: &[Entity],
    ) -> Result<Around, Lost> {
        let nothing = Follows::default();
        let follows = rules.index.action(action.name()).map_or(&nothing, |action| &action.follows);
        around(self.known, &*self.access.0.provider, (rules, follows), who, resources).await
    }

    /// The thing of that name, if `action` may be done to it. One that is not there is answered as one of another tenant is, after the
    /// same calls to the provider.
    pub(super) async fn find(self, action: Action, name: &EntityRef) -> Result<Arc<Entity>, Denied> {
        let began = Instant::now();
        if *name == EntityRef::tenant(self.principal.tenant()) {
            return self.given(action, Entity::named(name.clone())).await;
        }
        let rules = self.rules(action)?;
        let failed = |error| self.access.unavailable(action, Fault::Provider, AGAIN, error);
        let who = self.who().await.map_err(failed)?;
        let tenant = self.tenant().await.map_err(failed)?;
        match self.known.thing(&*self.access.0.provider, name).await.map_err(failed)? {
            Some(found) => {
                allowed(self.decide(action, (*found).clone()).await?)?;
                Ok(found)
            }
            None => {
                // What a thing of another tenant has around it is not asked for; what the principal has is.
                match self.around(&rules, action, (who, tenant), &[]).await {
                    Err(Lost::Provider(error)) => return Err(failed(error)),
                    Ok(_) | Err(Lost::Unfit(_) | Lost::UnfitWho(_)) => {}
                }
                let version = rules.version().clone();
                let decision = Decision { is_allowed: false, policies: Vec::new(), errors: Vec::new(), version };
                let ended = Instant::now();
                let asker = Asker { principal: self.principal, action: action.name(), ended, took: ended - began };
                // What no policy decided, none can decide again.
                self.access.0.log.concluded(&asker, name, &decision, Vec::new);
                self.access.count(action, &decision);
                Err(Denied::Forbidden(decision))
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
        let unavailable = |retry_in, error| self.access.unavailable(action, Fault::Policies, retry_in, error);
        let rules = self.access.0.rules.load();
        let rules = rules.map_err(|error| unavailable(error.retry_in(), error.into()))?;
        if rules.has_product_policies() { Ok(rules) } else { Err(unavailable(AGAIN, NO_POLICIES.into())) }
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
    /// The surroundings are wanted afterwards.
    is_kept: bool,
}

/// What was decided, by which policies and on what.
struct Judged<'a> {
    rules: Snapshot<Rules>,
    who: &'a Entity,
    tenant: &'a Entity,
    resources: Vec<Entity>,
    /// On each of them.
    decisions: Vec<Decision>,
    /// What they and the principal refer to, if it is kept.
    things: Vec<Arc<Entity>>,
    ended: Instant,
    /// For each of them.
    took: Duration,
}

impl Judged<'_> {
    fn seen(&self) -> Seen<'_> {
        Seen::new(&self.rules, self.who, self.tenant, &self.things)
    }
}

impl Asked<'_> {
    /// What cannot be surveyed is denied.
    fn denied(&self, resources: &[Entity], lost: Lost) -> Result<Vec<Decision>, BoxError> {
        match lost {
            Lost::Provider(error) => Err(error),
            Lost::Unfit(reason) | Lost::UnfitWho(reason) => {
                Ok(resources.iter().map(|_| Decision::unfit(self.rules, unfit(reason.clone()))).collect())
            }
        }
    }
}

/// Of tenants only the names are asked with. Whether another one is suspended is nobody's business: it is isolated anyway. One that says
/// it is of another tenant than itself is left as it is, and denied.
fn with_what_tenants_have(resource: Entity) -> Entity {
    let is_tenant = resource.name().kind() == TENANT;
    let is_itself = |of: &Value| matches!(of, Value::Entity(of) if of == resource.name());
    if is_tenant && resource.get("tenant").is_none_or(is_itself) {
        return entity_of_tenant(resource.name().clone(), false);
    }
    resource
}

pub(super) fn allowed(decision: Decision) -> Result<(), Denied> {
    if decision.is_allowed { Ok(()) } else { Err(Denied::Forbidden(decision)) }
}

pub(super) fn permitted<R>(resources: Vec<R>, decisions: Vec<Decision>) -> Vec<R> {
    let answered = resources.into_iter().zip(decisions);
    answered.filter(|(_, decision)| decision.is_allowed).map(|(resource, _)| resource).collect()
}
