use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::{BoxError, Live, Principal, Problem};
use tokio::time::Instant;

use super::action::Action;
use super::decide;
use super::decision::{Decision, Timed};
use super::entity::{Entity, EntityRef, Resource, Value};
use super::log::{Concluded, DecisionLog, Log};
use super::provider::{EntityProvider, Erased};
use super::question::{Question, entity_of, entity_of_tenant};
use super::rules::Rules;

/// The access control of one product. Cheap to clone.
#[derive(Clone)]
pub struct Access(Arc<Inner>, Log);

struct Inner {
    rules: Live<Rules>,
    provider: Box<dyn Erased>,
}

impl Access {
    /// Decides by `rules`, with what `provider` knows.
    pub fn new(rules: Live<Rules>, provider: impl EntityProvider) -> Self {
        Self(Arc::new(Inner { rules, provider: Box::new(provider) }), Log::default())
    }

    /// Decides by rules that never change, for tests and tools.
    pub fn fixed(rules: Rules) -> Self {
        Self::new(Live::fixed("access", rules), ())
    }

    /// Tells of decisions by `log`, and not by the default one.
    #[must_use]
    pub fn log(self, log: DecisionLog) -> Self {
        Self(self.0, Log::new(log))
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
        let decision = self.decide(principal, action, resource).await?;
        if decision.is_allowed { Ok(()) } else { Err(Denied::Forbidden(decision)) }
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
        let began = Instant::now();
        let resource = resource.entity();
        let who = self.principal(principal).await?;
        let tenant_name = EntityRef::tenant(principal.tenant());
        let is_suspended = self.0.provider.is_suspended(principal.tenant()).await.map_err(Denied::provider)?;
        let tenant = entity_of_tenant(tenant_name.clone(), is_suspended);
        let rules = self
            .0
            .rules
            .load()
            .map_err(|error| Denied::Unavailable { retry_in: error.retry_in(), source: error.into() })?;
        let mut entities = vec![&who, &tenant];
        if *resource.name() != tenant_name {
            entities.push(&resource);
        }
        let decision = match Question::new(&rules, &who, action, resource.name(), &entities) {
            Ok(question) => decide::by_all(&rules, &question),
            Err(error) => Decision::unfit(&rules, error),
        };
        let Timed { decision, took } = Timed { decision, took: began.elapsed() };
        self.1.concluded(&Concluded {
            principal,
            action: action.name(),
            resource: resource.name(),
            seen: &entities,
            decision: &decision,
            took,
        });
        Ok(decision)
    }

    async fn principal(&self, principal: &Principal) -> Result<Entity, Denied> {
        let known = self.0.provider.principal(principal).await.map_err(Denied::provider)?;
        let profile = known.profile.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let entity = entity_of(principal).attribute("profile", Value::Record(profile));
        Ok(known.groups.into_iter().fold(entity, Entity::parent))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Access").field(&self.0.rules).finish()
    }
}

/// Why something may not be done.
#[derive(Debug)]
#[non_exhaustive]
pub enum Denied {
    /// Policies say no, or one of them could not be evaluated.
    Forbidden(Decision),
    /// There are no policies, or the product's own provider failed.
    Unavailable {
        /// When it makes sense to ask again.
        retry_in: Duration,
        /// Why.
        source: BoxError,
    },
}

/// When to ask again after the product's own provider failed.
const AGAIN: Duration = Duration::from_secs(1);

impl Denied {
    fn provider(source: BoxError) -> Self {
        Self::Unavailable { retry_in: AGAIN, source }
    }

    /// The refusal that a client sees: `forbidden` or `unavailable`. It does not say which policy.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Forbidden(_) => Problem::forbidden("the policies of this service do not permit it"),
            Self::Unavailable { retry_in, .. } => Problem::unavailable(*retry_in),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(_) => f.write_str("the policies do not permit it"),
            Self::Unavailable { .. } => f.write_str("it cannot be decided now"),
        }
    }
}

impl std::error::Error for Denied {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Forbidden(_) => None,
            Self::Unavailable { source, .. } => Some(&**source),
        }
    }
}
