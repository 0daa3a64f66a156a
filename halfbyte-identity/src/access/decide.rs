use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{AuthorizationError, Authorizer, Effect, PolicyId};

use super::action::Action;
use super::alike::Alike;
use super::bases::Base;
use super::decision::{Decision, EvaluationError};
use super::entity::{Entity, EntityRef, TENANT, Value};
use super::index::{ByResource, Reads};
use super::question::{Question, acting, put, request, unfit};
use super::rules::Rules;

/// Whether `principal` may do `action` to `resource`. `others` are the things that those two refer to: the tenant, what they stand in,
/// and what policies look at through their attributes. Where the resource is one of these, it counts as it is asked for, but for the
/// principal and the tenant: what is asked for in their names is those.
pub(super) fn one(
    rules: &Rules,
    principal: &Entity,
    action: Action,
    resource: &Entity,
    others: &[&Entity],
) -> Decision {
    let decided = || {
        if let Some(error) = misnamed(principal, resource) {
            return Err(error);
        }
        let acting = acting(rules, action)?;
        let request = request(rules, acting, principal.name(), resource.name())?;
        let is_own = |entity: &Entity| entity.name() == principal.name() || entity.name().kind() == TENANT;
        let counts = |other: &&&Entity| other.name() != resource.name() || is_own(other);
        let others: Vec<&Entity> = others.iter().filter(counts).copied().collect();
        let base = match *others {
            [tenant] => rules.bases.get(rules, principal, action, tenant)?,
            _ => Arc::new(Base::new(rules, principal, action, &others)?),
        };
        let is_there = others.iter().chain([&principal]).any(|entity| entity.name() == resource.name());
        let more: &[&Entity] = if is_there { &[] } else { &[resource] };
        let entities = put(rules, principal.name(), &base.entities, more)?;
        Ok(among(rules, &base.policies, &Question { request, entities }))
    };
    of_base_if_foreign(rules, principal, resource, decided())
}

/// What is decided on a thing of another tenant. Nobody is told what the product's own policies say of that.
pub(super) fn of_base_if_foreign(
    rules: &Rules,
    principal: &Entity,
    resource: &Entity,
    decided: Result<Decision, EvaluationError>,
) -> Decision {
    let mut decision = decided.unwrap_or_else(|error| Decision::unfit(rules, error));
    if resource.get("tenant") != principal.get("tenant") {
        decision.by_base(rules);
    }
    decision
}

/// What bears the name of the principal, or of a tenant, and says that it belongs to another: it would be decided by what it is not.
fn misnamed(principal: &Entity, resource: &Entity) -> Option<EvaluationError> {
    let of = resource.get("tenant");
    let is_right = if resource.name().kind() == TENANT {
        matches!(of, Some(Value::Entity(of)) if of == resource.name())
    } else {
        resource.name() != principal.name() || of == principal.get("tenant")
    };
    (!is_right)
        .then(|| unfit(format!("what is asked for as {} has another tenant: give the thing itself", resource.name())))
}

/// One of a list, with what is around it and not around the principal alone; or why it cannot be decided.
pub(super) struct Row<'a> {
    pub(super) resource: &'a Entity,
    pub(super) around: Result<Vec<&'a Entity>, &'a str>,
}

/// The same of each of `rows`, in their order: what [`one`] says of it, for less. `others` are the things that the principal refers to,
/// the tenant and what policies name.
pub(super) fn many(
    rules: &Rules,
    principal: &Entity,
    action: Action,
    rows: &[Row<'_>],
    others: &[&Entity],
) -> Vec<Decision> {
    let mut list = List::new(rules, principal, action, rows, others).ok();
    let decided = rows.iter().map(|row| match &row.around {
        Err(reason) => Decision::unfit(rules, unfit((*reason).to_owned())),
        Ok(around) => list.as_mut().and_then(|list| list.decide(row.resource, around)).unwrap_or_else(|| {
            let others: HashMap<_, _> = others.iter().chain(around).map(|other| (other.name(), *other)).collect();
            let others: Vec<_> = others.into_values().collect();
            one(rules, principal, action, row.resource, &others)
        }),
    });
    decided.collect()
}

/// What the questions of a list have in common.
struct List<'a> {
    rules: &'a Rules,
    principal: &'a Entity,
    action: &'a super::index::Acting,
    base: Base,
    /// What is in that.
    others: HashMap<&'a EntityRef, &'a Entity>,
    /// Around any of the list, and around the principal.
    around: HashSet<&'a EntityRef>,
    alike: Alike<'a>,
    /// By what policies can tell of a resource.
    known: HashMap<Box<[u8]>, Decision>,
    key: Vec<u8>,
}

