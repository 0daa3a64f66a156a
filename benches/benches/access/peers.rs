//! The peers, with the same policies.

use std::collections::{HashMap, HashSet};

use casbin::{CoreApi as _, DefaultModel, Enforcer, MemoryAdapter, MgmtApi as _};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use halfbyte::core::Principal;

use crate::Label;

type Made<T> = Result<T, Box<dyn std::error::Error>>;

/// What the base set says of every request and of this action.
const BASE: &str = r#"
forbid (principal, action, resource) unless { principal.tenant == resource.tenant };
forbid (principal, action, resource) when { principal.tenant.suspended } unless { action in HalfByte::Action::"Read" };
forbid (principal is HalfByte::Service, action == Action::"ReadLabel", resource)
unless { principal.scopes.contains("labels:read") };
"#;

/// cedar-policy by itself: names of types are parsed once, all else is made for each question.
pub struct Cedar {
    authorizer: Authorizer,
    policies: PolicySet,
    user: EntityTypeName,
    tenant: EntityTypeName,
    role: EntityTypeName,
    label: EntityTypeName,
    action: EntityUid,
}

impl Cedar {
    pub fn new(policies: &str) -> Made<Self> {
        Ok(Self {
            authorizer: Authorizer::new(),
            policies: format!("{BASE}{policies}").parse()?,
            user: "HalfByte::User".parse()?,
            tenant: "HalfByte::Tenant".parse()?,
            role: "HalfByte::Role".parse()?,
            label: "Label".parse()?,
            action: "Action::\"ReadLabel\"".parse()?,
        })
    }

    pub fn is_allowed(&self, principal: &Principal, label: &Label) -> bool {
        self.decide(principal, label).is_some_and(|decision| decision == Decision::Allow)
    }

    fn decide(&self, principal: &Principal, label: &Label) -> Option<Decision> {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let entity = RestrictedExpression::new_entity_uid;
        let tenant = uid(&self.tenant, principal.tenant().as_str());
        let who = uid(&self.user, &format!("{}/{}", principal.tenant(), principal.subject()));
        let attributes = HashMap::from([
            ("tenant".to_owned(), entity(tenant.clone())),
            ("subject".to_owned(), text(principal.subject())),
            ("issuer".to_owned(), text(principal.issuer())),
            ("scopes".to_owned(), RestrictedExpression::new_set(principal.scopes().map(text))),
            ("profile".to_owned(), RestrictedExpression::new_record([]).ok()?),
        ]);
        let roles = principal.roles().map(|role| uid(&self.role, role)).collect();
        let caller = Entity::new(who.clone(), attributes, roles).ok()?;
        let attributes = HashMap::from([
            ("tenant".to_owned(), entity(tenant.clone())),
            ("suspended".to_owned(), RestrictedExpression::new_bool(false)),
        ]);
        let payer = Entity::new(tenant.clone(), attributes, HashSet::new()).ok()?;
        let what = uid(&self.label, &label.id);
        let attributes = HashMap::from([
            ("tenant".to_owned(), entity(uid(&self.tenant, label.tenant.as_str()))),
            ("owner".to_owned(), entity(uid(&self.user, label.owner.id()))),
            ("sealed".to_owned(), RestrictedExpression::new_bool(label.is_sealed)),
        ]);
        let asked = Entity::new(what.clone(), attributes, HashSet::new()).ok()?;
        let entities = Entities::from_entities([caller, payer, asked], None).ok()?;
        let request = Request::new(who, self.action.clone(), what, Context::empty(), None).ok()?;
        Some(self.authorizer.is_authorized(&request, &self.policies, &entities).decision())
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

const MODEL: &str = "
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
";

/// Roles and grants by name: it has neither tenants nor attributes here.
pub struct Casbin(Enforcer);

impl Casbin {
    pub fn new(total: usize) -> Made<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let made = runtime.block_on(async {
            let mut enforcer = Enforcer::new(DefaultModel::from_str(MODEL).await?, MemoryAdapter::default()).await?;
            let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
            let role = |number| if number == total / 2 { "clerk".to_owned() } else { format!("r{number}") };
            let rows = (0..total).map(|number| row([&role(number), "Label", "ReadLabel"])).collect();
            enforcer.add_policies(rows).await?;
            enforcer.add_grouping_policy(vec!["acme/ann".to_owned(), "clerk".to_owned()]).await?;
            Ok::<_, casbin::Error>(enforcer)
        });
        Ok(Self(made?))
    }

    pub fn is_allowed(&self, _label: &Label) -> bool {
        self.0.enforce(("acme/ann", "Label", "ReadLabel")).unwrap_or(false)
    }
}
