//! Policies made ready to be evaluated.

use std::sync::Arc;

use cedar_policy::pst::Clause;
use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Effect, Entities, EntityTypeName, EntityUid, EvalResult,
    EvaluationError, Expression, Policy, PolicySet, PrincipalConstraint, Request, ResourceConstraint, eval_expression,
};
use serde_json::Value as Json;

/// A policy that the [index](super::index) has found, with all that is to be done for one question: Cedar's authorizer puts the scope
/// and the conditions of a policy together anew for each, and tells of policies that do not apply.
pub(super) struct Ready {
    pub(super) id: Arc<str>,
    pub(super) effect: Effect,
    principal: Scope,
    action: Option<EntityUid>,
    resource: Scope,
    condition: Condition,
}

/// What a scope asks for that is more than the key which the index finds it by.
enum Scope {
    /// Nothing.
    Found,
    /// Itself, where the key may have been met further out.
    Itself(EntityUid),
    /// A type, where the key is what it is to be in.
    Type(EntityTypeName),
}

enum Condition {
    Always,
    When(Expression),
    /// One that cannot be told from the rest of its policy: Cedar's authorizer evaluates it.
    Whole(Box<PolicySet>),
}

impl Ready {
    /// `conditions` are those of the policy in Cedar's JSON form.
    pub(super) fn new(policy: &Policy, id: Arc<str>, conditions: Option<&Json>) -> Self {
        Self {
            id,
            effect: policy.effect(),
            principal: match policy.principal_constraint() {
                PrincipalConstraint::Any | PrincipalConstraint::Is(_) | PrincipalConstraint::In(_) => Scope::Found,
                PrincipalConstraint::Eq(uid) => Scope::Itself(uid),
                PrincipalConstraint::IsIn(kind, _) => Scope::Type(kind),
            },
            action: match policy.action_constraint() {
                ActionConstraint::Any | ActionConstraint::In(_) => None,
                ActionConstraint::Eq(uid) => Some(uid),
            },
            resource: match policy.resource_constraint() {
                ResourceConstraint::Any | ResourceConstraint::Is(_) | ResourceConstraint::In(_) => Scope::Found,
                ResourceConstraint::Eq(uid) => Scope::Itself(uid),
                ResourceConstraint::IsIn(kind, _) => Scope::Type(kind),
            },
            condition: Condition::of(policy, conditions),
        }
    }

    /// Whether the policy applies.
    pub(super) fn applies(&self, request: &Request, entities: &Entities) -> Result<bool, Box<EvaluationError>> {
        let is_action = self.action.as_ref().is_none_or(|uid| request.action() == Some(uid));
        if !is_action || !self.principal.fits(request.principal()) || !self.resource.fits(request.resource()) {
            return Ok(false);
        }
        match &self.condition {
            Condition::Always => Ok(true),
            // That it is a Bool the schema has made sure of.
            Condition::When(condition) => Ok(eval_expression(request, entities, condition)? == EvalResult::Bool(true)),
            Condition::Whole(policy) => {
                let response = Authorizer::new().is_authorized(request, policy, entities);
                match response.diagnostics().errors().next() {
                    Some(AuthorizationError::PolicyEvaluationError(error)) => Err(Box::new(error.inner().clone())),
                    None => Ok(response.diagnostics().reason().next().is_some()),
                }
            }
        }
    }
}

impl Scope {
    fn fits(&self, uid: Option<&EntityUid>) -> bool {
        match self {
            Self::Found => true,
            Self::Itself(itself) => uid == Some(itself),
            Self::Type(kind) => uid.is_some_and(|uid| uid.type_name() == kind),
        }
    }
}

impl Condition {
    fn of(policy: &Policy, conditions: Option<&Json>) -> Self {
        if !policy.has_non_scope_constraint() {
            return Self::Always;
        }
        Self::apart(policy, conditions).map_or_else(
            || Self::Whole(Box::new(PolicySet::from_policies([policy.clone()]).expect("one policy, and no template"))),
            Self::When,
        )
    }

