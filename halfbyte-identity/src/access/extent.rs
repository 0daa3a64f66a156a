//! How deep and how large a schema is once its names are followed: no bracket shows it, and Cedar goes all the way, on the stack.

use std::collections::{HashMap, HashSet};

use cedar_policy::SchemaFragment;
use serde_json::Value as Json;

use super::declarations::Kind;
use super::shape::qualified;

/// The deepest records, sets and other names in a type.
const DEEPEST: usize = 64;
/// The most parts of a type, with those of the types that it names, as often as it names them.
const LARGEST: usize = 10_000;
/// The most parts of all types, each with those of the types that it names: Cedar copies them there.
const MOST: usize = 100_000;
/// The most types of entities, or groups of actions, that stand in each other one after the other.
const LONGEST: usize = 128;

/// The most actions, that of the base set among them.
const MOST_ACTIONS: usize = 1_000;
/// The most that can be asked: for each action, as many as there are principals and resources for it to apply to. Cedar checks each
/// policy for each.
const MOST_QUESTIONS: usize = 10_000;

/// What of a schema goes too far, and what to do. What goes round in circles is left to Cedar.
pub(super) fn too_far<'a>(fragments: impl IntoIterator<Item = &'a SchemaFragment>) -> Option<(Kind, String, String)> {
    let (mut types, mut stand, mut questions) = (HashMap::new(), HashMap::new(), HashMap::new());
    for fragment in fragments {
        let Ok(Json::Object(namespaces)) = fragment.clone().to_json_value() else { continue };
        for (namespace, content) in &namespaces {
            let all = |part| content.get(part).and_then(Json::as_object).into_iter().flatten();
            for (name, definition) in all("commonTypes") {
                let mut parts = Parts::default();
                parts.add(namespace, definition, 1);
                types.insert((Kind::Type, qualified(namespace, name)), parts);
            }
            for (name, definition) in all("entityTypes") {
                let mut parts = Parts::default();
                ["shape", "tags"].iter().filter_map(|part| definition.get(part)).for_each(|part| {
                    parts.add(namespace, part, 1);
                });
                types.insert((Kind::Entity, qualified(namespace, name)), parts);
                let parents = definition.get("memberOfTypes").and_then(Json::as_array).into_iter().flatten();
                let parents = parents.filter_map(Json::as_str).map(|parent| candidates(namespace, parent));
                stand.insert((Kind::Entity, qualified(namespace, name)), parents.collect());
            }
            for (name, definition) in all("actions") {
                let mut parts = Parts::default();
                let context = definition.get("appliesTo").and_then(|applies| applies.get("context"));
                context.into_iter().for_each(|context| parts.add(namespace, context, 1));
                types.insert((Kind::Action, qualified(namespace, name)), parts);
                questions.insert((Kind::Action, qualified(namespace, name)), asked(definition));
                let groups = definition.get("memberOf").and_then(Json::as_array).into_iter().flatten();
                let groups = groups.filter_map(|group| of_action(namespace, group));
                stand.insert(
                    (Kind::Action, qualified(namespace, name)),
                    groups.map(|name| [name.clone(), name]).collect(),
                );
            }
        }
    }
    too_large(&types).or_else(|| too_long(stand)).or_else(|| too_many(&questions))
}

/// In how many ways an action can be asked for.
fn asked(action: &Json) -> usize {
    let types = |part| {
        let types = action.get("appliesTo").and_then(|applies| applies.get(part)).and_then(Json::as_array);
        types.into_iter().flatten().filter_map(Json::as_str).collect::<HashSet<_>>().len()
    };
    types("principalTypes").saturating_mul(types("resourceTypes"))
}

fn too_many(questions: &HashMap<(Kind, String), usize>) -> Option<(Kind, String, String)> {
    let all = questions.values().fold(0_usize, |sum, count| sum.saturating_add(*count));
    let (name, count) = questions.iter().max_by_key(|(name, count)| (**count, &name.1))?;
    if questions.len() > MOST_ACTIONS {
        let what = format!("is one of more than {MOST_ACTIONS}");
        return Some(finding(
            name,
            format!("{what}: have fewer, and tell by the context or the resource what is different"),
        ));
    }
    (all > MOST_QUESTIONS).then(|| {
        let what = format!(
            "applies to {count} pairs of a principal and a resource, the most of all actions, which have over {MOST_QUESTIONS} together"
        );
        finding(name, format!("{what}: have actions apply to the resources alone that they are for"))
    })
}

