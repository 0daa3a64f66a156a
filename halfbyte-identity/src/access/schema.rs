//! The schema of a product with that of the base set: parsed, and held to what the base policies need.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{
    EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Schema, SchemaFragment, ValidationError, ValidationMode,
    Validator,
};

use super::declarations::{Declarations, Kind};
use super::source::{Finding, SourceFile};
use super::words;

const BASE: &str = include_str!("base.cedarschema");
const NO_PROFILE: &str = "namespace HalfByte { type Profile = {}; }";
const NAMESPACE: &str = "HalfByte";
const PRINCIPALS: [&str; 2] = ["HalfByte::User", "HalfByte::Service"];
const SERVICE: &str = "HalfByte::Service";

/// The text of the base schema: part of what a version names.
pub(super) fn base() -> &'static str {
    BASE
}

/// A schema, and where the product says what.
pub(super) struct Types {
    pub(super) schema: Schema,
    fragments: Vec<SchemaFragment>,
    declarations: Declarations,
}

impl Types {
    /// Puts the product's schema files and the base set's together.
    pub(super) fn of(files: &[SourceFile]) -> Result<Self, Vec<Finding>> {
        let mut files: Vec<_> = files.iter().filter(|file| file.is_schema()).cloned().collect();
        let declarations = Declarations::of(&files);
        let (mut fragments, mut findings) = (Vec::new(), Vec::new());
        for file in &files {
            match SchemaFragment::from_cedarschema_str(&file.text) {
                Ok((fragment, _warnings)) => {
                    findings.extend(reserved(&fragment, file, &declarations));
                    fragments.push(fragment);
                }
                Err(error) => findings.extend(words::all_in_file(&error, file)),
            }
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        let has_profile = fragments.iter().any(|fragment| {
            let namespace = NAMESPACE.parse().ok();
            namespace.is_some_and(|namespace| fragment.common_type_annotations(Some(namespace), "Profile").is_some())
        });
        for text in [BASE].into_iter().chain((!has_profile).then_some(NO_PROFILE)) {
            match SchemaFragment::from_cedarschema_str(text) {
                Ok((fragment, _warnings)) => fragments.push(fragment),
                Err(error) => findings.push(words::in_file(&error, &SourceFile::new("base.cedarschema", text))),
            }
        }
        let schema = Schema::from_schema_fragments(fragments.iter().cloned()).map_err(|error| {
            files.push(SourceFile::new("base.cedarschema", BASE));
            vec![shadowing(words::in_one_of(&error, &files), &declarations)]
        })?;
        Ok(Self { schema, fragments, declarations })
    }

    /// As they were written, and those of the base set.
    pub(super) fn fragments(&self) -> impl Iterator<Item = &SchemaFragment> {
        self.fragments.iter()
    }

    /// What the base policies could not be evaluated with, in words on the product's schema.
    pub(super) fn unfit(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut resources: BTreeMap<String, (EntityTypeName, EntityUid)> = BTreeMap::new();
        let mut strangers = BTreeSet::new();
        for environment in self.schema.request_envs() {
            let (principal, action) = (environment.principal().to_string(), environment.action());
            if !PRINCIPALS.contains(&&*principal) {
                strangers.insert((name_of(action), principal));
            }
            let resource = environment.resource();
            resources.entry(resource.to_string()).or_insert_with(|| (resource.clone(), action.clone()));
        }
        for (action, principal) in strangers {
            let reason = format!(
                "the action {action} applies to the principal {principal}, and principals are HalfByte::User and HalfByte::Service alone: \
                 say what they are by roles, groups or HalfByte::Profile"
            );
            findings.push(self.declarations.finding(Kind::Action, &action, reason));
        }
        for (kind, (name, action)) in resources {
            if let Some(what) = self.without_tenant(&name) {
                let reason = format!(
                    "{kind}, to which the action {} applies, {what}: what is asked for says whose it is, or nobody could be kept from \
                     another tenant's; give it `tenant: HalfByte::Tenant`, or have the action apply to HalfByte::Tenant",
                    name_of(&action)
                );
                findings.push(self.declarations.finding(Kind::Entity, &kind, reason));
            }
        }
        for action in self.schema.actions() {
            if self.scope(action).is_some_and(|scope| !is_scope(scope)) {
                let reason = format!(
                    "@scope of the action {} is no scope: write one word, as in @scope(\"labels:write\")",
                    name_of(action)
                );
                findings.push(self.declarations.finding(Kind::Action, &name_of(action), reason));
            }
        }
        findings
    }

    /// What is wrong with a type's attribute `tenant`.
    fn without_tenant(&self, kind: &EntityTypeName) -> Option<&'static str> {
        let probe = format!(
            r#"forbid (principal, action, resource is {kind}) unless {{ resource.tenant == HalfByte::Tenant::"t" }};"#
        );
        let Ok(probe) = Policy::parse(Some(PolicyId::new("tenant")), probe) else {
            return Some("has a name that cannot be asked for");
        };
        let Ok(probe) = PolicySet::from_policies([probe]) else { return None };
        let result = Validator::new(self.schema.clone()).validate(&probe, ValidationMode::Strict);
        result.validation_errors().next().map(|error| match error {
            ValidationError::UnsafeAttributeAccess(_) => "has no attribute `tenant`",
            ValidationError::UnsafeOptionalAttributeAccess(_) => "need not have its attribute `tenant`",
            _ => "has an attribute `tenant` that is no HalfByte::Tenant",
        })
    }

