use std::fmt;

use cedar_policy::{Effect, Policy};

use super::asked::action_named;
use super::cited::{Cited, Clause, Scope, kind_name};
use super::decision::EvaluationError;
use super::explain::is_about;
use super::question::unfit;
use super::rules::Rules;

/// How many policies are shown, of those that permit and of those that forbid, and how many conditions of one.
const SHOWN: usize = 50;

/// Who could do something to a type of resource, by the policies alone: `Display` says it in lines for people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WhoCan {
    /// What they would do.
    pub action: Box<str>,
    /// The type of what they would do it to.
    pub resource: Box<str>,
    /// The policies that could permit it.
    pub permits: Vec<Grant>,
    /// The policies that could forbid it all the same.
    pub forbids: Vec<Grant>,
}

/// A policy, and for whom it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Grant {
    /// The policy.
    pub policy: Cited,
    /// Whom its scope names, in words: `any User in Role "clerk"`.
    pub who: Box<str>,
    /// What its scope narrows the resource to; `None` if it is about all of the type.
    pub what: Option<Box<str>>,
    /// What else must hold.
    pub conditions: Vec<Box<str>>,
}

impl Rules {
    /// The policies that could permit `action` on resources of type `resource`, and those that limit them. A policy that can
    /// never hold for that type, by the schema, is left out.
    ///
    /// # Errors
    ///
    /// The schema has no such action or type, or the action is not about that type; with those that it has.
    pub fn who_can(&self, action: &str, resource: &str) -> Result<WhoCan, EvaluationError> {
        let acting = action_named(self, action)?;
        let uid = &acting.uid;
        let kind = self.kinds.get(resource).ok_or_else(|| unfit(format!("the schema has no entity {resource}")))?;
        let mut about: Vec<_> = self.schema.resources_for_action(uid).into_iter().flatten().collect();
        if !about.contains(&kind) {
            about.sort_unstable();
            let about = about.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(unfit(format!("{action} is not about {resource}, but about {about}")));
        }
        let mut found = WhoCan { action: action.into(), resource: resource.into(), permits: vec![], forbids: vec![] };
        for policy in self.policies.policies().filter(|policy| is_about(policy, acting)) {
            let fits = policy.get_valid_request_envs(&self.schema);
            let fits = fits.filter(|fit| fit.action() == uid && fit.resource() == kind);
            let mut principals: Vec<_> = fits.map(|fit| kind_name(fit.principal())).collect();
            if principals.is_empty() {
                continue;
            }
            principals.sort_unstable_by(|one, other| other.cmp(one));
            principals.dedup();
            let grant = grant(self, policy, &principals);
            match policy.effect() {
                Effect::Permit => found.permits.push(grant),
                Effect::Forbid => found.forbids.push(grant),
            }
        }
        found.permits.sort_by(|one, other| one.policy.id.cmp(&other.policy.id));
        // The product's own first: of the base set there is much, and it is known.
        let key = |grant: &Grant| (grant.policy.is_base, grant.policy.id.clone());
        found.forbids.sort_by_key(key);
        Ok(found)
    }
}

fn grant(rules: &Rules, policy: &Policy, principals: &[String]) -> Grant {
    let what = match Scope::from(policy.resource_constraint()) {
        Scope::Any | Scope::Is(_) => None,
        scope => Some(scope.words(&[]).replace("anybody in", "what is in").into()),
    };
    Grant {
        policy: Cited::of(rules, policy),
        who: Scope::from(policy.principal_constraint()).words(principals).into(),
        what,
        conditions: Clause::all(policy).iter().map(|clause| clause.to_string().into()).collect(),
    }
}

impl fmt::Display for WhoCan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, resource, permits, forbids } = self;
        if permits.is_empty() {
            return writeln!(f, "Nobody can {action} a {resource}: no policy permits it.");
        }
        writeln!(f, "Who can {action} a {resource}:")?;
        shown(f, permits)?;
        if !forbids.is_empty() {
            writeln!(f, "\nBut not where one of these forbids it:")?;
            shown(f, forbids)?;
        }
        Ok(())
    }
}

fn shown(f: &mut fmt::Formatter<'_>, grants: &[Grant]) -> fmt::Result {
    grants.iter().take(SHOWN).try_for_each(|grant| write!(f, "{grant}"))?;
    match grants.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more"),
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, who, what, conditions } = self;
        write!(f, "  {who}")?;
        what.as_ref().map_or(Ok(()), |what| write!(f, ", for {what}"))?;
        writeln!(f)?;
        conditions.iter().take(SHOWN).try_for_each(|condition| writeln!(f, "      {condition}"))?;
        match conditions.len().saturating_sub(SHOWN) {
            0 => {}
            more => writeln!(f, "      and {more} more conditions")?,
        }
        writeln!(f, "      by {policy}")
    }
}