/// What is in one definition.
#[derive(Default)]
struct Parts {
    count: usize,
    deepest: usize,
    /// The types that it names, with how deep inside.
    names: Vec<([String; 2], usize)>,
}

impl Parts {
    fn add(&mut self, namespace: &str, definition: &Json, depth: usize) {
        self.count += 1;
        self.deepest = self.deepest.max(depth);
        if let Some(name) = definition.get("name").and_then(Json::as_str) {
            self.names.push((candidates(namespace, name), depth));
        }
        if let Some(element) = definition.get("element") {
            self.add(namespace, element, depth + 1);
        }
        for field in definition.get("attributes").and_then(Json::as_object).into_iter().flat_map(|all| all.values()) {
            self.add(namespace, field, depth + 1);
        }
    }
}

/// A group of actions; without a type it is of the same namespace.
fn of_action(namespace: &str, group: &Json) -> Option<String> {
    let namespace = match group.get("type").and_then(Json::as_str) {
        Some(kind) => kind.rsplit_once("::").map_or("", |(namespace, _)| namespace),
        None => namespace,
    };
    Some(qualified(namespace, group.get("id").and_then(Json::as_str)?))
}

/// What `namespace` may mean by a name: its own, or that of no namespace.
fn candidates(namespace: &str, name: &str) -> [String; 2] {
    let own = if name.contains("::") { name.to_owned() } else { qualified(namespace, name) };
    [own, name.to_owned()]
}

/// Definitions are added up in rounds, those first that name nothing: no more rounds than types may be deep.
fn too_large(types: &HashMap<(Kind, String), Parts>) -> Option<(Kind, String, String)> {
    let mut extents: HashMap<&(Kind, String), (usize, usize)> = HashMap::new();
    let find = |names: &[String; 2]| {
        let all = names.iter().filter_map(|name| types.get_key_value(&(Kind::Type, name.clone())));
        all.map(|(name, _)| name).next()
    };
    let names: HashMap<_, Vec<_>> = types
        .iter()
        .map(|(name, parts)| (name, parts.names.iter().filter_map(|(names, at)| Some((find(names)?, *at))).collect()))
        .collect();
    for _ in 0..=DEEPEST {
        let before = extents.len();
        for (name, parts) in types {
            if extents.contains_key(name) {
                continue;
            }
            let inner: Option<Vec<_>> = names
                .get(name)?
                .iter()
                .map(|(inner, at)| extents.get(inner).map(|(deep, count)| (deep + at, *count)))
                .collect();
            let Some(inner) = inner else { continue };
            let deepest = inner.iter().map(|(deep, _)| *deep).chain([parts.deepest]).max().unwrap_or(0);
            let count = inner.iter().fold(parts.count, |sum, (_, count)| sum.saturating_add(*count));
            if deepest > DEEPEST {
                return Some(finding(name, format!("goes more than {DEEPEST} types deep: write it flatter")));
            }
            if count > LARGEST {
                let what = format!("has more than {LARGEST} parts, with those of the types that it names");
                return Some(finding(name, format!("{what}: name fewer types more than once")));
            }
            extents.insert(name, (deepest, count));
        }
        if extents.len() == before {
            // All is known; or what is left names itself, and Cedar says so.
            break;
        }
    }
    let all = extents.values().fold(0_usize, |sum, (_, count)| sum.saturating_add(*count));
    let (name, _) = extents.iter().filter(|_| all > MOST).max_by_key(|(name, (_, count))| (*count, &name.1))?;
    let what = format!(
        "is the largest of types that have more than {MOST} parts together, each with those of the types that it names"
    );
    Some(finding(name, format!("{what}: name large types less often")))
}

