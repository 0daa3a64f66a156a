//! A question from the command line.

use std::collections::BTreeMap;

use clap::Args;
use halfbyte::core::{Principal, PrincipalKind, TenantId};
use halfbyte::identity::access::{Asked, Entity, EntityRef, Membership, Value};
use jiff::Timestamp;

use crate::Outcome;

#[derive(Args)]
pub struct Question {
    /// Who asks: TENANT/SUBJECT
    #[arg(long)]
    principal: String,
    /// He is a program that acts for itself
    #[arg(long)]
    service: bool,
    /// A role that he has; any number
    #[arg(long = "role")]
    roles: Vec<String>,
    /// A group that he is in; any number
    #[arg(long = "group")]
    groups: Vec<String>,
    /// A scope that he was granted; any number
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// What the product knows of him: NAME=VALUE; any number
    #[arg(long = "profile", value_parser = attribute)]
    profile: Vec<(String, Value)>,
    /// His tenant is suspended
    #[arg(long)]
    suspended: bool,
    /// What he would do
    #[arg(long)]
    action: String,
    /// To what: TYPE::"ID", or `tenant` for his tenant as a whole
    #[arg(long)]
    resource: String,
    /// Whose it is, if it is of another tenant
    #[arg(long)]
    of: Option<TenantId>,
    /// An attribute of the resource: NAME=VALUE, where a value is true, 7, TYPE::"ID" or else a text; any number
    #[arg(long = "attr", value_parser = attribute)]
    attributes: Vec<(String, Value)>,
    /// What the resource stands in: TYPE::"ID"; any number
    #[arg(long = "in", value_parser = name)]
    parents: Vec<EntityRef>,
    /// What the product knows of another thing that policies look at, such as what the resource stands in: TYPE::"ID", or one of its
    /// attributes: TYPE::"ID".NAME=VALUE; any number
    #[arg(long = "known", value_parser = known)]
    known: Vec<(EntityRef, Option<(String, Value)>)>,
}

impl Question {
    pub fn asked(self) -> Outcome<Asked> {
        let (tenant, subject) =
            self.principal.split_once('/').ok_or("a principal is TENANT/SUBJECT, such as acme/ann")?;
        let tenant: TenantId = tenant.parse()?;
        let kind = if self.service { PrincipalKind::Service } else { PrincipalKind::User };
        let principal = Principal::builder(subject, tenant.clone(), Timestamp::MAX)
            .kind(kind)
            .roles(self.roles.iter().map(String::as_str))
            .scopes(self.scopes.iter().map(String::as_str))
            .build();
        let asked = if self.resource == "tenant" {
            Asked::new(&principal, &self.action, &tenant)
        } else {
            let resource = Entity::named(name(&self.resource)?).of_tenant(self.of.as_ref().unwrap_or(&tenant));
            let resource = self.parents.into_iter().fold(resource, Entity::parent);
            let resource =
                self.attributes.into_iter().fold(resource, |resource, (name, value)| resource.attribute(name, value));
            Asked::new(&principal, &self.action, &resource)
        };
        let groups = self.groups.into_iter().map(|name| EntityRef::new("HalfByte::Group", name)).collect();
        // Names of a profile are constants in a product; this program ends in a moment.
        let profile = self.profile.into_iter().map(|(name, value)| (&*name.leak(), value)).collect();
        let asked = asked.member(Membership { profile, groups });
        let mut things = BTreeMap::new();
        for (name, attribute) in self.known {
            let thing = things.remove(&name).unwrap_or_else(|| Entity::named(name.clone()));
            let thing = attribute.into_iter().fold(thing, |thing, (name, value)| thing.attribute(name, value));
            things.insert(name, thing);
        }
        let asked = things.into_values().fold(asked, Asked::entity);
        Ok(if self.suspended { asked.suspended() } else { asked })
    }
}

fn name(text: &str) -> Result<EntityRef, String> {
    let (kind, id) = text
        .strip_suffix('"')
        .and_then(|text| text.split_once("::\""))
        .ok_or_else(|| format!("{text} is no TYPE::\"ID\", such as Label::\"l-1\""))?;
    Ok(EntityRef::new(kind.to_owned(), id))
}

fn known(text: &str) -> Result<(EntityRef, Option<(String, Value)>), String> {
    match text.split_once("\".") {
        Some((thing, rest)) => Ok((name(&format!("{thing}\""))?, Some(attribute(rest)?))),
        None => Ok((name(text)?, None)),
    }
}

fn attribute(text: &str) -> Result<(String, Value), String> {
    let (attribute, value) = text.split_once('=').ok_or("an attribute is NAME=VALUE")?;
    let value = match (value.parse::<bool>(), value.parse::<i64>(), name(value)) {
        (Ok(value), ..) => Value::Bool(value),
        (_, Ok(value), _) => Value::Long(value),
        (_, _, Ok(name)) => Value::Entity(name),
        _ => Value::from(value),
    };
    Ok((attribute.to_owned(), value))
}
