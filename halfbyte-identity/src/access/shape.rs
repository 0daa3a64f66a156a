use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::SchemaFragment;
use serde_json::Value as Json;

use super::decision::EvaluationError;
use super::entity::{Entity, EntityRef, TENANT, Value};
use super::question::unfit;

/// What the schema says of each type, to check things by. Cedar has such a check, which copies the schema's description of a type
/// for each thing and each mention of one, and whose errors show values.
#[derive(Default)]
pub(super) struct Shapes(HashMap<Box<str>, Kind>, HashSet<Box<str>>);

#[derive(Default)]
struct Kind {
    fields: Arc<Fields>,
    /// What it may stand in, at any remove.
    parents: HashSet<Box<str>>,
    /// The only ids there are, of an enumerated type.
    ids: Option<HashSet<Box<str>>>,
}

#[derive(Default)]
struct Fields {
    by_name: HashMap<Box<str>, Field>,
    required: usize,
    leads: bool,
}

struct Field {
    shape: Shape,
    is_required: bool,
}

/// An attribute as a schema declares it.
pub(super) struct Attribute<'a> {
    /// The type of what it names, if it names a thing.
    pub(super) kind: Option<&'a str>,
    pub(super) is_required: bool,
}

/// Of one common type there is one record, however often it is named.
#[derive(Clone)]
enum Shape {
    Bool,
    Long,
    String,
    Ip,
    Time,
    Set(Arc<Shape>),
    Record(Arc<Fields>),
    Entity {
        kind: Arc<str>,
        leads: bool,
    },
    /// A type that no [`Value`] is of.
    Other,
}

impl Shape {
    /// Whether a value of it may name something of which there is more to know than the name.
    fn leads(&self) -> bool {
        match self {
            Self::Set(element) => element.leads(),
            Self::Record(fields) => fields.leads,
            Self::Entity { leads, .. } => *leads,
            _ => false,
        }
    }
}

/// Names of attributes, of whatever, that lead to something of which there is more to know than its name.
#[derive(Default)]
pub(super) struct Leads {
    /// Those that name it, and those of records in which something does.
    pub(super) names: HashSet<Box<str>>,
    /// Those that name it themselves.
    pub(super) steps: HashSet<Box<str>>,
}

impl Leads {
    fn look(&mut self, fields: &Arc<Fields>, seen: &mut HashSet<*const Fields>) {
        if !fields.leads || !seen.insert(Arc::as_ptr(fields)) {
            return;
        }
        for (name, field) in fields.by_name.iter().filter(|(_, field)| field.shape.leads()) {
            self.names.insert(name.clone());
            let mut shape = &field.shape;
            while let Shape::Set(element) = shape {
                shape = element;
            }
            match shape {
                Shape::Record(fields) => self.look(fields, seen),
                _ => _ = self.steps.insert(name.clone()),
            }
        }
    }
}

