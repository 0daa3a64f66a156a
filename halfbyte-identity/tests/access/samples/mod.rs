//! Two of the example sets that the Cedar project describes, written anew on the types that every product here has.

mod documents;
mod repositories;

use halfbyte_core::{Principal, TenantId};
use halfbyte_identity::access::{Asked, Entity, EntityRef, Membership, Rules};
use jiff::Timestamp;

fn tenant() -> TenantId {
    "acme".parse().expect("a tenant")
}

fn user(subject: &str) -> Principal {
    Principal::builder(subject, tenant(), Timestamp::MAX).build()
}

fn group(name: &str) -> EntityRef {
    EntityRef::new("HalfByte::Group", name)
}

fn in_groups(groups: &[&str]) -> Membership {
    Membership { groups: groups.iter().map(|name| group(name)).collect(), ..Membership::default() }
}

/// Each question is decided as the table says, and its explanation says the same.
fn decides(rules: &Rules, asked: &Asked, is_allowed: bool) {
    let explanation = rules.explain(asked);
    let decision = &explanation.decision;
    assert_eq!(decision.is_allowed, is_allowed, "{explanation}");
    assert!(decision.errors.is_empty(), "{explanation}");
    let text = explanation.to_string();
    assert_eq!(text.starts_with("ALLOWED"), is_allowed, "{text}");
    assert!(is_allowed || text.contains("Forbidden by") || text.contains("nearest first"), "{text}");
}

fn of_acme(kind: &'static str, id: &str) -> Entity {
    Entity::new(kind, id).of_tenant(&tenant())
}
