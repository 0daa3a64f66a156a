//! Why something may be done or not, for people who can change that.

use std::fmt;

use cedar_policy::{ActionConstraint, Effect, Policy};

use super::asked::{Asked, action_uid};
use super::cited::{Cited, Clause, Lack, Scope, kind_name, name};
use super::decision::Decision;
use super::entity::{Entity, EntityRef};
use super::question::Question;
use super::rules::Rules;

/// How many policies that could permit are shown.
const NEAREST: usize = 5;

/// A policy for another type of thing is far off, however little else it asks for.
const FAR: usize = 100;

/// Why something may be done or not: `Display` says it in lines for people.
///
/// It quotes policies and says which of their conditions do not hold, for the product's own people: whoever sees it learns that much of
/// the attributes, if not what they are ([`Rules::explain_with_values`] shows them). A caller is told
/// [less](super::Denied::problem).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// Who asks.
    pub principal: EntityRef,
    /// What he would do.
    pub action: Box<str>,
    /// To what.
    pub resource: EntityRef,
    /// What was decided.
    pub decision: Decision,
    /// The policies that decided: those that permit, or those that forbid.
    pub decided: Vec<Deciding>,
    /// If it is denied: the policies that permit it, and are outweighed.
    pub outweighed: Vec<Cited>,
    /// If it is denied: the policies that could permit it, those first that lack least; a handful.
    pub nearest: Vec<Near>,
    /// How many more could.
    pub further: usize,
    /// What could not be evaluated, with what to do.
    pub errors: Vec<Box<str>>,
}

/// A policy that decided.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Deciding {
    /// The policy.
    pub policy: Cited,
    /// If it forbids: what to do, where that is known.
    pub advice: Option<Box<str>>,
}

/// A policy that could permit, and what of it does not hold.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Near {
    /// The policy.
    pub policy: Cited,
    /// What does not hold.
    pub lacks: Vec<Box<str>>,
    distance: usize,
}

impl Rules {
    /// Why `asked` is allowed or denied. Shows no value of an attribute.
    ///
    /// For tools and people: it looks at each policy about the action.
    pub fn explain(&self, asked: &Asked) -> Explanation {
        self.explained(asked, false)
    }

    /// The same, with the values of attributes that decided: they may be personal.
    pub fn explain_with_values(&self, asked: &Asked) -> Explanation {
        self.explained(asked, true)
    }

    fn explained(&self, asked: &Asked, with_values: bool) -> Explanation {
        let mut explanation = Explanation {
            principal: asked.principal.name().clone(),
            action: asked.action.clone(),
            resource: asked.resource.clone(),
            decision: asked.decide(self),
            decided: Vec::new(),
            outweighed: Vec::new(),
            nearest: Vec::new(),
            further: 0,
            errors: Vec::new(),
        };
        let decided = explanation.decision.policies.iter().filter_map(|id| Cited::by_id(self, id));
        explanation.decided = decided.map(|policy| Deciding { advice: advice(self, &policy, asked), policy }).collect();
        explanation.errors = explanation.decision.errors.iter().map(|error| what_to_do(self, error)).collect();
        if !explanation.decision.is_allowed
            && let Ok(question) = asked.question(self)
        {
            let could = could_permit(self, asked, &question, with_values);
            let (outweighed, mut near): (Vec<_>, _) = could.into_iter().partition(|near| near.lacks.is_empty());
            near.sort_by(|one, other| (one.distance, &one.policy.id).cmp(&(other.distance, &other.policy.id)));
            explanation.further = near.len().saturating_sub(NEAREST);
            near.truncate(NEAREST);
            explanation.nearest = near;
            explanation.outweighed = outweighed.into_iter().map(|near| near.policy).collect();
        }
        explanation
    }
}

/// The policies that permit, or could permit, the action; what cannot be evaluated is told of elsewhere.
fn could_permit(rules: &Rules, asked: &Asked, question: &Question, with_values: bool) -> Vec<Near> {
    let permits = rules.policies.policies().filter(|policy| policy.effect() == Effect::Permit);
    let about = permits.filter(|policy| is_about(rules, policy, &asked.action));
    about.filter_map(|policy| near(rules, policy, asked, question, with_values)).collect()
}

