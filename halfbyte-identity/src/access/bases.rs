//! What one principal's questions have in common, kept for the next one: for a minute, as it is personal. That is the principal with
//! all that its token and the product's own provider say of it, and the tenant, 512 times for each set of policies in force. None of it
//! decides in place of what is asked for anew: it serves only one who is the very same.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use cedar_policy::Entities;
use tokio::time::Instant;

use super::action::Action;
use super::decision::EvaluationError;
use super::entity::Entity;
use super::index::ByResource;
use super::question::{acting, put, uid};
use super::rules::Rules;

/// How many are kept. What comes to a place that is taken drives out what was there.
const PLACES: u64 = 512;

/// How long one is of use.
const LASTS: Duration = Duration::from_secs(60);

/// What the questions of some principals are made of but for the resource. The same ones come again and again, and to tell Cedar who
/// asks is more than half of the work of a decision.
pub(super) struct Bases {
    places: Box<[ArcSwapOption<Kept>]>,
    hasher: RandomState,
    origin: Instant,
    /// When those that are too old go, in milliseconds from `origin`.
    cleared_at: AtomicU64,
}

struct Kept {
    action: Action,
    principal: Entity,
    tenant: Entity,
    base: Arc<Base>,
    since: Instant,
}

impl Kept {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= LASTS
    }
}

/// A question without its resource.
pub(super) struct Base {
    /// The action, the principal, the tenant and what is around them.
    pub(super) entities: Entities,
    /// Those that may apply.
    pub(super) policies: Vec<Arc<ByResource>>,
}

impl Base {
    pub(super) fn new(
        rules: &Rules,
        principal: &Entity,
        action: Action,
        others: &[&Entity],
    ) -> Result<Self, EvaluationError> {
        let action = acting(rules, action)?;
        let around: Vec<_> = [principal].into_iter().chain(others.iter().copied()).collect();
        let entities = put(rules, principal.name(), &action.entities, &around)?;
        let policies = rules.index.of_principal(action, &uid(rules, principal.name())?, &entities);
        Ok(Self { entities, policies })
    }
}

impl Bases {
    pub(super) fn new() -> Self {
        let places = (0..PLACES).map(|_| ArcSwapOption::empty()).collect();
        let cleared_at = AtomicU64::new(millis(LASTS));
        Self { places, hasher: RandomState::new(), origin: Instant::now(), cleared_at }
    }

    /// As [`Base::new`] makes it. One that is known is of the very same principal and tenant, attribute by attribute, and not older
    /// than a minute. Those that are go with the first question of anybody's that is a minute after they went last.
    pub(super) fn get(
        &self,
        rules: &Rules,
        principal: &Entity,
        action: Action,
        tenant: &Entity,
    ) -> Result<Arc<Base>, EvaluationError> {
        let now = Instant::now();
        self.clear(now);
        let hash = self.hasher.hash_one((principal.name(), action));
        let place = usize::try_from(hash % PLACES).ok().and_then(|place| self.places.get(place));
        if let Some(known) = place.map(ArcSwapOption::load).as_deref().and_then(Option::as_ref)
            && known.action == action
            && known.principal == *principal
            && known.tenant == *tenant
            && !known.is_over(now)
        {
            return Ok(known.base.clone());
        }
        let base = Arc::new(Base::new(rules, principal, action, &[tenant])?);
        if let Some(place) = place {
            let (principal, tenant, base) = (principal.clone(), tenant.clone(), base.clone());
            place.store(Some(Arc::new(Kept { action, principal, tenant, base, since: now })));
        }
        Ok(base)
    }

    fn clear(&self, now: Instant) {
        let at = millis(now.saturating_duration_since(self.origin));
        let due = self.cleared_at.load(Ordering::Relaxed);
        let next = at.saturating_add(millis(LASTS));
        let is_ours =
            at >= due && self.cleared_at.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !is_ours {
            return;
        }
        for place in &self.places {
            let kept = place.load();
            if kept.as_ref().is_some_and(|kept| kept.is_over(now)) {
                // One that was put there meanwhile stays.
                place.compare_and_swap(&kept, None);
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::entity::{EntityRef, Value};
    use crate::access::question::entity_of_tenant;
    use crate::access::source::SourceFile;

    const SCHEMA: &str = "entity Label = { tenant: HalfByte::Tenant }; action ReadLabel appliesTo { principal: HalfByte::User, resource: Label };";

    fn ann(subject: &str) -> Entity {
        let tenant = EntityRef::new("HalfByte::Tenant", "acme");
        Entity::new("HalfByte::User", "acme/ann")
            .attribute("tenant", tenant)
            .attribute("subject", subject)
            .attribute("issuer", "i")
            .attribute("scopes", Value::Set(Vec::new()))
            .attribute("profile", Value::Record(Default::default()))
    }

    #[test]
    fn what_is_kept_is_of_the_very_same_principal_and_tenant() {
        let rules = Rules::compile(&[SourceFile::new("a.cedarschema", SCHEMA)]).expect("rules");
        let acme = |is_suspended| entity_of_tenant(EntityRef::new("HalfByte::Tenant", "acme"), is_suspended);
        let get = |subject: &str, is_suspended| {
            rules.bases.get(&rules, &ann(subject), Action::new("ReadLabel"), &acme(is_suspended)).expect("it fits")
        };
        let first = get("ann", false);
        assert!(Arc::ptr_eq(&first, &get("ann", false)), "it is kept");
        for (subject, is_suspended) in [("bob", false), ("ann", true)] {
            let other = get(subject, is_suspended);
            assert!(!Arc::ptr_eq(&first, &other), "{subject}, {is_suspended}");
            assert!(Arc::ptr_eq(&other, &get(subject, is_suspended)), "the last one is kept");
        }
        let error = rules.bases.get(&rules, &ann("ann"), Action::new("Write"), &acme(false));
        assert!(error.is_err_and(|error| error.reason.contains("Write")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_of_a_principal_is_gone_after_a_minute_or_two() {
        let rules = Rules::compile(&[SourceFile::new("a.cedarschema", SCHEMA)]).expect("rules");
        let acme = entity_of_tenant(EntityRef::new("HalfByte::Tenant", "acme"), false);
        let get = |action: &'static str, principal: &Entity| {
            rules.bases.get(&rules, principal, Action::new(action), &acme).expect("it fits")
        };
        let (ann, bob) = (ann("ann"), Entity::new("HalfByte::User", "acme/bob"));
        let bob = ann.attributes().fold(bob, |bob, (name, value)| bob.attribute(name.to_owned(), value.clone()));
        let kept = || rules.bases.places.iter().filter(|place| place.load().is_some()).count();
        let wait = async |millis| tokio::time::advance(Duration::from_millis(millis)).await;

        wait(30_000).await;
        let first = get("ReadLabel", &ann);
        wait(59_999).await;
        assert!(Arc::ptr_eq(&first, &get("ReadLabel", &ann)), "of use for a minute");
        wait(1).await;
        let second = get("ReadLabel", &ann);
        assert!(!Arc::ptr_eq(&first, &second), "however often it is asked for");
        assert_eq!(Arc::strong_count(&first), 1, "nobody keeps it");

        // Nobody asks for ann any more, and she goes with what another one asks.
        wait(70_000).await;
        get("ReadLabel", &bob);
        assert_eq!((kept(), Arc::strong_count(&second)), (1, 1));
        wait(59_999).await;
        get("ReadLabel", &bob);
        assert_eq!(kept(), 1);
    }
}
