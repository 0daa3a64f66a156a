//! What policies ask of tenants that they cannot know: no tenant is there but that of the principal and the resource, which have to be the
//! same. Cedar says of what is not there that it has no attributes, and a policy that forbids by `has` would not apply, without a word.

use std::collections::HashSet;

use serde_json::Value as Json;

use super::entity::TENANT;
use super::follows::{parts, path};

/// What a tenant has. Of anything else `has` is false by the schema alone.
const OF_TENANT: [&str; 2] = ["tenant", "suspended"];

/// Whether `expression`, in Cedar's JSON form, asks with `has` for an attribute of what may be another tenant. To look at the attribute
/// without asking is an error, which denies; to compare tenants, or to ask by `in`, needs no more than their names.
pub(super) fn asks_stranger(expression: &Json, tenants: &HashSet<Box<str>>) -> bool {
    expression.get("has").is_some_and(|has| is_of_stranger(has, tenants))
        || parts(expression).any(|part| asks_stranger(part, tenants))
}

/// Goes along the path of `left has a.b.c`.
fn is_of_stranger(has: &Json, tenants: &HashSet<Box<str>>) -> bool {
    let Some(left) = has.get("left") else { return false };
    let (mut is_own, mut is_stranger) = (is_own(left), may_be_stranger(left, tenants));
    for name in path(has).iter().filter_map(Json::as_str) {
        if is_stranger && OF_TENANT.contains(&name) {
            return true;
        }
        is_own &= name == "tenant";
        is_stranger = !is_own && tenants.contains(name);
    }
    false
}

/// Whether it is the principal, the resource, or the tenant of one of them.
fn is_own(expression: &Json) -> bool {
    if let Some(access) = expression.get(".") {
        return access.get("attr").is_some_and(|name| name == "tenant") && access.get("left").is_some_and(is_own);
    }
    match expression.get("if-then-else") {
        Some(choice) => ["then", "else"].iter().all(|part| choice.get(part).is_some_and(is_own)),
        None => expression.get("Var").is_some_and(|var| var == "principal" || var == "resource"),
    }
}

/// By names alone: an attribute that names a tenant in some type may do so here.
fn may_be_stranger(expression: &Json, tenants: &HashSet<Box<str>>) -> bool {
    if let Some(access) = expression.get(".") {
        let is_tenant = access.get("attr").and_then(Json::as_str).is_some_and(|name| tenants.contains(name));
        let of_record = access.get("left").is_some_and(|left| may_hold_stranger(left, tenants));
        return (is_tenant && !is_own(expression)) || of_record;
    }
    match expression.get("if-then-else") {
        Some(choice) => {
            ["then", "else"].iter().filter_map(|part| choice.get(part)).any(|part| may_be_stranger(part, tenants))
        }
        None => expression.pointer("/Value/__entity/type").is_some_and(|kind| kind == TENANT),
    }
}

/// Whether it is made of a record that is written out, with such a tenant somewhere in it.
fn may_hold_stranger(expression: &Json, tenants: &HashSet<Box<str>>) -> bool {
    match expression.get("Record").and_then(Json::as_object) {
        Some(fields) => {
            fields.values().any(|field| may_be_stranger(field, tenants) || may_hold_stranger(field, tenants))
        }
        None => parts(expression).any(|part| may_hold_stranger(part, tenants)),
    }
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    #[test]
    fn a_tenant_is_asked_for_attributes_only_where_it_is_there() {
        let tenants = ["tenant", "payer"].map(Box::from).into();
        for (condition, expected) in [
            ("principal.tenant has suspended", false),
            ("resource.tenant has suspended && resource.tenant.tenant has tenant", false),
            ("resource has tenant.suspended", false),
            ("(if 1 == 2 then principal else resource).tenant has suspended", false),
            ("(if 1 == 2 then principal.tenant else resource.tenant) has suspended", false),
            ("{ of: resource.tenant }.of has suspended", false),
            ("resource has payer && resource.payer == principal.tenant", false),
            ("resource has payer && resource.payer.suspended", false),
            ("resource.project.tenant == resource.tenant", false),
            ("resource.payer in HalfByte::Tenant::\"x\"", false),
            ("resource.payer has frozen", false),
            ("User::\"x\" has suspended", false),
            ("resource.owner has suspended", false),
            ("resource.payer has suspended", true),
            ("resource.payer has tenant", true),
            ("resource.payer.tenant has suspended", true),
            ("resource.project.tenant has suspended", true),
            ("resource.project.payer has tenant.suspended", true),
            ("resource has payer.suspended", true),
            ("resource.project has tenant.suspended", true),
            ("context.payer has suspended", true),
            ("context has payer.tenant", true),
            ("!(1 == 2 || [resource.payer has suspended].contains(true))", true),
            ("(if resource.payer has suspended then 1 else 2) == 1", true),
            ("(if 1 == 2 then resource.tenant else resource.payer) has suspended", true),
            ("(if 1 == 2 then resource else resource.project).tenant has suspended", true),
            ("{ of: resource.payer }.of has suspended", true),
            ("{ of: { of: resource.payer } }.of.of has suspended", true),
            ("{ of: HalfByte::Tenant::\"x\" }.of has suspended", true),
            ("HalfByte::Tenant::\"x\" has suspended", true),
            ("HalfByte::Tenant::\"x\".tenant has suspended", true),
        ] {
            let policy = Policy::parse(None, format!("forbid (principal, action, resource) when {{ {condition} }};"));
            let json = policy.expect("a policy").to_json().expect("JSON");
            assert_eq!(asks_stranger(&json["conditions"], &tenants), expected, "{condition}");
        }
    }
}