impl Shapes {
    /// Those of a schema that Cedar has accepted; of the types that are `names_only` there is nothing else to know.
    pub(super) fn new<'a>(
        fragments: impl IntoIterator<Item = &'a SchemaFragment>,
        names_only: &HashSet<Box<str>>,
    ) -> Self {
        let (mut commons, mut entities, mut contexts) = (HashMap::new(), HashMap::new(), Vec::new());
        for fragment in fragments {
            let Ok(Json::Object(namespaces)) = fragment.clone().to_json_value() else { continue };
            for (namespace, content) in namespaces {
                for action in content.get("actions").and_then(Json::as_object).into_iter().flat_map(|all| all.values())
                {
                    contexts.extend(action.get("appliesTo").map(|applies| (namespace.clone(), applies.clone())));
                }
                for (all, part) in [(&mut commons, "commonTypes"), (&mut entities, "entityTypes")] {
                    for (name, definition) in content.get(part).and_then(Json::as_object).into_iter().flatten() {
                        all.insert(qualified(&namespace, name), (namespace.clone(), definition.clone()));
                    }
                }
            }
        }
        let source = Source { commons, entities, names_only, made: RefCell::default() };
        let mut tenants = HashSet::new();
        let definitions = source.commons.values().chain(source.entities.values()).chain(&contexts);
        definitions.for_each(|(namespace, definition)| source.tenants(namespace, definition, &mut tenants));
        Self(source.entities.keys().map(|name| (name.as_str().into(), source.kind(name))).collect(), tenants)
    }

    /// The attributes that lead to other things.
    pub(super) fn leads(&self) -> Leads {
        let (mut leads, mut seen) = (Leads::default(), HashSet::new());
        self.0.values().for_each(|kind| leads.look(&kind.fields, &mut seen));
        leads
    }

    /// The attributes, of whatever, contexts too, that name a tenant.
    pub(super) fn tenants(&self) -> &HashSet<Box<str>> {
        &self.1
    }

    /// What things of the type `kind` have by the name `attribute`.
    pub(super) fn attribute(&self, kind: &str, attribute: &str) -> Option<Attribute<'_>> {
        let field = self.0.get(kind)?.fields.by_name.get(attribute)?;
        let kind = match &field.shape {
            Shape::Entity { kind, .. } => Some(&**kind),
            _ => None,
        };
        Some(Attribute { kind, is_required: field.is_required })
    }

    /// Whether `entity` is as the schema says.
    pub(super) fn check(&self, entity: &Entity) -> Result<(), EvaluationError> {
        let name = entity.name();
        let kind = self.0.get(name.kind()).ok_or_else(|| unfit(format!("the schema has no entity {}", name.kind())))?;
        if !self.is_id(name) {
            return Err(unfit(format!("the schema has no {name}")));
        }
        let mut required = 0;
        for (attribute, value) in entity.attributes() {
            let field = kind.fields.by_name.get(attribute);
            let field = field.ok_or_else(|| unfit(format!("the schema has no attribute {attribute} of {name}")))?;
            if !self.fits(value, &field.shape) {
                return Err(unfit(format!(
                    "the attribute {attribute} of {name} is not of the type that the schema says"
                )));
            }
            required += usize::from(field.is_required);
        }
        if required < kind.fields.required {
            let is_there = |field: &str| entity.attributes().any(|(name, _)| name == field);
            let required = kind.fields.by_name.iter().filter(|(_, field)| field.is_required);
            let mut missing: Vec<_> = required.map(|(field, _)| &**field).filter(|field| !is_there(field)).collect();
            missing.sort_unstable();
            return Err(unfit(format!("{name} has no attribute {}", missing.join(", "))));
        }
        match entity.parents().iter().find(|parent| !kind.parents.contains(parent.kind()) || !self.is_id(parent)) {
            Some(parent) => Err(unfit(format!("{name} cannot be in {parent}: the schema does not say so"))),
            None => Ok(()),
        }
    }

    fn is_id(&self, name: &EntityRef) -> bool {
        let ids = self.0.get(name.kind()).and_then(|kind| kind.ids.as_ref());
        ids.is_none_or(|ids| ids.contains(name.id()))
    }

    fn fits(&self, value: &Value, shape: &Shape) -> bool {
        match (value, shape) {
            (Value::Bool(_), Shape::Bool)
            | (Value::Long(_), Shape::Long)
            | (Value::String(_), Shape::String)
            | (Value::Ip(_), Shape::Ip)
            | (Value::Time(_), Shape::Time) => true,
            (Value::Set(items), Shape::Set(shape)) => items.iter().all(|item| self.fits(item, shape)),
            (Value::Record(record), Shape::Record(fields)) => {
                let mut required = 0;
                let fit = record.iter().all(|(name, value)| {
                    let field = fields.by_name.get(name);
                    required += usize::from(field.is_some_and(|field| field.is_required));
                    field.is_some_and(|field| self.fits(value, &field.shape))
                });
                fit && required == fields.required
            }
            (Value::Entity(name), Shape::Entity { kind, .. }) => name.kind() == &**kind && self.is_id(name),
            _ => false,
        }
    }
}

