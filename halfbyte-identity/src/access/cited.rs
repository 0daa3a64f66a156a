//! Policies in words: what their scopes ask for, and what their conditions are made of.

use std::borrow::Cow;
use std::fmt;

use cedar_policy::{
    Entities, EntityTypeName, EntityUid, EvalResult, Expression, Policy, PolicyId, PrincipalConstraint, Request,
    ResourceConstraint, eval_expression,
};
use serde_json::{Value as Json, json};

use super::rules::Rules;

/// How many lines of a policy are shown.
const LINES: usize = 30;

/// How much is shown of a line of a policy, of a condition and of a value, in bytes.
const LONGEST: usize = 500;

/// `text`, or as much of it as is shown.
pub(super) fn clipped(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}... ({} bytes in all)", &text[..text.floor_char_boundary(LONGEST)], text.len()))
}

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

    /// The text without annotations, each line after `indent`; no more of it than people read.
    pub(super) fn write_text(&self, f: &mut fmt::Formatter<'_>, indent: &str) -> fmt::Result {
        let is_annotation =
            |line: &&str| line.trim_start().starts_with('@') && !line.contains("permit") && !line.contains("forbid");
        let mut lines = self.text.lines().skip_while(is_annotation);
        lines.by_ref().take(LINES).try_for_each(|line| writeln!(f, "{indent}{}", clipped(line)))?;
        match lines.count() {
            0 => Ok(()),
            more => writeln!(f, "{indent}... and {more} more lines"),
        }
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
    /// `None` if it cannot be read back from its text, and so not be evaluated by itself.
    expression: Option<Expression>,
    /// The attributes that it looks at: `resource.owner`.
    pub(super) looks_at: Vec<String>,
}

/// Whether a clause holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Yes,
    No,
    /// It has an error, such as an attribute that is not there.
    Error,
    /// It cannot be evaluated by itself.
    Unknown,
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
        parts.map(|(is_when, part)| Self::new(is_when, part)).collect()
    }

    fn new(is_when: bool, part: &Json) -> Self {
        let mut looks_at = Vec::new();
        attributes(part, &mut looks_at);
        let looks_at = looks_at.into_iter().filter_map(text_of).collect();
        let text = text_of(part);
        let expression = text.as_ref().and_then(|text| text.parse().ok());
        let text = text.unwrap_or_else(|| "a condition that has no text".to_owned());
        Self { is_when, text, expression, looks_at }
    }

    /// Whether it holds.
    pub(super) fn holds(&self, request: &Request, entities: &Entities) -> Holds {
        let Some(expression) = &self.expression else { return Holds::Unknown };
        match eval_expression(request, entities, expression) {
            Ok(result) if (result == EvalResult::Bool(true)) == self.is_when => Holds::Yes,
            Ok(_) => Holds::No,
            Err(_) => Holds::Error,
        }
    }

    /// What the attributes are that it looks at: `resource.owner = User "acme/ann"`.
    pub(super) fn values(&self, request: &Request, entities: &Entities) -> Vec<String> {
        let value = |text: &String| {
            let result = eval_expression(request, entities, &text.parse::<Expression>().ok()?);
            Some(match result {
                Ok(EvalResult::EntityUid(uid)) => format!("{text} is {}", clipped(&name(&uid))),
                Ok(value) => format!("{text} is {}", clipped(&value.to_string())),
                Err(_) => format!("{text} is not there"),
            })
        };
        self.looks_at.iter().filter_map(value).collect()
    }
}

/// `when { resource.sealed }`
impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {{ {} }}", if self.is_when { "when" } else { "unless" }, clipped(&self.text))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn clause(is_when: bool, body: &Json) -> (Clause, Holds) {
        let clause = Clause::new(is_when, body);
        let name = |text: &str| text.parse::<EntityUid>().expect("a name");
        let request = Request::new(
            name(r#"User::"ann""#),
            name(r#"Action::"Read""#),
            name(r#"Label::"l-1""#),
            cedar_policy::Context::empty(),
            None,
        );
        let holds = clause.holds(&request.expect("no schema"), &Entities::empty());
        (clause, holds)
    }

    #[test]
    fn a_clause_holds_or_not_or_has_an_error_and_what_cannot_be_read_back_is_unknown() {
        let literal = |value: bool| json!({ "Value": value });
        for (is_when, value, holds) in
            [(true, true, Holds::Yes), (true, false, Holds::No), (false, true, Holds::No), (false, false, Holds::Yes)]
        {
            assert_eq!(clause(is_when, &literal(value)).1, holds, "{is_when} {value}");
        }
        let owner = json!({ ".": { "left": { "Var": "resource" }, "attr": "owner" } });
        let (clause_of_owner, holds) = clause(true, &owner);
        assert_eq!((holds, clause_of_owner.looks_at), (Holds::Error, vec!["resource.owner".to_owned()]));
        for is_when in [true, false] {
            let (unreadable, holds) = clause(is_when, &json!({ "made-up": 1 }));
            assert_eq!(holds, Holds::Unknown);
            assert!(unreadable.to_string().contains("a condition that has no text"), "{unreadable}");
        }
    }

    #[test]
    fn no_more_is_shown_of_a_text_than_people_read() {
        assert_eq!(clipped("short"), "short");
        let long = "\u{e9}".repeat(LONGEST);
        let shown = clipped(&long);
        assert!(shown.len() < LONGEST + 40 && shown.ends_with("... (1000 bytes in all)"), "{shown}");
        assert_eq!(clipped(&"x".repeat(LONGEST)).len(), LONGEST);
        assert!(clipped(&"x".repeat(LONGEST + 1)).ends_with("(501 bytes in all)"));
    }
}
