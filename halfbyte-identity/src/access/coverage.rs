//! Whether the actions of the product's code, its schema and its policies are the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{Effect, Policy, RequestEnv};

use super::action::Action;
use super::rules::{Origin, Rules};
use super::schema::name_of;
use super::source::Finding;

impl Rules {
    /// The actions that can be asked for, in order, as constants name them: those of the schema that apply to something.
    pub fn declared_actions(&self) -> impl Iterator<Item = &str> {
        self.actions.keys().map(AsRef::as_ref)
    }

    /// What of `actions`, all that the product's code asks for, does not go with the schema and the policies: an action that the
    /// schema does not have; one that no policy of the product can permit; one of the schema that the code never asks for.
    /// Nothing is found if they go together.
    pub fn check_actions(&self, actions: &[Action]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for action in actions.iter().filter(|action| !self.actions.contains_key(action.name())) {
            let reason = format!(
                "the product asks for the action {action}, which no schema declares for a principal and a resource: declare it, or it is always refused"
            );
            findings.push(Finding { file: Arc::default(), line: 0, reason: reason.into() });
        }
        let permitted = self.permitted();
        let asked: BTreeSet<&str> = actions.iter().map(|action| action.name()).collect();
        for (name, (file, line)) in &self.actions {
            let reason = match (asked.contains(&**name), permitted.contains(&**name)) {
                (false, _) => format!(
                    "the action {name} is declared, and the product never asks for it: leave it out, or add it to the product's actions"
                ),
                (true, false) => format!("no policy can permit the action {name}: write one, or everybody is refused"),
                (true, true) => continue,
            };
            findings.push(Finding { file: file.clone(), line: *line, reason: reason.into() });
        }
        findings
    }

    /// The product's policies that permit something, with where they stand, in the order of files and lines.
    pub(super) fn permits(&self) -> Vec<(&Policy, &Origin)> {
        let of_product =
            |policy| Some((policy, self.origins.get(Policy::id(policy)).filter(|origin| !origin.is_base)?));
        let permits = self.policies.policies().filter(|policy| policy.effect() == Effect::Permit);
        let mut permits: Vec<_> = permits.filter_map(of_product).collect();
        permits.sort_by(|(_, one), (_, other)| (&one.file, one.line).cmp(&(&other.file, other.line)));
        permits
    }

    /// The names of actions that some policy permits to somebody, perhaps under conditions.
    fn permitted(&self) -> BTreeSet<String> {
        let mut permitted = BTreeSet::new();
        for (policy, _) in self.permits() {
            permitted.extend(self.environments(policy).map(|environment| name_of(environment.action())));
            if permitted.len() == self.actions.len() {
                break;
            }
        }
        permitted
    }

    /// What a policy can be about: types of principals and resources with an action.
    pub(super) fn environments(&self, policy: &Policy) -> impl Iterator<Item = RequestEnv> {
        policy.get_valid_request_envs(&self.schema)
    }
}
