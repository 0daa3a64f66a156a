//! Policies in words: what their scopes ask for, and what their conditions are made of.

use std::fmt;

use cedar_policy::{
    Entities, EntityTypeName, EntityUid, EvalResult, Expression, Policy, PolicyId, PrincipalConstraint, Request,
    ResourceConstraint, eval_expression,
};
use serde_json::{Value as Json, json};

use super::rules::Rules;

/// A policy as it is shown: what names it, where it stands, what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cited {
    /// Its id.
    pub id: Box<str>,
    /// Its file and line; `base set` for what every product has.
    pub place: Box<str>,
    /// Its annotation `@reason`.
    pub reason: Option<Box<str>>,
    /// Its text, as it is written.
    pub text: Box<str>,
    /// It is of the base set.
    pub is_base: bool,
}

impl Cited {
    pub(super) fn of(rules: &Rules, policy: &Policy) -> Self {
        let origin = rules.origins.get(policy.id());
        let is_base = origin.is_some_and(|origin| origin.is_base);
        let place = match origin {
            Some(origin) if !is_base => format!("{}:{}", origin.file, origin.line),
            _ => "base set".to_owned(),
        };
        Self {
            id: AsRef::<str>::as_ref(policy.id()).into(),
            place: place.into(),
            reason: policy.annotation("reason").filter(|reason| !reason.is_empty()).map(Into::into),
            text: policy.to_cedar().unwrap_or_default().into(),
            is_base,
        }
    }

    pub(super) fn by_id(rules: &Rules, id: &str) -> Option<Self> {
        rules.policies.policy(&PolicyId::new(id)).map(|policy| Self::of(rules, policy))
    }

    /// The text without annotations, each line after `indent`.
    pub(super) fn write_text(&self, f: &mut fmt::Formatter<'_>, indent: &str) -> fmt::Result {
        let is_annotation =
            |line: &&str| line.trim_start().starts_with('@') && !line.contains("permit") && !line.contains("forbid");
        self.text.lines().skip_while(is_annotation).try_for_each(|line| writeln!(f, "{indent}{line}"))
    }
}

/// `owners-read (parcel.cedar:5): its owner may read a label`
impl fmt::Display for Cited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        // One without an id is called by where it stands.
        if self.id != self.place {
            write!(f, " ({})", self.place)?;
        }
        self.reason.as_deref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// What a policy's scope asks of a principal or a resource.
pub(super) enum Scope {
    Any,
    In(EntityUid),
    Eq(EntityUid),
    Is(EntityTypeName),
    IsIn(EntityTypeName, EntityUid),
}

impl From<PrincipalConstraint> for Scope {
    fn from(constraint: PrincipalConstraint) -> Self {
        match constraint {
            PrincipalConstraint::Any => Self::Any,
            PrincipalConstraint::In(uid) => Self::In(uid),
            PrincipalConstraint::Eq(uid) => Self::Eq(uid),
            PrincipalConstraint::Is(kind) => Self::Is(kind),
            PrincipalConstraint::IsIn(kind, uid) => Self::IsIn(kind, uid),
        }
    }
}

impl From<ResourceConstraint> for Scope {
    fn from(constraint: ResourceConstraint) -> Self {
        match constraint {
            ResourceConstraint::Any => Self::Any,
            ResourceConstraint::In(uid) => Self::In(uid),
            ResourceConstraint::Eq(uid) => Self::Eq(uid),
            ResourceConstraint::Is(kind) => Self::Is(kind),
            ResourceConstraint::IsIn(kind, uid) => Self::IsIn(kind, uid),
        }
    }
}

/// What of a scope does not hold.
pub(super) enum Lack {
    /// It is for another type: nothing that could be granted makes it fit.
    Type(EntityTypeName),
    /// It is not in this.
    In(EntityUid),
    /// It is not this one.
    Eq(EntityUid),
}

impl Scope {
    /// What of it does not hold for `uid`.
    pub(super) fn lack(&self, uid: &EntityUid, entities: &Entities) -> Option<Lack> {
        let is_in = |of: &EntityUid| of == uid || entities.is_ancestor_of(of, uid);
        match self {
            Self::Is(kind) | Self::IsIn(kind, _) if kind != uid.type_name() => Some(Lack::Type(kind.clone())),
            Self::In(of) | Self::IsIn(_, of) if !is_in(of) => Some(Lack::In(of.clone())),
            Self::Eq(other) if other != uid => Some(Lack::Eq(other.clone())),
            _ => None,
        }
    }

    /// `any user in Role "clerk"`; `kinds` are the types that there can be.
    pub(super) fn words(&self, kinds: &[String]) -> String {
        let any = || if kinds.is_empty() { "anybody".to_owned() } else { format!("any {}", kinds.join(" or ")) };
        match self {
            Self::Any => any(),
            Self::In(of) => format!("{} in {}", any(), name(of)),
            Self::Eq(of) => name(of),
            Self::Is(kind) => format!("any {}", kind_name(kind)),
            Self::IsIn(kind, of) => format!("any {} in {}", kind_name(kind), name(of)),
        }
    }
}