/// Takes away what stands in nothing, again and again, and then what nothing stands in. What is left stands in itself, and one after
/// the other there may be all of it.
fn too_long(mut stand: HashMap<(Kind, String), Vec<[String; 2]>>) -> Option<(Kind, String, String)> {
    for kind in [Kind::Entity, Kind::Action] {
        let of_kind: Vec<_> = stand.keys().filter(|(of, _)| *of == kind).cloned().collect();
        let mut left: HashMap<String, HashSet<String>> = HashMap::new();
        for key in of_kind {
            let parents = stand.remove(&key).into_iter().flatten().flatten();
            let parents = parents.filter(|parent| *parent != key.1).collect();
            left.insert(key.1, parents);
        }
        let mut length = 0;
        while !left.is_empty() {
            let has_parent = |parents: &HashSet<String>| parents.iter().any(|parent| left.contains_key(parent));
            let top = left.iter().filter(|(_, parents)| !has_parent(parents)).map(|(name, _)| name.clone());
            let mut gone: HashSet<_> = top.collect();
            if gone.is_empty() {
                let inside: HashSet<_> = left.values().flatten().collect();
                gone.extend(left.keys().filter(|name| !inside.contains(name)).cloned());
            }
            let is_round = gone.is_empty();
            length += if is_round { left.len() } else { 1 };
            if length > LONGEST {
                let name = left.into_keys().min().unwrap_or_default();
                return Some(finding(
                    &(kind, name),
                    format!("stands in more than {LONGEST} others, each in the next: put it in fewer"),
                ));
            }
            if is_round {
                break;
            }
            left.retain(|name, _| !gone.contains(name));
        }
    }
    None
}

fn finding(name: &(Kind, String), reason: String) -> (Kind, String, String) {
    let (kind, name) = name;
    let what = match kind {
        Kind::Entity => "entity",
        Kind::Action => "action",
        Kind::Type => "type",
    };
    (*kind, name.clone(), format!("the {what} {name} {reason}"))
}

#[cfg(test)]
mod tests {
    use super::super::rules::Rules;
    use super::super::source::SourceFile;
    use super::*;

    /// What is said of a schema; nothing if it is taken, by Cedar too and on the stack of a thread of a test.
    fn said(schema: &str) -> String {
        match Rules::compile(&[SourceFile::new("p.cedarschema", schema)]) {
            Ok(_) => String::new(),
            Err(invalid) => invalid.to_string(),
        }
    }

    fn chain(count: usize, first: &str, next: impl Fn(usize) -> String) -> String {
        let rest: String = (1..=count).map(next).collect();
        format!("{first}\n{rest}")
    }

    fn doublings(count: usize) -> String {
        let types = chain(count, "type T0 = Long;", |at| format!("type T{at} = {{ a: T{0}, b: T{0} }};\n", at - 1));
        format!("{types} entity Label = {{ tenant: HalfByte::Tenant, of: T{count} }};")
    }

    fn aliases(count: usize) -> String {
        chain(count, "type T0 = { a: Bool };", |at| format!("type T{at} = T{};\n", at - 1))
    }

    fn records(count: usize) -> String {
        chain(count, "type T0 = Long;", |at| format!("type T{at} = {{ a: Set<T{}> }};\n", at - 1))
    }

    fn parents(count: usize) -> String {
        chain(count, "entity E0;", |at| format!("entity E{at} in [E{}];\n", at - 1))
    }

    fn ring(count: usize) -> String {
        chain(count - 1, &format!("entity E0 in [E{}];", count - 1), |at| format!("entity E{at} in [E{}];\n", at - 1))
    }

    fn groups(count: usize) -> String {
        chain(count, "namespace A { action \"0\";", |at| format!("action \"{at}\" in [\"{}\"];\n", at - 1)) + "}"
    }

    #[test]
    fn large_types_are_counted_where_they_are_named() {
        let fields: String = (1..999).map(|at| format!("a{at}: Long,")).collect();
        let wide = |count| {
            chain(count, &format!("type Wide = {{ {fields} }};"), |at| format!("entity E{at} = {{ w: Wide }};\n"))
        };
        assert_eq!(said(&wide(98)), "");
        let said = said(&wide(100));
        assert!(said.contains("p.cedarschema:100: the entity E99 is the largest of types"), "{said}");
    }