    /// What services were granted: for each action the scope that the schema says; nothing where it says none.
    pub(super) fn grants(&self) -> String {
        let mut text = String::new();
        let mut actions: Vec<_> = self.schema.actions().filter(|action| self.is_for_services(action)).collect();
        actions.sort_unstable();
        for action in actions {
            let id = format!("halfbyte.granted.{}", name_of(action)).escape_debug().to_string();
            text.push_str(&format!(
                "@id(\"{id}\")\n@reason(\"a service may do only what it was granted\")\n\
                 forbid (principal is HalfByte::Service, action == {action}, resource)",
            ));
            match self.scope(action) {
                Some(scope) => text.push_str(&format!("\nunless {{ principal.scopes.contains({scope:?}) }};\n\n")),
                None => text.push_str(";\n\n"),
            }
        }
        text
    }

    /// What is odd: actions that services are to do and never can.
    pub(super) fn odd(&self) -> Vec<Finding> {
        let forgotten =
            self.schema.actions().filter(|action| self.is_for_services(action) && self.scope(action).is_none());
        let mut names: Vec<_> = forgotten.map(name_of).collect();
        names.sort_unstable();
        let reason = |name: &str| {
            format!(
                "the action {name} applies to HalfByte::Service and has no @scope, so that no service can do it: say the scope, or leave out services"
            )
        };
        names.iter().map(|name| self.declarations.finding(Kind::Action, name, reason(name))).collect()
    }

    /// Actions that can be asked for, and not groups of actions alone: name and where it is declared.
    pub(super) fn actions(&self) -> BTreeMap<Box<str>, (Arc<str>, usize)> {
        let names =
            self.schema.request_envs().map(|environment| name_of(environment.action())).collect::<BTreeSet<_>>();
        names.into_iter().map(|name| (name.as_str().into(), self.declarations.place(Kind::Action, &name))).collect()
    }

    /// Names of types as the schema knows them.
    pub(super) fn kinds(&self) -> HashMap<Box<str>, EntityTypeName> {
        self.schema.entity_types().map(|kind| (kind.to_string().into(), kind.clone())).collect()
    }

    fn is_for_services(&self, action: &EntityUid) -> bool {
        let principals = self.schema.principals_for_action(action);
        principals.is_some_and(|mut principals| principals.any(|principal| principal.to_string() == SERVICE))
    }

    fn scope(&self, action: &EntityUid) -> Option<&str> {
        let namespace = action.type_name().namespace().parse().ok();
        self.fragments.iter().find_map(|fragment| fragment.action_annotation(namespace.clone(), action.id(), "scope"))
    }
}

/// As constants of the product name it: `CreateLabel`, `Parcel::CreateLabel`.
pub(super) fn name_of(action: &EntityUid) -> String {
    match &*action.type_name().namespace() {
        "" => action.id().unescaped().to_owned(),
        namespace => format!("{namespace}::{}", action.id().unescaped()),
    }
}

/// A scope as tokens have it (RFC 6749, 3.3).
fn is_scope(scope: &str) -> bool {
    !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
}

/// What a product says in the namespace of the base set, other than what it is asked to.
fn reserved(fragment: &SchemaFragment, file: &SourceFile, declarations: &Declarations) -> Vec<Finding> {
    let Ok(serde_json::Value::Object(namespaces)) = fragment.clone().to_json_value() else {
        let reason = "the schema cannot be looked through for what it says of HalfByte".into();
        return vec![Finding { file: file.name.clone(), line: 0, reason }];
    };
    let mut findings = Vec::new();
    let of_base = |namespace: &str| namespace == NAMESPACE || namespace.starts_with("HalfByte::");
    for (namespace, content) in namespaces.iter().filter(|(namespace, _)| of_base(namespace)) {
        for (field, kind) in [("entityTypes", Kind::Entity), ("actions", Kind::Action), ("commonTypes", Kind::Type)] {
            let names =
                content.get(field).and_then(serde_json::Value::as_object).into_iter().flat_map(serde_json::Map::keys);
            for name in names.map(|name| format!("{namespace}::{name}")).filter(|name| name != "HalfByte::Profile") {
                let reason = format!(
                    "{name} is in the namespace of the base set, in which a product declares `type Profile` and nothing else: \
                     use a namespace of your own"
                );
                findings.push(Finding {
                    file: file.name.clone(),
                    line: declarations.place(kind, &name).1,
                    reason: reason.into(),
                });
            }
        }
    }
    findings
}

/// Cedar's word on a name without namespace that the base set has too, said so that it helps.
fn shadowing(finding: Finding, declarations: &Declarations) -> Finding {
    if !finding.reason.contains("shadow") {
        return finding;
    }
    let types = ["User", "Service", "Tenant", "Role", "Group", "Profile"];
    let of_types = types.iter().flat_map(|name| [(Kind::Entity, *name), (Kind::Type, *name)]);
    let taken = of_types.chain([(Kind::Action, "Read")]).find(|(kind, name)| declarations.place(*kind, name).1 > 0);
    match taken {
        Some((kind, name)) => {
            let reason = format!(
                "{name} without a namespace hides HalfByte::{name} of the base set: call it otherwise, or put it in a namespace"
            );
            declarations.finding(kind, name, reason)
        }
        None => finding,
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    fn uid(text: &str) -> EntityUid {
        EntityUid::from_str(text).expect("a name")
    }

    #[test]
    fn actions_are_named_as_constants_name_them() {
        assert_eq!(name_of(&uid(r#"Action::"CreateLabel""#)), "CreateLabel");
        assert_eq!(name_of(&uid(r#"Parcel::Post::Action::"CreateLabel""#)), "Parcel::Post::CreateLabel");
    }

    #[test]
    fn a_scope_is_one_word_of_what_tokens_may_have() {
        for good in ["labels:write", "a", "https://x/y"] {
            assert!(is_scope(good), "{good}");
        }
        for bad in ["", " ", "a b", "a\"b", "a\\b", "é", "a\n"] {
            assert!(!is_scope(bad), "{bad:?}");
        }
    }
}
