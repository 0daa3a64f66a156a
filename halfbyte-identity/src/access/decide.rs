use std::sync::Arc;

use cedar_policy::{AuthorizationError, Authorizer, PolicyId};

use super::action::Action;
use super::decision::{Decision, EvaluationError};
use super::entity::Entity;
use super::question::Question;
use super::rules::Rules;

/// Whether `principal` may do `action` to `resource`. `others` are the things that those two refer to: the tenant, and what they
/// stand in; where the resource is one of these, that one counts.
pub(super) fn one(
    rules: &Rules,
    principal: &Entity,
    action: Action,
    resource: &Entity,
    others: &[&Entity],
) -> Decision {
    let mut entities: Vec<&Entity> = Vec::with_capacity(others.len() + 2);
    entities.push(principal);
    entities.extend(others);
    if entities.iter().all(|entity| entity.name() != resource.name()) {
        entities.push(resource);
    }
    match Question::new(rules, principal, action, resource.name(), &entities) {
        Ok(question) => by_all(rules, &question),
        Err(error) => Decision::unfit(rules, error),
    }
}

/// The same of each of `resources`, in their order: what [`one`] says of it, for less.
#[cfg_attr(not(test), expect(dead_code, reason = "for lists, which come"))]
pub(super) fn many(
    rules: &Rules,
    principal: &Entity,
    action: Action,
    resources: &[Entity],
    others: &[&Entity],
) -> Vec<Decision> {
    resources.iter().map(|resource| one(rules, principal, action, resource, others)).collect()
}

/// Decides by all policies of `rules`: nothing is allowed that one of them forbids, that none permits, or where one cannot be
/// evaluated. Cedar by itself leaves out a policy with an error, also one that would forbid.
pub(super) fn by_all(rules: &Rules, question: &Question) -> Decision {
    let response = Authorizer::new().is_authorized(&question.request, &rules.policies, &question.entities);
    let diagnostics = response.diagnostics();
    let id = |id: &PolicyId| {
        rules.origins.get(id).map_or_else(|| AsRef::<str>::as_ref(id).into(), |origin| origin.id.clone())
    };
    let mut policies: Vec<Arc<str>> = diagnostics.reason().map(id).collect();
    policies.sort_unstable();
    let mut errors: Vec<_> = diagnostics
        .errors()
        .map(|error| match error {
            AuthorizationError::PolicyEvaluationError(error) => {
                EvaluationError { policy: Some(id(error.policy_id())), reason: error.inner().to_string().into() }
            }
        })
        .collect();
    errors.sort_unstable_by(|one, other| one.policy.cmp(&other.policy));
    let is_allowed = response.decision() == cedar_policy::Decision::Allow && errors.is_empty();
    if !errors.is_empty() && response.decision() == cedar_policy::Decision::Allow {
        policies.clear();
    }
    Decision { is_allowed, policies, errors, version: rules.version().clone() }
}

impl Decision {
    /// The question does not fit the schema.
    pub(super) fn unfit(rules: &Rules, error: EvaluationError) -> Self {
        Self { is_allowed: false, policies: Vec::new(), errors: vec![error], version: rules.version().clone() }
    }
}
