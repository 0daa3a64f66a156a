//! The schema of a product with that of the base set: parsed, and held to what the base policies need.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{EntityTypeName, EntityUid, Policy, Schema, SchemaFragment};

use super::declarations::{Declarations, Kind};
use super::entity::TENANT;
use super::extent::too_far;
use super::shape::Shapes;
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
                    findings.extend(tagged(&fragment, file, &declarations));
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
        // Cedar would end the process.
        if let Some((kind, name, reason)) = too_far(&fragments) {
            return Err(vec![declarations.finding(kind, &name, reason)]);
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
    pub(super) fn unfit(&self, shapes: &Shapes) -> Vec<Finding> {
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
            if let Some(what) = without_tenant(&name, shapes) {
                let reason = format!(
                    "{kind}, to which the action {} applies, {what}: what is asked for says whose it is, or nobody could be kept from \
                     another tenant's; give it `tenant: HalfByte::Tenant`, or have the action apply to HalfByte::Tenant",
                    name_of(&action)
                );
                findings.push(self.declarations.finding(Kind::Entity, &kind, reason));
            }
        }
        findings.extend(self.of_one_name());
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

    /// Actions that a product could not tell apart: one with a namespace, and one that has it in its name.
    fn of_one_name(&self) -> Vec<Finding> {
        let (mut names, mut findings) = (BTreeMap::new(), Vec::new());
        self.schema.actions().for_each(|action| *names.entry(name_of(action)).or_insert(0_usize) += 1);
        for (name, count) in names.iter().filter(|(_, count)| **count > 1) {
            let (first, others) = match self.declarations.places(Kind::Action, name) {
                places @ [(file, line), others @ ..] if places.len() >= *count => {
                    (format!("the one at {file}:{line}"), others.to_vec())
                }
                // A name that is written with escapes is not found.
                [] => ("another one".to_owned(), vec![Default::default()]),
                places if name.starts_with("HalfByte::") => ("one of the base set".to_owned(), places.to_vec()),
                places => ("another one".to_owned(), places.to_vec()),
            };
            findings.extend(others.into_iter().map(|(file, line)| {
                let reason = format!(
                    "the action {name} has the same full name as {first}, and who asks for it could mean either: give it another name"
                );
                Finding { file, line, reason: reason.into() }
            }));
        }
        findings
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

/// What is wrong with a type's attribute `tenant`. Cedar would go through all that can be asked, for each type.
fn without_tenant(kind: &EntityTypeName, shapes: &Shapes) -> Option<&'static str> {
    if Policy::parse(None, format!("forbid (principal, action, resource is {kind});")).is_err() {
        return Some("has a name that cannot be asked for");
    }
    match shapes.attribute(&kind.to_string(), "tenant") {
        None => Some("has no attribute `tenant`"),
        Some(tenant) if !tenant.is_required => Some("need not have its attribute `tenant`"),
        Some(tenant) if tenant.kind != Some(TENANT) => Some("has an attribute `tenant` that is no HalfByte::Tenant"),
        Some(_) => None,
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

/// Types with tags: of things there are attributes to tell, and no tags, so that `hasTag` would always be false.
fn tagged(fragment: &SchemaFragment, file: &SourceFile, declarations: &Declarations) -> Vec<Finding> {
    let Ok(serde_json::Value::Object(namespaces)) = fragment.clone().to_json_value() else { return Vec::new() };
    let mut findings = Vec::new();
    for (namespace, content) in &namespaces {
        let types = content.get("entityTypes").and_then(serde_json::Value::as_object).into_iter().flatten();
        for (name, _) in types.filter(|(_, definition)| definition.get("tags").is_some_and(|tags| !tags.is_null())) {
            let name = super::shape::qualified(namespace, name);
            let line = declarations.place(Kind::Entity, &name).1;
            let reason = format!("{name} has tags, which are not taken: use an attribute, of a record or a set");
            findings.push(Finding { file: file.name.clone(), line, reason: reason.into() });
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

    use cedar_policy::{PolicySet, ValidationMode, Validator};

    use super::super::around::names_only;
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

    /// What is found in a schema.
    fn found(text: &str) -> Vec<String> {
        let files = [SourceFile::new("p.cedarschema", text)];
        let unfit = |types: Types| types.unfit(&Shapes::new(types.fragments(), &names_only(types.fragments())));
        let findings = Types::of(&files).map_or_else(|findings| findings, unfit);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tenant_is_that_of_the_base_set_whatever_else_is_called_so() {
        let schema = |tenant: &str| {
            format!(
                "namespace Parcel {{ entity Tenant = {{ suspended: Bool, tenant: HalfByte::Tenant }}; type Of = HalfByte::Tenant;
                 entity Label = {{ tenant: {tenant} }};
                 action Read appliesTo {{ principal: HalfByte::User, resource: Label }}; }}"
            )
        };
        assert_eq!(found(&schema("HalfByte::Tenant")), [""; 0]);
        assert_eq!(found(&schema("Of")), [""; 0]);
        for other in ["Tenant", "Parcel::Tenant", "String", "Set<HalfByte::Tenant>", "HalfByte::User"] {
            let found = found(&schema(other)).concat();
            assert!(
                found.starts_with("p.cedarschema:2: Parcel::Label, to which the action Parcel::Read applies, has an"),
                "{found}"
            );
            assert!(found.contains("that is no HalfByte::Tenant"), "{found}");
        }
    }

    #[test]
    fn grants_fit_any_schema_and_so_need_no_check() {
        let text = r#"@scope("a:b") action "odd \" \\ \u{1F600} name", plain appliesTo { principal: [HalfByte::Service, HalfByte::User], resource: HalfByte::Tenant };
            namespace A::B { action none appliesTo { principal: [HalfByte::Service], resource: HalfByte::Tenant }; }"#;
        let types =
            Types::of(&[SourceFile::new("p.cedarschema", text)]).unwrap_or_else(|findings| panic!("{findings:?}"));
        let grants = PolicySet::from_str(&types.grants()).expect("policies");
        assert_eq!(grants.num_of_policies(), 3);
        let result = Validator::new(types.schema).validate(&grants, ValidationMode::Strict);
        assert_eq!(result.validation_errors().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
        let impossible = result
            .validation_warnings()
            .filter(|warning| matches!(warning, cedar_policy::ValidationWarning::ImpossiblePolicy(_)));
        assert_eq!(impossible.count(), 0);
    }

    #[test]
    fn types_with_tags_are_refused_as_there_are_none_to_give() {
        let found = found("entity Plain;\nnamespace Parcel { entity Box in [Plain] = { n: Long } tags String; }");
        let expected =
            "p.cedarschema:2: Parcel::Box has tags, which are not taken: use an attribute, of a record or a set";
        assert_eq!(found, [expected]);
    }
}
