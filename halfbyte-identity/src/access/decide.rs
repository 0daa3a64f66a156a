use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{AuthorizationError, Authorizer, PolicyId, PolicySet};

use super::action::Action;
use super::alike::Alike;
use super::decision::{Decision, EvaluationError};
use super::entity::Entity;
use super::index::{ByResource, Reads};
use super::question::{Question, acting, put, request};
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
        Ok(question) => by_candidates(rules, action, &question),
        Err(error) => Decision::unfit(rules, error),
    }
}

/// The same of each of `resources`, in their order: what [`one`] says of it, for less.
pub(super) fn many(
    rules: &Rules,
    principal: &Entity,
    action: Action,
    resources: &[Entity],
    others: &[&Entity],
) -> Vec<Decision> {
    let mut list = List::new(rules, principal, action, others).ok();
    let mut decide = |resource| list.as_mut().and_then(|list| list.decide(resource));
    resources
        .iter()
        .map(|resource| decide(resource).unwrap_or_else(|| one(rules, principal, action, resource, others)))
        .collect()
}

/// What the questions of a list have in common.
struct List<'a> {
    rules: &'a Rules,
    principal: &'a Entity,
    action: &'a super::index::Acting,
    /// All but the resource.
    entities: cedar_policy::Entities,
    around: Vec<&'a Entity>,
    of_principal: Vec<&'a ByResource>,
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
        others: &[&'a Entity],
    ) -> Result<Self, EvaluationError> {
        let action = acting(rules, action)?;
        let around: Vec<_> = [principal].into_iter().chain(others.iter().copied()).collect();
        let entities = put(rules, principal.name(), &action.entities, &around)?;
        let of_principal = rules.index.of_principal(action, &super::question::uid(rules, principal.name())?, &entities);
        let mut reads = Reads::default();
        of_principal.iter().for_each(|same| reads.merge(same.reads()));
        let alike = Alike::new(&rules.index.literals, &around, reads);
        let known = HashMap::new();
        Ok(Self { rules, principal, action, entities, around, of_principal, alike, known, key: Vec::new() })
    }

    /// `None` if there is something of its own about it.
    fn decide(&mut self, resource: &Entity) -> Option<Decision> {
        if self.around.iter().any(|entity| entity.name() == resource.name()) {
            return None;
        }
        self.rules.shapes.check(resource).ok()?;
        let is_alike = self.alike.key(resource, &mut self.key);
        if is_alike && let Some(decision) = self.known.get(&*self.key) {
            return Some(decision.clone());
        }
        let request = request(self.rules, self.action, self.principal.name(), resource.name()).ok()?;
        let question =
            Question { request, entities: put(self.rules, self.principal.name(), &self.entities, &[resource]).ok()? };
        let decision = among(self.rules, &self.of_principal, &question);
        // An error says of which resource it is.
        if is_alike && decision.errors.is_empty() {
            self.known.insert(self.key.as_slice().into(), decision.clone());
        }
        Some(decision)
    }
}

/// Decides by the policies that may apply. The rest could neither be satisfied nor err.
fn by_candidates(rules: &Rules, action: Action, question: &Question) -> Decision {
    let found = acting(rules, action).ok().zip(question.request.principal());
    let of_principal = found.map(|(action, principal)| rules.index.of_principal(action, principal, &question.entities));
    among(rules, &of_principal.unwrap_or_default(), question)
}

fn among(rules: &Rules, of_principal: &[&ByResource], question: &Question) -> Decision {
    let resource = question.request.resource();
    let sets = resource.map(|resource| rules.index.candidates(of_principal, resource, &question.entities));
    by_sets(rules, sets.unwrap_or_default(), question)
}

/// Decides by all policies of `rules`: nothing is allowed that one of them forbids, that none permits, or where one cannot be
/// evaluated. Cedar by itself leaves out a policy with an error, also one that would forbid.
pub(super) fn by_all(rules: &Rules, question: &Question) -> Decision {
    by_sets(rules, [&rules.policies], question)
}

fn by_sets<'a>(rules: &Rules, sets: impl IntoIterator<Item = &'a PolicySet>, question: &Question) -> Decision {
    let id = |id: &PolicyId| {
        rules.origins.get(id).map_or_else(|| AsRef::<str>::as_ref(id).into(), |origin| origin.id.clone())
    };
    let (mut permits, mut forbids, mut errors) = (Vec::<Arc<str>>::new(), Vec::new(), Vec::new());
    let authorizer = Authorizer::new();
    for set in sets {
        let response = authorizer.is_authorized(&question.request, set, &question.entities);
        let deciding = match response.decision() {
            cedar_policy::Decision::Allow => &mut permits,
            cedar_policy::Decision::Deny => &mut forbids,
        };
        deciding.extend(response.diagnostics().reason().map(id));
        errors.extend(response.diagnostics().errors().map(|error| match error {
            AuthorizationError::PolicyEvaluationError(error) => {
                EvaluationError { policy: Some(id(error.policy_id())), reason: reason(error.inner()) }
            }
        }));
    }
    // A policy may stand in several sets.
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
    /// The question does not fit the schema.
    pub(super) fn unfit(rules: &Rules, error: EvaluationError) -> Self {
        Self { is_allowed: false, policies: Vec::new(), errors: vec![error], version: rules.version().clone() }
    }
}
