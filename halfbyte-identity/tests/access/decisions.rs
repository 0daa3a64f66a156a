use halfbyte_core::{Principal, PrincipalKind, TenantId};
use halfbyte_identity::access::{Access, Action, Entity, Rules, SourceFile, name_of};
use jiff::Timestamp;

const CREATE: Action = Action::new("CreateLabel");
const READ: Action = Action::new("ReadLabel");

const SCHEMA: &str = r#"
entity Label = { tenant: HalfByte::Tenant, owner: HalfByte::User, sealed: Bool };
@scope("labels:write")
action CreateLabel appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: HalfByte::Tenant };
@scope("labels:read")
action ReadLabel in [HalfByte::Action::"Read"] appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: Label };
"#;

const POLICIES: &str = r#"
@id("clerks-create")
permit (principal in HalfByte::Role::"clerk", action == Action::"CreateLabel", resource);

@id("owners-read")
permit (principal, action == Action::"ReadLabel", resource) when { resource.owner == principal };

@id("services")
permit (principal is HalfByte::Service, action, resource);
"#;

fn tenant(name: &str) -> TenantId {
    name.parse().expect("a tenant")
}

fn user(subject: &str, of: &str, roles: &[&str]) -> Principal {
    Principal::builder(subject, tenant(of), Timestamp::MAX).roles(roles.iter().copied()).build()
}

fn access() -> Access {
    let files = [SourceFile::new("parcel.cedarschema", SCHEMA), SourceFile::new("parcel.cedar", POLICIES)];
    Access::fixed(Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}")))
}

fn label(of: &str, owner: &Principal) -> Entity {
    Entity::new("Label", "l-1").of_tenant(&tenant(of)).attribute("owner", name_of(owner)).attribute("sealed", false)
}

#[tokio::test]
async fn a_role_and_an_owner_are_permitted_and_others_are_not() {
    let (access, ann, bob) = (access(), user("ann", "acme", &["clerk"]), user("bob", "acme", &[]));
    access.check(&ann, CREATE, &tenant("acme")).await.expect("a clerk");
    access.check(&bob, CREATE, &tenant("acme")).await.expect_err("no clerk");
    access.check(&ann, READ, &label("acme", &ann)).await.expect("her own");
    let decision = access.decide(&bob, READ, &label("acme", &ann)).await.expect("a decision");
    assert!(!decision.is_allowed && decision.policies.is_empty() && decision.errors.is_empty(), "{decision:?}");
}

#[tokio::test]
async fn nobody_touches_what_is_of_another_tenant() {
    let (access, ann) = (access(), user("ann", "acme", &["clerk"]));
    let decision = access.decide(&ann, READ, &label("globex", &ann)).await.expect("a decision");
    assert_eq!(decision.policies, [std::sync::Arc::from("halfbyte.tenant-isolation")], "{decision:?}");
    access.check(&ann, CREATE, &tenant("globex")).await.expect_err("another tenant");
}

#[tokio::test]
async fn a_service_may_do_only_what_it_was_granted() {
    let access = access();
    let service = |scopes: &[&str]| {
        Principal::builder("billing", tenant("acme"), Timestamp::MAX)
            .kind(PrincipalKind::Service)
            .scopes(scopes.iter().copied())
            .build()
    };
    access.check(&service(&["labels:write"]), CREATE, &tenant("acme")).await.expect("granted");
    let decision = access.decide(&service(&["labels:read"]), CREATE, &tenant("acme")).await.expect("a decision");
    assert_eq!(decision.policies, [std::sync::Arc::from("halfbyte.granted.CreateLabel")], "{decision:?}");
}

#[tokio::test]
async fn a_list_is_decided_as_each_of_it_would_be() {
    let (access, ann, bob) = (access(), user("ann", "acme", &[]), user("bob", "acme", &[]));
    let labels = [label("acme", &ann), label("acme", &bob), label("globex", &ann)];
    let all = access.check_all(&ann, READ, &labels).await.expect("decisions");
    assert_eq!(all.iter().map(|decision| decision.is_allowed).collect::<Vec<_>>(), [true, false, false], "{all:?}");
}

#[test]
fn no_two_principals_of_different_tenants_have_a_name_in_common() {
    let names =
        [("acme", "eu/ann"), ("acme/eu", "ann"), ("acme%2Feu", "ann"), ("acme%252Feu", "ann"), ("acme%", "2Feu/ann")]
            .map(|(tenant, subject)| name_of(&user(subject, tenant, &[])));
    for (at, name) in names.iter().enumerate() {
        assert!(!names[..at].contains(name), "{name}");
    }
    assert_eq!(name_of(&user("ann", "acme", &[])).to_string(), r#"HalfByte::User::"acme/ann""#);
}