impl<'a> List<'a> {
    fn new(
        rules: &'a Rules,
        principal: &'a Entity,
        action: Action,
        rows: &[Row<'a>],
        others: &[&'a Entity],
    ) -> Result<Self, EvaluationError> {
        let base = Base::new(rules, principal, action, others)?;
        let of_rows = rows.iter().filter_map(|row| row.around.as_ref().ok()).flatten();
        let all = [principal].into_iter().chain(others.iter().chain(of_rows).copied());
        let around: HashMap<_, _> = all.map(|entity| (entity.name(), entity)).collect();
        let mut reads = Reads::default();
        base.policies.iter().for_each(|same| reads.merge(same.reads()));
        let entities: Vec<_> = around.values().copied().collect();
        let (action, alike) = (acting(rules, action)?, Alike::new(&rules.index.literals, &entities, reads));
        let around = around.into_keys().collect();
        let others = others.iter().map(|other| (other.name(), *other)).collect();
        Ok(Self { rules, principal, action, base, others, around, alike, known: HashMap::new(), key: Vec::new() })
    }

    /// `None` if it is one of those that the principal refers to, and not as it is known there; or does not fit.
    fn decide(&mut self, resource: &Entity, around: &[&Entity]) -> Option<Decision> {
        let name = resource.name();
        let known = self.others.get(name);
        if name.kind() == TENANT || name == self.principal.name() || known.is_some_and(|known| *known != resource) {
            return None;
        }
        self.rules.shapes.check(resource).ok()?;
        let is_alike = !self.around.contains(name) && self.alike.key(resource, &mut self.key);
        if is_alike && let Some(decision) = self.known.get(&*self.key) {
            return Some(decision.clone());
        }
        let request = request(self.rules, self.action, self.principal.name(), name).ok()?;
        let more: Vec<_> =
            around.iter().chain([&resource]).filter(|it| !self.others.contains_key(it.name())).copied().collect();
        let entities = put(self.rules, self.principal.name(), &self.base.entities, &more).ok()?;
        let decision = among(self.rules, &self.base.policies, &Question { request, entities });
        let decision = of_base_if_foreign(self.rules, self.principal, resource, Ok(decision));
        // An error says of which resource it is.
        if is_alike && decision.errors.is_empty() {
            self.known.insert(self.key.as_slice().into(), decision.clone());
        }
        Some(decision)
    }
}

/// Decides by the policies that may apply. The rest could neither be satisfied nor err.
fn among(rules: &Rules, of_principal: &[Arc<ByResource>], question: &Question) -> Decision {
    let mut found = Found::default();
    if let Some(resource) = question.request.resource() {
        for policy in rules.index.candidates(of_principal, resource, &question.entities) {
            match policy.applies(&question.request, &question.entities) {
                Ok(true) => found.of(policy.effect).push(policy.id.clone()),
                Ok(false) => {}
                Err(error) => {
                    found.errors.push(EvaluationError { policy: Some(policy.id.clone()), reason: reason(&error) });
                }
            }
        }
    }
    found.decision(rules)
}

/// Decides by all policies of `rules`, with Cedar's own authorizer.
pub(super) fn by_all(rules: &Rules, question: &Question) -> Decision {
    let id = |id: &PolicyId| {
        rules.origins.get(id).map_or_else(|| AsRef::<str>::as_ref(id).into(), |origin| origin.id.clone())
    };
    let response = Authorizer::new().is_authorized(&question.request, &rules.policies, &question.entities);
    let mut found = Found::default();
    let effect = match response.decision() {
        cedar_policy::Decision::Allow => Effect::Permit,
        cedar_policy::Decision::Deny => Effect::Forbid,
    };
    found.of(effect).extend(response.diagnostics().reason().map(id));
    found.errors.extend(response.diagnostics().errors().map(|error| match error {
        AuthorizationError::PolicyEvaluationError(error) => {
            EvaluationError { policy: Some(id(error.policy_id())), reason: reason(error.inner()) }
        }
    }));
    found.decision(rules)
}

/// The policies that apply, and those that cannot be evaluated.
#[derive(Default)]
struct Found {
    permits: Vec<Arc<str>>,
    forbids: Vec<Arc<str>>,
    errors: Vec<EvaluationError>,
}

impl Found {
    fn of(&mut self, effect: Effect) -> &mut Vec<Arc<str>> {
        match effect {
            Effect::Permit => &mut self.permits,
            Effect::Forbid => &mut self.forbids,
        }
    }

    /// Nothing is allowed that one policy forbids, that none permits, or where one cannot be evaluated. Cedar by itself leaves out a
    /// policy with an error, also one that would forbid.
    fn decision(self, rules: &Rules) -> Decision {
        let Self { permits, forbids, mut errors } = self;
        // A policy may have been found by several of its actions.
        errors.sort_unstable_by(|one, other| one.policy.cmp(&other.policy));
        errors.dedup_by(|one, other| one.policy == other.policy);
        let is_allowed = forbids.is_empty() && !permits.is_empty() && errors.is_empty();
        let mut policies = match (forbids.is_empty(), errors.is_empty()) {
            (false, _) => forbids,
            (true, true) => permits,
            (true, false) => Vec::new(),
        };
        policies.sort_unstable();
        policies.dedup();
        Decision { is_allowed, policies, errors, version: rules.version().clone() }
    }
}

/// What is wrong, without values: Cedar's own messages show them where one is out of bounds.
fn reason(error: &cedar_policy::EvaluationError) -> Box<str> {
    use cedar_policy::EvaluationError as Error;
    match error {
        Error::EntityDoesNotExist(_)
        | Error::EntityAttrDoesNotExist(_)
        | Error::RecordAttrDoesNotExist(_)
        | Error::FailedExtensionFunctionLookup(_)
        | Error::TypeError(_)
        | Error::WrongNumArguments(_)
        | Error::RecursionLimit(_) => error.to_string().into(),
        Error::IntegerOverflow(_) => "a number is larger than numbers can be".into(),
        Error::FailedExtensionFunctionExecution(error) => {
            format!("a value is not of the form that {} takes", error.extension_name()).into()
        }
        _ => "it cannot be evaluated".into(),
    }
}

impl Decision {
    /// No policy was asked.
    pub(super) fn unfit(rules: &Rules, error: EvaluationError) -> Self {
        Self { is_allowed: false, policies: Vec::new(), errors: vec![error], version: rules.version().clone() }
    }

    /// What the base set says alone.
    pub(super) fn by_base(&mut self, rules: &Rules) {
        let is_base = |id: &str| rules.origins.get(&PolicyId::new(id)).is_some_and(|origin| origin.is_base);
        self.policies.retain(|id| is_base(id));
        self.errors.retain(|error| error.policy.as_ref().is_none_or(|id| is_base(id)));
    }
}
