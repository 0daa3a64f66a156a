use std::collections::{HashMap, HashSet};

use cedar_policy::SchemaFragment;
use serde_json::Value as Json;

use super::decision::EvaluationError;
use super::entity::{Entity, EntityRef, Value};
use super::question::unfit;

/// What the schema says of each type, to check things by. Cedar has such a check, which copies the schema's description of a type
/// for each thing and each mention of one, and whose errors show values.
#[derive(Default)]
pub(super) struct Shapes(HashMap<Box<str>, Kind>);

#[derive(Default)]
struct Kind {
    fields: Fields,
    /// What it may stand in, at any remove.
    parents: HashSet<Box<str>>,
    /// The only ids there are, of an enumerated type.
    ids: Option<HashSet<Box<str>>>,
}

#[derive(Default)]
struct Fields {
    by_name: HashMap<Box<str>, Field>,
    required: usize,
}

struct Field {
    shape: Shape,
    is_required: bool,
}

enum Shape {
    Bool,
    Long,
    String,
    Ip,
    Time,
    Set(Box<Shape>),
    Record(Fields),
    Entity(Box<str>),
    /// A type that no [`Value`] is of.
    Other,
}

impl Shapes {
    /// Those of a schema that Cedar has accepted.
    pub(super) fn new<'a>(fragments: impl IntoIterator<Item = &'a SchemaFragment>) -> Self {
        let (mut commons, mut entities) = (HashMap::new(), HashMap::new());
        for fragment in fragments {
            let Ok(Json::Object(namespaces)) = fragment.clone().to_json_value() else { continue };
            for (namespace, content) in namespaces {
                for (all, part) in [(&mut commons, "commonTypes"), (&mut entities, "entityTypes")] {
                    for (name, definition) in content.get(part).and_then(Json::as_object).into_iter().flatten() {
                        all.insert(qualified(&namespace, name), (namespace.clone(), definition.clone()));
                    }
                }
            }
        }
        let source = Source { commons, entities };
        Self(source.entities.keys().map(|name| (name.as_str().into(), source.kind(name))).collect())
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
            (Value::Entity(name), Shape::Entity(kind)) => name.kind() == &**kind && self.is_id(name),
            _ => false,
        }
    }
}

/// Definitions by full name, each with the namespace that it stands in.
struct Source {
    commons: HashMap<String, (String, Json)>,
    entities: HashMap<String, (String, Json)>,
}

impl Source {
    fn kind(&self, name: &str) -> Kind {
        let Some((namespace, definition)) = self.entities.get(name) else { return Kind::default() };
        let ids = definition.get("enum").and_then(Json::as_array);
        let ids = ids.map(|ids| ids.iter().filter_map(Json::as_str).map(Into::into).collect());
        let shape = definition.get("shape").map(|shape| self.shape(namespace, shape));
        let fields = match shape {
            Some(Shape::Record(fields)) => fields,
            _ => Fields::default(),
        };
        let mut parents = HashSet::new();
        self.parents(name, &mut parents);
        Kind { fields, parents, ids }
    }

    fn parents(&self, name: &str, found: &mut HashSet<Box<str>>) {
        let Some((namespace, definition)) = self.entities.get(name) else { return };
        for parent in definition.get("memberOfTypes").and_then(Json::as_array).into_iter().flatten() {
            let parent = parent.as_str().and_then(|parent| self.resolve(namespace, parent, &self.entities));
            if let Some(parent) = parent
                && found.insert(parent.as_str().into())
            {
                self.parents(&parent, found);
            }
        }
    }

    fn shape(&self, namespace: &str, definition: &Json) -> Shape {
        match definition.get("type").and_then(Json::as_str) {
            Some("Set") => {
                let element = definition.get("element").map_or(Shape::Other, |element| self.shape(namespace, element));
                Shape::Set(Box::new(element))
            }
            Some("Record") => {
                let attributes = definition.get("attributes").and_then(Json::as_object);
                let field = |(name, definition): (&String, &Json)| {
                    let is_required = definition.get("required").and_then(Json::as_bool).unwrap_or(true);
                    (name.as_str().into(), Field { shape: self.shape(namespace, definition), is_required })
                };
                let by_name: HashMap<Box<str>, Field> = attributes.into_iter().flatten().map(field).collect();
                let required = by_name.values().filter(|field| field.is_required).count();
                Shape::Record(Fields { by_name, required })
            }
            // All that Cedar's own syntax names without saying what it is.
            Some("EntityOrCommon") => match definition.get("name").and_then(Json::as_str) {
                Some(name) => self.named(namespace, name),
                None => Shape::Other,
            },
            _ => Shape::Other,
        }
    }

    fn named(&self, namespace: &str, name: &str) -> Shape {
        let common = self.resolve(namespace, name, &self.commons);
        if let Some((namespace, definition)) = common.and_then(|name| self.commons.get(&name)) {
            return self.shape(namespace, definition);
        }
        if let Some(name) = self.resolve(namespace, name, &self.entities) {
            return Shape::Entity(name.into());
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

fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}::{name}") }
}