/// Definitions by full name, each with the namespace that it stands in.
struct Source<'a> {
    commons: HashMap<String, (String, Json)>,
    entities: HashMap<String, (String, Json)>,
    names_only: &'a HashSet<Box<str>>,
    /// What became of common types.
    made: RefCell<HashMap<String, Shape>>,
}

impl Source<'_> {
    fn kind(&self, name: &str) -> Kind {
        let Some((namespace, definition)) = self.entities.get(name) else { return Kind::default() };
        let ids = definition.get("enum").and_then(Json::as_array);
        let ids = ids.map(|ids| ids.iter().filter_map(Json::as_str).map(Into::into).collect());
        let shape = definition.get("shape").map(|shape| self.shape(namespace, shape));
        let fields = match shape {
            Some(Shape::Record(fields)) => fields,
            _ => Arc::default(),
        };
        Kind { fields, parents: self.parents(name), ids }
    }

    fn parents(&self, name: &str) -> HashSet<Box<str>> {
        let (mut found, mut next) = (HashSet::new(), vec![name.to_owned()]);
        while let Some(name) = next.pop() {
            let Some((namespace, definition)) = self.entities.get(&name) else { continue };
            for parent in definition.get("memberOfTypes").and_then(Json::as_array).into_iter().flatten() {
                let parent = parent.as_str().and_then(|parent| self.resolve(namespace, parent, &self.entities));
                if let Some(parent) = parent
                    && found.insert(parent.as_str().into())
                {
                    next.push(parent);
                }
            }
        }
        found
    }

    fn shape(&self, namespace: &str, definition: &Json) -> Shape {
        match definition.get("type").and_then(Json::as_str) {
            Some("Set") => {
                let element = definition.get("element").map_or(Shape::Other, |element| self.shape(namespace, element));
                Shape::Set(Arc::new(element))
            }
            Some("Record") => {
                let attributes = definition.get("attributes").and_then(Json::as_object);
                let field = |(name, definition): (&String, &Json)| {
                    let is_required = definition.get("required").and_then(Json::as_bool).unwrap_or(true);
                    (name.as_str().into(), Field { shape: self.shape(namespace, definition), is_required })
                };
                let by_name: HashMap<Box<str>, Field> = attributes.into_iter().flatten().map(field).collect();
                let required = by_name.values().filter(|field| field.is_required).count();
                let leads = by_name.values().any(|field| field.shape.leads());
                Shape::Record(Arc::new(Fields { by_name, required, leads }))
            }
            // All that Cedar's own syntax names without saying what it is.
            Some("EntityOrCommon") => match definition.get("name").and_then(Json::as_str) {
                Some(name) => self.named(namespace, name),
                None => Shape::Other,
            },
            _ => Shape::Other,
        }
    }

    /// Adds the attributes that name a tenant, wherever they stand in a definition.
    fn tenants(&self, namespace: &str, definition: &Json, found: &mut HashSet<Box<str>>) {
        for (name, field) in definition.get("attributes").and_then(Json::as_object).into_iter().flatten() {
            let kind = field.get("name").and_then(Json::as_str).map(|kind| self.named(namespace, kind));
            if matches!(kind, Some(Shape::Entity { kind, .. }) if &*kind == TENANT) {
                found.insert(name.as_str().into());
            }
        }
        let parts = definition.as_object().into_iter().flat_map(|fields| fields.values());
        parts.for_each(|part| self.tenants(namespace, part, found));
    }

    fn named(&self, namespace: &str, name: &str) -> Shape {
        if let Some(common) = self.resolve(namespace, name, &self.commons)
            && let Some((namespace, definition)) = self.commons.get(&common)
        {
            if let Some(made) = self.made.borrow().get(&common) {
                return made.clone();
            }
            let made = self.shape(namespace, definition);
            self.made.borrow_mut().insert(common, made.clone());
            return made;
        }
        if let Some(name) = self.resolve(namespace, name, &self.entities) {
            let leads = name != TENANT && !self.names_only.contains(name.as_str());
            return Shape::Entity { kind: name.into(), leads };
        }
        match name.strip_prefix("__cedar::").unwrap_or(name) {
            "Bool" => Shape::Bool,
            "Long" => Shape::Long,
            "String" => Shape::String,
            "ipaddr" => Shape::Ip,
            "datetime" => Shape::Time,
            _ => Shape::Other,
        }
    }

    /// The full name of what `namespace` calls `name`: its own before that of no namespace.
    fn resolve(&self, namespace: &str, name: &str, all: &HashMap<String, (String, Json)>) -> Option<String> {
        let own = qualified(namespace, name);
        let own = if name.contains("::") { name.to_owned() } else { own };
        [own, name.to_owned()].into_iter().find(|name| all.contains_key(name))
    }
}