/// Whether `policy` is about that action, by its scope.
pub(super) fn is_about(rules: &Rules, policy: &Policy, action: &str) -> bool {
    let Ok(action) = action_uid(rules, action) else { return false };
    let groups = rules.schema.action_entities();
    let is_in = |of| groups.as_ref().is_ok_and(|groups| groups.is_ancestor_of(of, &action));
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(of) => of == action,
        ActionConstraint::In(of) => of.iter().any(|of| *of == action || is_in(of)),
    }
}

/// `None` if whether it holds cannot be told.
fn near(rules: &Rules, policy: &Policy, asked: &Asked, question: &Question, with_values: bool) -> Option<Near> {
    let Question { request, entities, .. } = question;
    let (mut lacks, mut distance) = (Vec::<Box<str>>::new(), 0);
    let principal = Scope::from(policy.principal_constraint()).lack(request.principal()?, entities);
    if let Some(lack) = principal {
        distance += if matches!(lack, Lack::Type(_)) { FAR } else { 1 };
        lacks.push(of_principal(&lack, &asked.principal).into());
    }
    let resource = request.resource()?;
    if let Some(lack) = Scope::from(policy.resource_constraint()).lack(resource, entities) {
        distance += if matches!(lack, Lack::Type(_)) { FAR } else { 1 };
        lacks.push(of_resource(&lack, &kind_name(resource.type_name())).into());
    }
    for clause in Clause::all(policy) {
        match clause.holds(request, entities) {
            Ok(true) => {}
            Ok(false) => {
                let mut lack = if clause.is_when {
                    format!("this does not hold: {clause}")
                } else {
                    format!("this stands in the way: {clause}")
                };
                if with_values {
                    clause.values(request, entities).iter().for_each(|value| lack.push_str(&format!("\n    {value}")));
                }
                distance += 1;
                lacks.push(lack.into());
            }
            // What stands before it keeps it from being evaluated: `resource has owner && ...`.
            Err(_) if !lacks.is_empty() => {}
            Err(_) => return None,
        }
    }
    Some(Near { policy: Cited::of(rules, policy), lacks, distance })
}

fn of_principal(lack: &Lack, principal: &Entity) -> String {
    let held = |kind: &str| {
        let held = principal.parents().iter().filter(|parent| parent.kind() == kind);
        let held: Vec<_> = held.map(|parent| format!("{:?}", parent.id())).collect();
        if held.is_empty() { "none".to_owned() } else { held.join(", ") }
    };
    match lack {
        Lack::Type(kind) => {
            format!("it is for a {}, and the principal is a {}", kind_name(kind), short(principal.name().kind()))
        }
        Lack::Eq(other) => format!("it is for {} alone", name(other)),
        Lack::In(of) => match &*kind_name(of.type_name()) {
            "Role" => {
                format!("the principal has not the role \"{}\"; it has: {}", of.id().escaped(), held("HalfByte::Role"))
            }
            "Group" => {
                format!(
                    "the principal is not in the group \"{}\"; it is in: {}",
                    of.id().escaped(),
                    held("HalfByte::Group")
                )
            }
            _ => format!("the principal is not in {}", name(of)),
        },
    }
}

fn of_resource(lack: &Lack, kind: &str) -> String {
    match lack {
        Lack::Type(other) => format!("it is about a {}, and the resource is a {kind}", kind_name(other)),
        Lack::Eq(other) => format!("it is about {} alone", name(other)),
        Lack::In(of) => format!("the resource is not in {}", name(of)),
    }
}

fn short(kind: &str) -> &str {
    kind.strip_prefix("HalfByte::").unwrap_or(kind)
}

