//! Why something may be done or not, for people who can change that.

use std::fmt;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, Effect, Policy};

use super::around::{LEADS_TO, NOT_THERE};
use super::asked::{Asked, action_named};
use super::cited::{Cited, Clause, Holds, Lack, Scope, clipped, kind_name, name};
use super::decision::Decision;
use super::entity::{Entity, EntityRef};
use super::events::ISOLATION;
use super::index::Acting;
use super::question::Question;
use super::rules::Rules;

/// How many policies that could permit are shown.
const NEAREST: usize = 5;

/// How many policies that decided, or errors, are shown; roles and groups too.
const SHOWN: usize = 20;

/// How many conditions of one policy are shown.
const LACKS: usize = 10;

/// A policy for another type of thing is far off, however little else it asks for.
const FAR: usize = 100;

/// Why something may be done or not: `Display` says it in lines for people.
///
/// It quotes policies and says which of their conditions do not hold, for the product's own people: whoever sees it learns that much of
/// the attributes, if not what they are ([`Rules::explain_with_values`] shows them). A caller is told
/// [less](super::Denied::problem).
///
/// It holds a bounded part of what there is, however many policies are about the action: `decision` names all that decided.
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
    /// The policies that decided: those that permit, or those that forbid; the first 20.
    pub decided: Vec<Deciding>,
    /// If it is denied: the policies that permit it, and are outweighed; the first 20.
    pub outweighed: Vec<Cited>,
    /// How many more do.
    pub outweighed_further: usize,
    /// If it is denied: the policies that could permit it, those first that lack least; a handful. Empty if what is asked does not
    /// fit the schema, what it is about could not be surveyed, or it is of another tenant.
    pub nearest: Vec<Near>,
    /// How many more could.
    pub further: usize,
    /// What could not be evaluated, with what to do; the first 20.
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
    /// What does not hold, or cannot be told whether it holds; a handful.
    pub lacks: Vec<Box<str>>,
}

impl Rules {
    /// Why `asked` is allowed or denied. Shows no value of an attribute.
    ///
    /// For tools and people: it looks at each policy about the action. It knows what `asked` was told; what a running product decides,
    /// with what its provider knows, [`Access::explain`](super::Access::explain) says.
    pub fn explain(&self, asked: &Asked) -> Explanation {
        self.explained(asked, asked.decide(self), false)
    }

    /// The same, with the values of attributes that decided: they may be personal.
    pub fn explain_with_values(&self, asked: &Asked) -> Explanation {
        self.explained(asked, asked.decide(self), true)
    }

    /// Why `decision` was taken on `asked` by these rules.
    pub(super) fn explained(&self, asked: &Asked, decision: Decision, with_values: bool) -> Explanation {
        let mut explanation = Explanation {
            principal: asked.principal.name().clone(),
            action: asked.action.clone(),
            resource: asked.resource.clone(),
            decision,
            decided: Vec::new(),
            outweighed: Vec::new(),
            outweighed_further: 0,
            nearest: Vec::new(),
            further: 0,
            errors: Vec::new(),
        };
        let Decision { is_allowed, policies, errors, .. } = &explanation.decision;
        let decided = policies.iter().take(SHOWN).filter_map(|id| Cited::by_id(self, id));
        explanation.decided = decided.map(|policy| Deciding { advice: advice(self, &policy, asked), policy }).collect();
        explanation.errors = errors.iter().take(SHOWN).map(|error| what_to_do(self, error)).collect();
        // Of what no policy was asked about, nothing can be said by them; of another tenant's nothing is.
        let is_asked = errors.iter().all(|error| error.policy.is_some()) && !is_isolated(policies);
        if !is_allowed
            && is_asked
            && let Ok(question) = asked.question(self)
        {
            let could = could_permit(self, asked, &question);
            let (mut outweighed, mut near): (Vec<_>, _) = could.into_iter().partition(|could| could.distance == 0);
            outweighed.sort_by(|one, other| one.policy.id().cmp(other.policy.id()));
            explanation.outweighed_further = outweighed.len().saturating_sub(SHOWN);
            explanation.outweighed = outweighed.iter().take(SHOWN).map(|could| Cited::of(self, could.policy)).collect();
            near.sort_by(|one, other| (one.distance, one.policy.id()).cmp(&(other.distance, other.policy.id())));
            explanation.further = near.len().saturating_sub(NEAREST);
            let near = near.into_iter().take(NEAREST).map(|could| could.near(self, asked, &question, with_values));
            explanation.nearest = near.collect();
        }
        explanation
    }
}

/// A policy that permits, or could permit, and what of it does not hold.
struct Could<'a> {
    policy: &'a Policy,
    principal: Option<Lack>,
    resource: Option<Lack>,
    clauses: Vec<(Clause, Holds)>,
    /// How far it is from permitting; 0 if it permits.
    distance: usize,
}

/// The policies that permit, or could permit, the action; what cannot be evaluated is told of elsewhere.
fn could_permit<'a>(rules: &'a Rules, asked: &Asked, question: &Question) -> Vec<Could<'a>> {
    let Ok(action) = action_named(rules, &asked.action) else { return Vec::new() };
    let permits = rules.policies.policies().filter(|policy| policy.effect() == Effect::Permit);
    let about = permits.filter(|policy| is_about(policy, action));
    about.filter_map(|policy| Could::new(policy, question)).collect()
}

/// Whether `policy` is about that action, by its scope.
pub(super) fn is_about(policy: &Policy, action: &Acting) -> bool {
    let Acting { uid, entities, .. } = action;
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(of) => of == *uid,
        ActionConstraint::In(of) => of.iter().any(|of| of == uid || entities.is_ancestor_of(of, uid)),
    }
}