/// `Role "clerk"`: what is of every product needs no namespace.
pub(super) fn name(uid: &EntityUid) -> String {
    format!("{} \"{}\"", kind_name(uid.type_name()), uid.id().escaped())
}

pub(super) fn kind_name(kind: &EntityTypeName) -> String {
    let kind = kind.to_string();
    kind.strip_prefix("HalfByte::").unwrap_or(&kind).to_owned()
}

/// One of the things that must hold for a policy to apply: a part of its `when`, or of its `unless`.
pub(super) struct Clause {
    pub(super) is_when: bool,
    pub(super) text: String,
    /// The attributes that it looks at: `resource.owner`.
    pub(super) looks_at: Vec<String>,
}

impl Clause {
    /// Those of `policy`, in order: a `when` is taken apart at `&&`, an `unless` at `||`.
    pub(super) fn all(policy: &Policy) -> Vec<Self> {
        let json = policy.to_json().unwrap_or_default();
        let conditions = json["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let parts = conditions.iter().flat_map(|condition| {
            let is_when = condition["kind"] == "when";
            let mut parts = Vec::new();
            take_apart(&condition["body"], if is_when { "&&" } else { "||" }, &mut parts);
            parts.into_iter().map(move |part| (is_when, part))
        });
        let clauses = parts.filter_map(|(is_when, part)| {
            let mut looks_at = Vec::new();
            attributes(part, &mut looks_at);
            let looks_at = looks_at.into_iter().filter_map(text_of).collect();
            Some(Self { is_when, text: text_of(part)?, looks_at })
        });
        clauses.collect()
    }

    /// Whether it holds.
    ///
    /// # Errors
    ///
    /// It cannot be evaluated.
    pub(super) fn holds(
        &self,
        request: &Request,
        entities: &Entities,
    ) -> Result<bool, Box<cedar_policy::EvaluationError>> {
        // What was printed from a policy that was read can be read.
        let Ok(expression) = self.text.parse::<Expression>() else { return Ok(true) };
        let result = eval_expression(request, entities, &expression).map_err(Box::new)?;
        Ok((result == EvalResult::Bool(true)) == self.is_when)
    }

    /// What the attributes are that it looks at: `resource.owner = User "acme/ann"`.
    pub(super) fn values(&self, request: &Request, entities: &Entities) -> Vec<String> {
        let value = |text: &String| {
            let result = eval_expression(request, entities, &text.parse::<Expression>().ok()?);
            Some(match result {
                Ok(EvalResult::EntityUid(uid)) => format!("{text} is {}", name(&uid)),
                Ok(value) => format!("{text} is {value}"),
                Err(_) => format!("{text} is not there"),
            })
        };
        self.looks_at.iter().filter_map(value).collect()
    }
}

/// `when { resource.sealed }`
impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {{ {} }}", if self.is_when { "when" } else { "unless" }, self.text)
    }
}

fn take_apart<'a>(expression: &'a Json, at: &str, parts: &mut Vec<&'a Json>) {
    match expression.get(at) {
        Some(both) => {
            take_apart(&both["left"], at, parts);
            take_apart(&both["right"], at, parts);
        }
        None => parts.push(expression),
    }
}

/// The attributes of principal, resource and so on, with all their dots.
fn attributes<'a>(expression: &'a Json, found: &mut Vec<&'a Json>) {
    match expression {
        Json::Object(fields) if fields.get(".").is_some_and(is_rooted) => {
            let is_new = !found.contains(&expression);
            found.extend(is_new.then_some(expression));
        }
        Json::Object(fields) => fields.values().for_each(|part| attributes(part, found)),
        Json::Array(items) => items.iter().for_each(|part| attributes(part, found)),
        _ => {}
    }
}

fn is_rooted(access: &Json) -> bool {
    let left = &access["left"];
    left.get("Var").is_some() || left.get(".").is_some_and(is_rooted)
}

/// An expression in Cedar's syntax, from its JSON: Cedar prints policies, so it is made the condition of one.
fn text_of(expression: &Json) -> Option<String> {
    let all = json!({ "op": "All" });
    let policy = json!({
        "effect": "permit", "principal": all, "action": all, "resource": all,
        "conditions": [{ "kind": "when", "body": expression }],
    });
    // Not `to_cedar`, which turns `a > b` into `!(a <= b)`.
    let text = Policy::from_json(None, policy).ok()?.to_string();
    let text = text.split_once("when {")?.1.strip_suffix("};")?;
    Some(text.trim().to_owned())
}