pub(super) fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}::{name}") }
}

#[cfg(test)]
mod tests {
    use super::super::around::names_only;
    use super::*;

    #[test]
    fn attributes_lead_to_what_has_more_than_a_name() {
        let text = r#"
            namespace HalfByte { entity Tenant = { tenant: Tenant, suspended: Bool }; entity Role; }
            entity Project = { tenant: HalfByte::Tenant, frozen: Bool };
            type More = { project?: Project, note: String, deep: { also: Set<Project> } };
            entity Task = {
                tenant: HalfByte::Tenant, role: HalfByte::Role, roles: Set<HalfByte::Role>, n: Long, plain: { n: Long },
                first: More, again: Set<More>, lead: Set<Set<Project>>,
            };
        "#;
        let (fragment, _) = SchemaFragment::from_cedarschema_str(text).expect("a schema");
        let Leads { names, steps } = Shapes::new([&fragment], &names_only([&fragment].into_iter())).leads();
        let sorted = |names: HashSet<Box<str>>| {
            let mut names: Vec<_> = names.into_iter().map(String::from).collect();
            names.sort_unstable();
            names.join(" ")
        };
        assert_eq!(sorted(names), "again also deep first lead project");
        assert_eq!(sorted(steps), "also lead project");
    }

    #[test]
    fn attributes_that_name_a_tenant_are_found_wherever_they_stand() {
        let text = r#"
            namespace HalfByte { entity Tenant = { tenant: Tenant, suspended: Bool }; }
            namespace Parcel {
                entity Tenant = { own: Tenant };
                type Payer = HalfByte::Tenant; type Terms = { lender?: Payer, deep: { deeper: { by: Payer } } };
                entity Label = { payer?: HalfByte::Tenant, all: Set<Payer>, terms: Terms, name: String };
                action Pay appliesTo { principal: Label, resource: Label, context: { buyer: Payer } };
            }
        "#;
        let (fragment, _) = SchemaFragment::from_cedarschema_str(text).expect("a schema");
        let shapes = Shapes::new([&fragment], &HashSet::new());
        let mut found: Vec<_> = shapes.tenants().iter().map(|name| &**name).collect();
        found.sort_unstable();
        assert_eq!(found, ["buyer", "by", "lender", "payer", "tenant"]);
    }

    #[test]
    fn of_a_type_that_is_named_often_there_is_one_shape() {
        let types: String = (1..=40).map(|at| format!("type T{at} = {{ a: T{0}, b: T{0} }};\n", at - 1)).collect();
        let text = format!("type T0 = {{ n: Long }}; {types} entity Label = {{ of: T40 }};");
        let (fragment, _) = SchemaFragment::from_cedarschema_str(&text).expect("a schema");
        // Cedar would not come to an end with it: nothing but the check of shapes does.
        let shapes = Shapes::new([&fragment], &HashSet::new());
        assert!(shapes.leads().names.is_empty());
        shapes.check(&Entity::new("Label", "l")).expect_err("it has none");
    }
}