impl<'a> Could<'a> {
    /// `None` if whether it permits is an error.
    fn new(policy: &'a Policy, question: &Question) -> Option<Self> {
        let Question { request, entities, .. } = question;
        let principal = Scope::from(policy.principal_constraint()).lack(request.principal()?, entities);
        let resource = Scope::from(policy.resource_constraint()).lack(request.resource()?, entities);
        let far = |lack: &Lack| if matches!(lack, Lack::Type(_)) { FAR } else { 1 };
        let distance = [&principal, &resource].into_iter().flatten().map(far).sum();
        let mut could = Self { policy, principal, resource, clauses: Vec::new(), distance };
        // The conditions of a policy for another type look for what is not there.
        if distance < FAR {
            for clause in Clause::all(policy) {
                match clause.holds(request, entities) {
                    Holds::Yes => {}
                    // What stands before it keeps it from being evaluated: `resource has owner && ...`.
                    Holds::Error if could.distance > 0 => {}
                    Holds::Error => return None,
                    holds => {
                        could.distance += 1;
                        could.clauses.push((clause, holds));
                    }
                }
            }
        }
        Some(could)
    }

    /// In words.
    fn near(&self, rules: &Rules, asked: &Asked, question: &Question, with_values: bool) -> Near {
        let Question { request, entities, .. } = question;
        let mut lacks = Vec::<Box<str>>::new();
        lacks.extend(self.principal.iter().map(|lack| of_principal(lack, &asked.principal).into()));
        let kind = short(asked.resource.kind());
        lacks.extend(self.resource.iter().map(|lack| of_resource(lack, kind).into()));
        for (clause, holds) in self.clauses.iter().take(LACKS) {
            let mut lack = match (holds, clause.is_when) {
                (Holds::Unknown, _) => format!("whether this holds cannot be told: {clause}"),
                (_, true) => format!("this does not hold: {clause}"),
                (_, false) => format!("this stands in the way: {clause}"),
            };
            if with_values {
                let values = clause.values(request, entities);
                values.iter().take(LACKS).for_each(|value| lack.push_str(&format!("\n    {value}")));
            }
            lacks.push(lack.into());
        }
        match self.clauses.len().saturating_sub(LACKS) {
            0 => {}
            more => lacks.push(format!("and {more} more conditions").into()),
        }
        Near { policy: Cited::of(rules, self.policy), lacks }
    }
}

fn of_principal(lack: &Lack, principal: &Entity) -> String {
    let held = |kind: &str| {
        let held = principal.parents().iter().filter(|parent| parent.kind() == kind);
        let mut held: Vec<_> = held.map(|parent| format!("{:?}", clipped(parent.id()))).collect();
        let more = held.len().saturating_sub(SHOWN);
        held.truncate(SHOWN);
        held.extend((more > 0).then(|| format!("and {more} more")));
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
            Some(clause) => {
                format!("grant the service what this asks for, at its issuer: {}", clipped(&clause.text)).into()
            }
            None => {
                "no scope grants this action to a service: give the action a @scope in the schema if one should".into()
            }
        });
    }
    Some(match &*policy.id {
        ISOLATION => {
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
        let said = format!("what is asked cannot be decided: {}", clipped(&error.reason));
        let advice = match &*error.reason {
            reason if reason.contains(NOT_THERE) => {
                "where no provider is asked, give that thing with the question: by Asked::entity, or in a test by Kit::with"
            }
            reason if reason.contains(LEADS_TO) => {
                "put things in fewer others, or let attributes that policies look through name fewer"
            }
            reason if ["schema", "cannot be done", "has no attribute"].iter().any(|said| reason.contains(said)) => {
                "it does not fit the schema: ask for what is there, with all that the schema says of it, or mend the schema"
            }
            _ => return said.into(),
        };
        return format!("{said}\n    {advice}").into();
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
    format!("{policy}: {}\n    {advice}", clipped(&error.reason)).into()
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { principal, action, resource, decision, .. } = self;
        let (verdict, may) = if decision.is_allowed { ("ALLOWED", "may") } else { ("DENIED", "may not") };
        let (who, what) = (short_name(principal), short_name(resource));
        writeln!(f, "{verdict}: {who} {may} {} {what}", clipped(action))?;
        if !self.errors.is_empty() {
            writeln!(f, "\nNot all could be evaluated, and then nothing is allowed:")?;
            self.errors.iter().try_for_each(|error| writeln!(f, "  {error}"))?;
            more(f, decision.errors.len().saturating_sub(self.errors.len()))?;
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
        more(f, decision.policies.len().saturating_sub(self.decided.len()))?;
        if !self.outweighed.is_empty() {
            writeln!(f, "\nBut for that, it would be permitted by:")?;
            self.outweighed.iter().try_for_each(|policy| writeln!(f, "  {policy}"))?;
            more(f, self.outweighed_further)?;
        } else if !decision.is_allowed && !is_isolated(&decision.policies) {
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
        more(f, self.further)
    }
}

fn is_isolated(policies: &[Arc<str>]) -> bool {
    policies.iter().any(|id| **id == *ISOLATION)
}

fn more(f: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
    if count == 0 { Ok(()) } else { writeln!(f, "  and {count} more") }
}

/// `User "acme/ann"`
pub(super) fn short_name(name: &EntityRef) -> String {
    format!("{} {:?}", short(name.kind()), clipped(name.id()))
}