    #[test]
    fn a_schema_is_taken_as_far_as_cedar_can_follow_and_no_further() {
        let (large, deep) = ("parts, with those of the types that it names", "goes more than 64 types deep");
        let long = "stands in more than 128 others, each in the next";
        for (schema, expected) in [
            (doublings(11), ""),
            (doublings(14), large),
            (doublings(64), large),
            (aliases(60), ""),
            (aliases(65), deep),
            (aliases(2_000), deep),
            (records(21), ""),
            (records(22), deep),
            (records(1_000), deep),
            (parents(127), ""),
            (parents(129), long),
            (parents(2_000), long),
            (ring(120), ""),
            (ring(129), long),
            (groups(127), ""),
            (groups(1_000), long),
        ] {
            let said = said(&schema);
            let line = schema.lines().next().unwrap_or_default();
            assert_eq!(said.is_empty(), expected.is_empty(), "{line}: {said}");
            assert!(said.contains(expected), "{line}: {said}");
        }
        assert!(said(&aliases(65)).contains("p.cedarschema:64: the type T63 "), "{}", said(&aliases(65)));
    }

    #[test]
    fn many_types_are_not_a_long_way() {
        let inside = chain(300, "entity Folder in [Box, Folder]; entity Box in [Folder];", |at| {
            format!("entity E{at} in [Folder, Box];\n")
        });
        assert_eq!(said(&inside), "");
        let holders: String = (1..300).map(|at| format!("E{at}, ")).collect();
        let around = chain(299, &format!("entity Leaf in [{holders} E0]; entity E0;"), |at| format!("entity E{at};\n"));
        assert_eq!(said(&around), "");
    }

    /// That many actions, each of which applies to all of so many types.
    fn crossed(actions: usize, kinds: usize) -> String {
        let list = |count, letter: char| (0..count).map(|at| format!("{letter}{at}")).collect::<Vec<_>>().join(", ");
        format!(
            "entity {0} = {{ tenant: HalfByte::Tenant }};\naction {1} appliesTo {{ principal: [HalfByte::User, HalfByte::Service, HalfByte::User], resource: [{0}] }};",
            list(kinds, 'E'),
            list(actions, 'a')
        )
    }

    #[test]
    fn what_can_be_asked_is_bounded_and_a_large_product_is_far_from_it() {
        let most = "p.cedarschema:2: the action a99 applies to 102 pairs of a principal and a resource, the most of all actions, \
                    which have over 10000 together: ";
        for (schema, expected) in [
            (crossed(60, 40), ""),
            (crossed(100, 50), ""),
            (crossed(100, 51), most),
            // With the one of the base set.
            (crossed(1_000, 1), "the action a999 is one of more than 1000: "),
        ] {
            let said = said(&schema);
            assert_eq!(said.is_empty(), expected.is_empty(), "{said}");
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn what_names_itself_is_left_to_cedar() {
        let round = "type A = { b: B }; type B = { a: A }; entity Label = { a: A, tenant: HalfByte::Tenant };";
        let (fragment, _) = SchemaFragment::from_cedarschema_str(round).expect("it parses");
        assert!(too_far([&fragment]).is_none());
        assert!(said(round).contains("cycle"), "{}", said(round));
    }

    #[test]
    fn a_name_means_the_type_of_its_own_namespace_first() {
        let text = "type T = Long; namespace A { type T = { a: Long }; type U = { t: T }; type V = { t: A::T }; }
            namespace B { type W = { t: T }; action x in [A::Action::\"y\"]; } namespace A { action y in [Action::\"z\"]; action z; }";
        let text = text.replace("namespace A { action y", "namespace C { action y").replace("A::Action", "C::Action");
        let (fragment, _) = SchemaFragment::from_cedarschema_str(&text).expect("it parses");
        let json = fragment.to_json_value().expect("JSON");
        let mut parts = Parts::default();
        parts.add("A", &json["A"]["commonTypes"]["U"], 1);
        assert_eq!(parts.names, [(["A::T".to_owned(), "T".to_owned()], 2)]);
        let mut parts = Parts::default();
        parts.add("A", &json["A"]["commonTypes"]["V"], 1);
        assert_eq!(parts.names, [(["A::T".to_owned(), "A::T".to_owned()], 2)]);
        assert_eq!(of_action("B", &json["B"]["actions"]["x"]["memberOf"][0]).as_deref(), Some("C::y"));
        assert_eq!(of_action("C", &json["C"]["actions"]["y"]["memberOf"][0]).as_deref(), Some("z"));
    }
}