    /// The conditions as one expression, if they read the same by themselves: the text of one is made of another form of the policy than
    /// Cedar evaluates, and what that form cannot say would be lost.
    fn apart(policy: &Policy, conditions: Option<&Json>) -> Option<Expression> {
        let (policy, conditions) = (policy.to_pst().ok()?, conditions?.as_array()?);
        let clauses: Vec<_> = policy.body().clauses().iter().collect();
        if clauses.len() != conditions.len() {
            return None;
        }
        let mut whole = String::new();
        for (clause, condition) in clauses.into_iter().zip(conditions) {
            let again = Policy::parse(None, format!("permit (principal, action, resource) {clause};")).ok()?;
            if again.to_json().ok()?.get("conditions")?.as_array()?.as_slice() != std::slice::from_ref(condition) {
                return None;
            }
            let text = match clause {
                Clause::When(condition) => format!("({condition})"),
                Clause::Unless(condition) => format!("!({condition})"),
            };
            whole = if whole.is_empty() { text } else { format!("{whole} && {text}") };
        }
        whole.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use cedar_policy::{Context, Entity, RestrictedExpression};

    use super::*;

    const CONDITIONS: [&str; 12] = [
        "",
        "when { resource.n > 1 }",
        "unless { resource.n > 1 }",
        "when { resource.n > 1 } unless { resource.n > 2 } when { resource has name }",
        r#"when { resource["odd \"name\" \u{1F600}"] == "a\nb" || resource.name like "a*\*" }"#,
        r#"when { if resource has deep.er then resource.deep.er == 1 else [1, "x", User::"b"].contains(principal) }"#,
        r#"when { ip("10.0.0.1").isInRange(ip("10.0.0.0/8")) && decimal("1.5").lessThan(decimal("2.0")) }"#,
        r#"when { {a: 1, "b c": principal} == {a: 1, "b c": User::"a"} }"#,
        "when { -1 - -resource.n * 2 < 3 && !!(1 == 1) }",
        r#"when { principal is User in User::"a" && resource in [User::"a", Label::"l"] }"#,
        "when { resource.nothing == 1 }",
        "unless { resource.n + 9223372036854775807 > 0 }",
    ];

    fn uid(text: &str) -> EntityUid {
        text.parse().expect("a name")
    }

    #[test]
    fn conditions_by_themselves_say_what_cedar_says_of_the_whole_policy() {
        let number = ("n".to_owned(), RestrictedExpression::new_long(2));
        let name = ("name".to_owned(), RestrictedExpression::new_string("a*".to_owned()));
        let deep = RestrictedExpression::new_record([("er".to_owned(), RestrictedExpression::new_long(1))]);
        let deep = ("deep".to_owned(), deep.expect("a record"));
        let odd = ("odd \"name\" \u{1F600}".to_owned(), RestrictedExpression::new_string("a".to_owned()));
        let label = Entity::new(uid(r#"Label::"l""#), [number, name, deep, odd].into(), [uid(r#"Box::"b""#)].into());
        let ann = Entity::new_no_attrs(uid(r#"User::"a""#), [].into());
        let entities = Entities::from_entities([label.expect("a label"), ann], None).expect("entities");
        let (ann, read, label) = (uid(r#"User::"a""#), uid(r#"Action::"Read""#), uid(r#"Label::"l""#));
        let request = Request::new(ann, read, label, Context::empty(), None).expect("a request");
        let mut seen = [0, 0, 0];
        for condition in CONDITIONS {
            let text = format!("permit (principal, action, resource) {condition};");
            let policy = Policy::parse(None, text).expect("a policy");
            let ready = made(&policy);
            assert!(!matches!(ready.condition, Condition::Whole(_)), "{condition} is not told from its policy");
            let whole = Box::new(PolicySet::from_policies([policy]).expect("a set"));
            let whole = Ready { condition: Condition::Whole(whole), ..made(&anything()) };
            let outcome = |ready: &Ready| ready.applies(&request, &entities).map_err(|error| error.to_string());
            assert_eq!(outcome(&ready), outcome(&whole), "{condition}");
            *seen.get_mut(outcome(&ready).map_or(2, usize::from)).expect("three outcomes") += 1;
        }
        assert!(seen.iter().all(|count| *count > 1), "all outcomes are met: {seen:?}");
    }

    fn made(policy: &Policy) -> Ready {
        let json = policy.to_json().expect("JSON");
        Ready::new(policy, "p".into(), json.get("conditions"))
    }

    #[test]
    fn a_condition_that_does_not_read_the_same_by_itself_is_left_to_cedar() {
        let policy = |condition: &str| {
            Policy::parse(None, format!("permit (principal, action, resource) {condition};")).expect("a policy")
        };
        let two = policy("when { resource.n > 1 } unless { resource.n > 2 }");
        for (other, is_whole) in [
            ("when { resource.n > 1 } unless { resource.n > 2 }", false),
            ("when { resource.n > 1 } unless { resource.n > 3 }", true),
            ("when { resource.n > 1 } when { resource.n > 2 }", true),
            ("when { resource.n > 1 }", true),
        ] {
            let json = policy(other).to_json().expect("JSON");
            let ready = Ready::new(&two, "p".into(), json.get("conditions"));
            assert_eq!(matches!(ready.condition, Condition::Whole(_)), is_whole, "{other}");
        }
        assert!(matches!(Ready::new(&two, "p".into(), None).condition, Condition::Whole(_)));
    }

    fn anything() -> Policy {
        Policy::parse(None, "permit (principal, action, resource);").expect("a policy")
    }

    #[test]
    fn of_a_scope_what_the_key_does_not_say_is_asked() {
        let entities =
            Entities::from_entities([Entity::new_no_attrs(uid(r#"Label::"l""#), [uid(r#"Box::"b""#)].into())], None);
        let entities = entities.expect("entities");
        let request =
            Request::new(uid(r#"User::"a""#), uid(r#"Action::"Read""#), uid(r#"Label::"l""#), Context::empty(), None);
        let request = request.expect("a request");
        for (scope, expected) in [
            ("principal, action, resource", true),
            (r#"principal == User::"a", action == Action::"Read", resource == Label::"l""#, true),
            (r#"principal == User::"b", action, resource"#, false),
            (r#"principal, action == Action::"Write", resource"#, false),
            (r#"principal, action, resource == Box::"b""#, false),
            (r#"principal, action, resource is Label in Box::"b""#, true),
            (r#"principal, action, resource is Tray in Box::"b""#, false),
            (r#"principal is Robot in User::"a", action, resource"#, false),
        ] {
            let policy = Policy::parse(None, format!("permit ({scope});")).expect("a policy");
            let applies = made(&policy).applies(&request, &entities);
            assert_eq!(applies.expect("no condition"), expected, "{scope}");
        }
    }
}
