use cedar_policy::{AuthorizationError, Authorizer, PolicyId};
use std::sync::Arc;

use super::decision::{Decision, EvaluationError};
use super::question::Question;
use super::rules::Rules;

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
                EvaluationError { policy: Some(id(error.policy_id())), reason: reason(error.inner()) }
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
