//! How much there is to check of policies: Cedar checks each of them for all that can be asked.

use std::collections::HashMap;

use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicyId, PolicySet, Schema};

use super::tokens::Tokens;

/// The most that is checked, in words of policies that are looked at. Seconds, where it is compiled with optimisation.
const MOST: usize = 40_000_000;
/// What it takes to see that a policy is not about a question.
const SCOPE: usize = 4;

/// In how many ways actions can be asked for.
pub(super) struct Effort {
    /// With groups, which are asked for as their members are.
    by_action: HashMap<EntityUid, usize>,
    all: usize,
}

impl Effort {
    pub(super) fn of(schema: &Schema) -> Self {
        let mut asked: HashMap<EntityUid, usize> = HashMap::new();
        for environment in schema.request_envs() {
            *asked.entry(environment.action().clone()).or_default() += 1;
        }
        let actions = schema.action_entities().unwrap_or_default();
        let mut by_action = asked.clone();
        for (action, count) in &asked {
            for group in actions.ancestors(action).into_iter().flatten() {
                *by_action.entry(group.clone()).or_default() += count;
            }
        }
        Self { all: asked.values().sum(), by_action }
    }

    /// The policy that takes the most, if all of them together take too much, and what to do.
    pub(super) fn too_much(&self, policies: &PolicySet) -> Option<(PolicyId, String)> {
        let efforts = || policies.policies().map(|policy| (self.of_policy(policy), policy.id()));
        let all = efforts().fold(0_usize, |sum, (effort, _)| sum.saturating_add(effort));
        let (_, id) = efforts().filter(|_| all > MOST).max()?;
        let reason = format!(
            "this is the one that takes the most time of policies which would take too long to check, each for all {} questions that the \
             schema has (an action, and the types of a principal and a resource): name the action in the scope of each policy, write \
             fewer or shorter ones, or have actions apply to fewer types",
            self.all
        );
        Some((id.clone(), reason))
    }

    /// The condition is looked at for those questions alone that are about the action of the scope.
    fn of_policy(&self, policy: &Policy) -> usize {
        let of_action = |uid| self.by_action.get(uid).copied().unwrap_or(0);
        let about = match policy.action_constraint() {
            ActionConstraint::Any => self.all,
            ActionConstraint::Eq(uid) => of_action(&uid),
            ActionConstraint::In(uids) => uids.iter().map(of_action).fold(0, usize::saturating_add).min(self.all),
        };
        let words = Tokens::of(&policy.to_string()).count();
        self.all.saturating_mul(SCOPE).saturating_add(about.saturating_mul(words))
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::Rules;
    use super::super::source::SourceFile;
    use super::*;

    const ANY: &str = "permit (principal in HalfByte::Role::\"clerk\", action, resource) when { resource.n > 100 && !resource.sealed };\n";

    fn names(count: usize, letter: char) -> String {
        (0..count).map(|at| format!("{letter}{at}")).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_thousand_policies_of_a_large_product_are_not_too_much() {
        let entities = format!("entity {} = {{ n: Long, sealed: Bool }};", names(40, 'E'));
        let action = |at: usize| {
            format!(
                "action a{at} appliesTo {{ principal: [U, S], resource: [E{}, E{}, E{}] }};\n",
                at % 40,
                (at + 1) % 40,
                (at + 2) % 40
            )
        };
        let actions: String = (0..60).map(action).collect();
        let (schema, _) = Schema::from_cedarschema_str(&format!("entity U, S; {entities}{actions}")).expect("a schema");
        let policies: PolicySet = ANY.repeat(1_000).parse().expect("policies");
        assert_eq!(Effort::of(&schema).too_much(&policies), None);
    }

    #[test]
    fn a_policy_counts_for_what_its_scope_is_about() {
        let text = "entity U, E; action all; action a, b in [all] appliesTo { principal: U, resource: [U, E] };
            action c appliesTo { principal: U, resource: [E] };";
        let (schema, _) = Schema::from_cedarschema_str(text).expect("a schema");
        let effort = Effort::of(&schema);
        for (action, about) in [
            ("action", 5),
            ("action == Action::\"a\"", 2),
            ("action == Action::\"c\"", 1),
            // It is asked for by nobody, and counts as what stands in it.
            ("action == Action::\"all\"", 4),
            ("action in Action::\"all\"", 4),
            ("action in [Action::\"c\", Action::\"a\"]", 3),
            ("action in [Action::\"c\", Action::\"all\", Action::\"b\"]", 5),
        ] {
            let text = format!("permit (principal, {action}, resource);");
            let policy = Policy::parse(None, &text).expect("a policy");
            let words = Tokens::of(&text).count();
            assert_eq!(effort.of_policy(&policy), 5 * SCOPE + about * words, "{action}");
        }
    }

    #[test]
    fn policies_that_would_take_minutes_to_check_are_refused_at_once() {
        let kinds = names(50, 'E');
        let schema = format!(
            "entity {kinds} = {{ tenant: HalfByte::Tenant, n: Long, sealed: Bool }};
             action {} appliesTo {{ principal: [HalfByte::User, HalfByte::Service], resource: [{kinds}] }};",
            names(100, 'a')
        );
        let long =
            format!("permit (principal, action, resource) when {{ {} }};", "resource.sealed || ".repeat(20) + "true");
        let policies = format!("{}{long}", ANY.repeat(200));
        let files = [SourceFile::new("p.cedarschema", schema), SourceFile::new("p.cedar", policies)];
        let said = Rules::compile(&files).expect_err("too much").to_string();
        assert!(said.contains("p.cedar:201: this is the one that takes the most time"), "{said}");
        assert!(said.contains("for all 10000 questions that the schema has"), "{said}");
    }
}