/// What to do about a policy of the base set that forbids.
fn advice(rules: &Rules, policy: &Cited, asked: &Asked) -> Option<Box<str>> {
    let tenant = asked.principal.attributes().find_map(|(name, value)| match value {
        super::entity::Value::Entity(of) if name == "tenant" => Some(of.id()),
        _ => None,
    });
    let tenant = tenant.unwrap_or_default();
    if !policy.is_base {
        return None;
    }
    if policy.id.starts_with("halfbyte.granted.") {
        let policy = rules.policies.policy(&cedar_policy::PolicyId::new(&*policy.id))?;
        return Some(match Clause::all(policy).first() {
            Some(clause) => format!("grant the service what this asks for, at its issuer: {}", clause.text).into(),
            None => {
                "no scope grants this action to a service: give the action a @scope in the schema if one should".into()
            }
        });
    }
    Some(match &*policy.id {
        "halfbyte.tenant-isolation" => {
            format!("ask for what belongs to tenant \"{tenant}\", or sign in to the tenant that it belongs to").into()
        }
        "halfbyte.suspended-reads-only" => {
            format!("lift the suspension of tenant \"{tenant}\"; until then do only what reads").into()
        }
        _ => return None,
    })
}

/// An error, and what to do about it.
fn what_to_do(rules: &Rules, error: &super::decision::EvaluationError) -> Box<str> {
    let Some(id) = &error.policy else {
        return format!("the question does not fit the schema: {}", error.reason).into();
    };
    let policy = Cited::by_id(rules, id).map_or_else(|| id.to_string(), |policy| policy.to_string());
    let advice = match &*error.reason {
        reason if reason.contains("does not exist") => {
            "give that entity to the check, or let the product's EntityProvider know it"
        }
        reason if reason.contains("does not have") => "let the policy ask `has` first, or give the attribute",
        reason if reason.contains("larger than numbers") => "keep the numbers smaller, or compare before adding up",
        _ => "mend the policy: until then it denies whatever it is about",
    };
    format!("{policy}: {}\n    {advice}", error.reason).into()
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { principal, action, resource, decision, .. } = self;
        let (verdict, may) = if decision.is_allowed { ("ALLOWED", "may") } else { ("DENIED", "may not") };
        let (who, what) = (short_name(principal), short_name(resource));
        writeln!(f, "{verdict}: {who} {may} {action} {what}")?;
        if !self.errors.is_empty() {
            writeln!(f, "\nNot all could be evaluated, and then nothing is allowed:")?;
            self.errors.iter().try_for_each(|error| writeln!(f, "  {error}"))?;
        }
        if decision.is_allowed {
            writeln!(f, "\nPermitted by:")?;
        } else if !self.decided.is_empty() {
            writeln!(f, "\nForbidden by:")?;
        }
        for Deciding { policy, advice } in &self.decided {
            writeln!(f, "  {policy}")?;
            if !policy.is_base {
                policy.write_text(f, "      ")?;
            }
            if let Some(advice) = advice {
                writeln!(f, "    {advice}")?;
            }
        }
        if !self.outweighed.is_empty() {
            writeln!(f, "\nBut for that, it would be permitted by:")?;
            self.outweighed.iter().try_for_each(|policy| writeln!(f, "  {policy}"))?;
        } else if !decision.is_allowed {
            self.write_nearest(f)?;
        }
        Ok(())
    }
}

impl Explanation {
    fn write_nearest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nothing = if self.decided.is_empty() { "No policy permits it." } else { "Nor does any policy permit it." };
        match (self.nearest.is_empty(), self.errors.is_empty()) {
            (true, true) => return writeln!(f, "\n{nothing} None is about {}: write one.", self.action),
            (true, false) => return Ok(()),
            (false, _) => writeln!(f, "\n{nothing} Those that could, nearest first:")?,
        }
        for Near { policy, lacks, .. } in &self.nearest {
            writeln!(f, "  {policy}")?;
            for lack in lacks {
                writeln!(f, "    - {}", lack.replace('\n', "\n    "))?;
            }
        }
        match self.further {
            0 => Ok(()),
            further => writeln!(f, "  and {further} more"),
        }
    }
}

/// `User "acme/ann"`
pub(super) fn short_name(name: &EntityRef) -> String {
    format!("{} {:?}", short(name.kind()), name.id())
}
