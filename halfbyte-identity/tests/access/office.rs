//! A small product, as the tests of what is told of decisions have it.

use std::sync::LazyLock;

use halfbyte_core::live::Snapshot;
use halfbyte_core::{Live, Principal, PrincipalKind, TenantId};
use halfbyte_identity::access::{Access, Action, Entity, EntityRef, Rules, SourceFile, Value, name_of};
use jiff::Timestamp;

pub const CREATE: Action = Action::new("CreateLabel");
pub const READ: Action = Action::new("ReadLabel");
pub const EDIT: Action = Action::new("EditLabel");
pub const SHIP: Action = Action::new("Ship");

const SCHEMA: &str = r#"
namespace HalfByte { type Profile = { department?: String }; }

entity Folder;
entity Label in [Folder] = { tenant: HalfByte::Tenant, owner: HalfByte::User, sealed: Bool, weight: Long, note?: String };
@scope("labels:write")
action CreateLabel appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: HalfByte::Tenant };
@scope("labels:read")
action ReadLabel in [HalfByte::Action::"Read"] appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: Label };
action EditLabel, Ship appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: Label };
"#;

pub const POLICIES: &str = r#"@id("clerks-create")
permit (principal in HalfByte::Role::"clerk", action == Action::"CreateLabel", resource);

@id("owners")
@reason("a label is its owner's")
permit (principal, action in [Action::"ReadLabel", Action::"EditLabel"], resource)
when { resource.owner == principal };

@id("desk")
permit (principal in HalfByte::Group::"desk", action == Action::"ReadLabel", resource in Folder::"open")
when { principal.profile has department && principal.profile.department == "sales" }
unless { resource.sealed || resource.weight > 100 };

permit (principal is HalfByte::Service, action, resource);

@id("sealed")
@reason("a sealed label stays as it is")
forbid (principal, action == Action::"EditLabel", resource)
when { resource.sealed };

@id("heavy")
permit (principal in HalfByte::Role::"driver", action == Action::"Ship", resource)
when { resource.weight * 1000 < 500000 };
"#;

pub fn tenant(name: &str) -> TenantId {
    name.parse().expect("a tenant")
}

pub fn user(subject: &str, of: &str, roles: &[&str]) -> Principal {
    Principal::builder(subject, tenant(of), Timestamp::MAX).roles(roles.iter().copied()).build()
}

pub fn service(scopes: &[&str]) -> Principal {
    let service = Principal::builder("billing", tenant("acme"), Timestamp::MAX).kind(PrincipalKind::Service);
    service.scopes(scopes.iter().copied()).build()
}

pub fn label(of: &str, owner: &Principal) -> Entity {
    Entity::new("Label", "l-1")
        .of_tenant(&tenant(of))
        .attribute("owner", name_of(owner))
        .attribute("sealed", false)
        .attribute("weight", Value::Long(3))
}

pub fn in_folder(label: Entity) -> Entity {
    label.parent(EntityRef::new("Folder", "open"))
}

/// Compiled once: in a test build that takes its time.
pub fn rules() -> Snapshot<Rules> {
    live().load().expect("it never changes")
}

pub fn live() -> Live<Rules> {
    static RULES: LazyLock<Live<Rules>> = LazyLock::new(|| Live::fixed("access", rules_with(POLICIES)));
    RULES.clone()
}

pub fn rules_with(policies: &str) -> Rules {
    let files = [SourceFile::new("parcel.cedarschema", SCHEMA), SourceFile::new("parcel.cedar", policies)];
    Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}"))
}

pub fn access() -> Access {
    Access::new(live(), ())
}
