//! What stands around a principal and resources: what they stand in, and what attributes name that policies look through; further
//! and further out.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cedar_policy::SchemaFragment;
use halfbyte_core::BoxError;
use tokio::time::Instant;

use super::entity::{Entity, EntityRef, TENANT, Value};
use super::follows::Follows;
use super::height::{self, MAX_STEPS, Stacked};
use super::provider::Erased;
use super::question::{GROUP, IN_ITSELF};
use super::rules::Rules;
use super::throttle::Seldom;

/// How many things a resource may have around it.
const MAX_AROUND: usize = 256;
/// How many the principal may have: in a real directory that is many groups. Those that policies name are among them.
const MAX_AROUND_PRINCIPAL: usize = 1024;
/// How many ways lead to a thing that is around something, on average: what Cedar does is in proportion to all ways.
const WAYS: usize = 4;
/// How many things are kept for one request; more are asked for each time.
const MAX_KEPT: usize = 4096;

/// How it is said that something is not there.
pub(super) const NOT_THERE: &str = "is not there, and policies may look at it";
/// How it is said that there is too much.
pub(super) const LEADS_TO: &str = "stands in or leads to";

/// What the provider has answered about one principal's request.
#[derive(Default)]
pub(super) struct Known {
    pub(super) principal: OnceLock<Entity>,
    pub(super) tenant: OnceLock<Entity>,
    things: Mutex<HashMap<EntityRef, Answer>>,
}

/// What there is of a name.
#[derive(Clone)]
enum Answer {
    There(Arc<Entity>),
    Absent,
    /// Something was answered that it is not, or that is not to be seen.
    Other,
}

impl Answer {
    fn thing(&self) -> Option<&Arc<Entity>> {
        match self {
            Self::There(thing) => Some(thing),
            Self::Absent | Self::Other => None,
        }
    }
}

impl Known {
    /// The thing of that name, if it is there.
    pub(super) async fn thing(&self, provider: &dyn Erased, name: &EntityRef) -> Result<Option<Arc<Entity>>, BoxError> {
        if let Some(known) = self.things().get(name) {
            return Ok(known.thing().cloned());
        }
        let found = match provider.entity(name).await? {
            Some(found) if found.name() == name => Answer::There(Arc::new(found)),
            Some(other) => ignore(&other),
            None => Answer::Absent,
        };
        self.keep(name.clone(), found.clone());
        Ok(found.thing().cloned())
    }

    /// Adds those of `names` to `found` that are not in it.
    async fn find(
        &self,
        provider: &dyn Erased,
        names: impl Iterator<Item = &EntityRef>,
        found: &mut Found<'_>,
    ) -> Result<(), BoxError> {
        let mut unknown = Vec::new();
        {
            let things = self.things();
            for name in names {
                if found.by_name.contains_key(name) {
                    continue;
                }
                match things.get(name) {
                    Some(known) => found.add(name, known.clone()),
                    None => {
                        unknown.push(name.clone());
                        found.add(name, Answer::Absent);
                    }
                }
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let mut missing: HashSet<_> = unknown.iter().cloned().collect();
        let mut others = HashSet::new();
        for thing in provider.entities(&unknown).await? {
            if missing.remove(thing.name()) {
                let name = thing.name().clone();
                let answer = Answer::There(Arc::new(thing));
                self.keep(name.clone(), answer.clone());
                found.add(&name, answer);
            } else if !found.by_name.contains_key(thing.name()) {
                ignore(&thing);
                others.insert(thing.name().kind().to_owned());
            }
        }
        for name in missing {
            // It may be what was meant by any name of that type.
            let answer = if others.contains(name.kind()) { Answer::Other } else { Answer::Absent };
            self.keep(name.clone(), answer.clone());
            found.add(&name, answer);
        }
        Ok(())
    }

    fn keep(&self, name: EntityRef, found: Answer) {
        let mut things = self.things();
        if things.len() < MAX_KEPT {
            things.insert(name, found);
        }
    }

    fn things(&self) -> std::sync::MutexGuard<'_, HashMap<EntityRef, Answer>> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A database that is lax about case, say, has found something else.
fn ignore(other: &Entity) -> Answer {
    static TOLD: Seldom = Seldom::new();
    if let Some(more) = TOLD.admits(Instant::now()) {
        tracing::warn!(
            found = %other.name(), more,
            "the entity provider answered what it was not asked for, and it counts as not there: compare ids byte for byte"
        );
    }
    Answer::Other
}

/// What was found for one question of a tenant's.
struct Found<'a> {
    tenant: &'a Entity,
    by_name: HashMap<EntityRef, Answer>,
    in_order: Vec<Arc<Entity>>,
}

impl<'a> Found<'a> {
    fn new(tenant: &'a Entity) -> Self {
        Self { tenant, by_name: HashMap::new(), in_order: Vec::new() }
    }

    fn add(&mut self, name: &EntityRef, answer: Answer) {
        // Nobody is to learn anything of what is another tenant's by what he says his own things stand in or lead to.
        let answer = match answer.thing() {
            Some(thing) if is_anothers(thing, self.tenant) => Answer::Other,
            _ => answer,
        };
        self.in_order.extend(answer.thing().cloned());
        self.by_name.insert(name.clone(), answer);
    }

    fn thing(&self, name: &EntityRef) -> Option<&Arc<Entity>> {
        self.by_name.get(name)?.thing()
    }

    /// Those of `names` that are there.
    fn things<'n>(&self, names: impl Iterator<Item = &'n EntityRef>) -> Vec<Arc<Entity>> {
        names.filter_map(|name| self.thing(name).cloned()).collect()
    }
}

/// Why what is around things is not known.
pub(super) enum Lost {
    Provider(BoxError),
    /// It is not there, or too much.
    Unfit(String),
    /// The same of what is around the principal, whatever he asks for.
    UnfitWho(String),
}

/// A walk outwards from some things, step by step.
struct Walk<'a> {
    rules: &'a Rules,
    follows: &'a Follows,
    /// What is known anyway.
    own: [&'a EntityRef; 2],
    /// What was come by, through how many attributes at least.
    seen: HashMap<EntityRef, usize>,
    next: Vec<EntityRef>,
    steps: usize,
    most: usize,
    /// How often something was come by.
    ways: usize,
}

impl<'a> Walk<'a> {
    fn new(rules: &'a Rules, follows: &'a Follows, own: [&'a EntityRef; 2], most: usize) -> Self {
        Self { rules, follows, own, seen: HashMap::new(), next: Vec::new(), steps: 0, most, ways: 0 }
    }

    /// Adds to the next step what `thing` stands in, and what it names that policies may look at if they came by it through so
    /// many attributes.
    fn outwards(&mut self, thing: &Entity, through: usize) {
        // Policies ask whether something is in it, and do not look at it any further.
        thing.parents().iter().for_each(|parent| self.come_by(parent, self.follows.reach));
        if through < self.follows.reach {
            let followed = thing.attributes().filter(|(name, _)| self.follows.names.contains(*name));
            followed.for_each(|(_, value)| value.names(&mut |name| self.come_by(name, through + 1)));
        }
    }

    fn come_by(&mut self, name: &EntityRef, through: usize) {
        if is_plain(self.rules, name) || self.own.contains(&name) {
            return;
        }
        self.ways += 1;
        match self.seen.get_mut(name) {
            Some(before) if *before <= through => return,
            Some(before) => *before = through,
            None => _ = self.seen.insert(name.clone(), through),
        }
        self.next.push(name.clone());
    }

    /// What the next step comes by; nothing at the end.
    fn step(&mut self) -> Result<Vec<EntityRef>, String> {
        let of = self.own[1];
        let ways = self.most.saturating_mul(WAYS);
        if self.seen.len() <= self.most && self.ways > ways {
            return Err(format!("what {of} {LEADS_TO} stands in or leads to one another in more than {ways} ways"));
        }
        if self.next.is_empty() {
            return Ok(Vec::new());
        }
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(too_far(of));
        }
        if self.seen.len() > self.most {
            return Err(format!("{of} {LEADS_TO} more than {} things", self.most));
        }
        Ok(std::mem::take(&mut self.next))
    }

    /// Whether it is too much that was come by, and not only too far away.
    fn is_too_much(&self) -> bool {
        self.seen.len() > self.most || self.ways > self.most.saturating_mul(WAYS)
    }

    /// Goes on from what the step came by. What of it is not there is an error.
    fn go_on(&mut self, names: &[EntityRef], found: &Found<'_>) -> Result<(), String> {
        let mut missing = None;
        for name in names {
            match found.thing(name) {
                Some(thing) => self.outwards(thing, self.seen.get(name).copied().unwrap_or(0)),
                // Of groups a provider need know only those that stand in others.
                None if name.kind() == GROUP && !matches!(found.by_name.get(name), Some(Answer::Other)) => {}
                None => missing = missing.or(Some(name)),
            }
        }
        missing.map_or(Ok(()), |name| Err(not_there(name)))
    }
}

/// Whether it is asked for by nobody. A tenant is the principal's own, which is there, or another one, which is nobody's business.
fn is_plain(rules: &Rules, name: &EntityRef) -> bool {
    rules.names_only.contains(name.kind()) || name.kind() == TENANT
}

fn too_far(of: &EntityRef) -> String {
    format!("what {of} {LEADS_TO} is more than {MAX_STEPS} steps away")
}

fn not_there(name: &EntityRef) -> String {
    format!("{name} {NOT_THERE} or at what it stands in: have the EntityProvider answer it")
}

/// All that is around `resources` and `who`, as far as policies about the action can look; without `who` and his `tenant`. And what of
/// `resources` cannot be decided, as it could not if it were asked for alone.
pub(super) async fn around(
    known: &Known,
    provider: &dyn Erased,
    (rules, follows): (&Rules, &Follows),
    (who, tenant): (&Entity, &Entity),
    resources: &[Entity],
) -> Result<Around, Lost> {
    let own = |resource| [who.name(), resource];
    let mut of_who = Walk::new(rules, follows, own(who.name()), MAX_AROUND_PRINCIPAL);
    of_who.outwards(who, 0);
    follows.roots.iter().for_each(|root| of_who.come_by(root, 0));
    // What stands in or names another one of a list comes by what the provider says of that one, as it does alone.
    let alone = match resources {
        [resource] => resource.name(),
        _ => who.name(),
    };
    let mut of_all = Walk::new(rules, follows, own(alone), MAX_AROUND.saturating_mul(resources.len()));
    resources.iter().filter(|it| !is_foreign(it, tenant)).for_each(|it| of_all.outwards(it, 0));
    let mut found = Found::new(tenant);
    // What the principal lacks is told first, wherever it is come by: for one as for a list.
    let mut lost = None;
    loop {
        let of_his = of_who.step().map_err(Lost::UnfitWho)?;
        let of_theirs = of_all.step().unwrap_or_else(|reason| {
            // What is so far away from all of a list is too far for each that leads there, and told of it below.
            if resources.len() == 1 || of_all.is_too_much() {
                lost = Some(reason);
            }
            of_all.next.clear();
            Vec::new()
        });
        if of_his.is_empty() && of_theirs.is_empty() {
            break;
        }
        let names = of_his.iter().chain(&of_theirs);
        known.find(provider, names, &mut found).await.map_err(Lost::Provider)?;
        of_who.go_on(&of_his, &found).map_err(Lost::UnfitWho)?;
        if let Err(reason) = of_all.go_on(&of_theirs, &found)
            && resources.len() == 1
        {
            lost = Some(reason);
            of_all.next.clear();
        }
    }
    stacked(rules, who, (who, &of_who), &found).map_err(Lost::UnfitWho)?;
    if let Some(reason) = lost {
        return Err(Lost::Unfit(reason));
    }
    let of_each = match resources {
        [resource] => {
            stacked(rules, who, (resource, &of_all), &found).map_err(Lost::Unfit)?;
            vec![Ok(found.things(of_all.seen.keys()))]
        }
        resources => {
            let mut of_each = Vec::with_capacity(resources.len());
            for resource in resources {
                let mut walk = Walk::new(rules, follows, own(resource.name()), MAX_AROUND);
                if !is_foreign(resource, tenant) {
                    walk.outwards(resource, 0);
                }
                let went = to_the_end(&mut walk, &found);
                let went = went.and_then(|()| stacked(rules, who, (resource, &walk), &found));
                of_each.push(went.map(|()| found.things(walk.seen.keys())));
            }
            of_each
        }
    };
    Ok(Around { of_who: found.things(of_who.seen.keys()), of_each, things: found.in_order })
}

/// Goes on over what was found. An error says why there is no getting to the end.
fn to_the_end(walk: &mut Walk<'_>, found: &Found<'_>) -> Result<(), String> {
    loop {
        let names = walk.step()?;
        if names.is_empty() {
            return Ok(());
        }
        walk.go_on(&names, found)?;
    }
}

/// What [`around`] would say of one thing, were `things` all that a provider knows: why it cannot be decided.
pub(super) fn lacking<'a>(
    (rules, follows): (&Rules, &Follows),
    (who, tenant): (&Entity, &Entity),
    resource: &Entity,
    things: impl Iterator<Item = &'a Entity>,
) -> Result<(), String> {
    let mut found = Found::new(tenant);
    things.for_each(|thing| found.add(thing.name(), Answer::There(Arc::new(thing.clone()))));
    let mut of_who = Walk::new(rules, follows, [who.name(); 2], MAX_AROUND_PRINCIPAL);
    of_who.outwards(who, 0);
    follows.roots.iter().for_each(|root| of_who.come_by(root, 0));
    let mut of_it = Walk::new(rules, follows, [who.name(), resource.name()], MAX_AROUND);
    if !is_foreign(resource, tenant) {
        of_it.outwards(resource, 0);
    }
    to_the_end(&mut of_who, &found)?;
    stacked(rules, who, (who, &of_who), &found)?;
    to_the_end(&mut of_it, &found)?;
    stacked(rules, who, (resource, &of_it), &found)
}

/// Whether `thing` and what was come by from it stand in so much, and nothing in itself, that Cedar can be given it.
fn stacked(rules: &Rules, who: &Entity, (thing, walk): (&Entity, &Walk<'_>), found: &Found<'_>) -> Result<(), String> {
    let known = |name: &EntityRef| match name {
        // The principal counts before what is asked for in his name.
        name if name == who.name() => Some(who),
        name if name == thing.name() => Some(thing),
        name => found.thing(name).map(|thing| &**thing),
    };
    let names = [thing.name()].into_iter().chain(walk.seen.keys());
    height::check(names, known, |name| !is_plain(rules, name)).map_err(|stacked| match stacked {
        Stacked::InItself => IN_ITSELF.to_owned(),
        Stacked::TooHigh => too_far(thing.name()),
    })
}

/// Whether it is of another tenant. The base set forbids it whatever is around it, and so that is not asked for: nobody is to learn
/// from what is asked, or from how long it takes, what other tenants have.
fn is_foreign(resource: &Entity, tenant: &Entity) -> bool {
    matches!(resource.get("tenant"), Some(Value::Entity(of)) if of != tenant.name())
}

/// Whether what was loaded is another tenant's. What says of no tenant that it belongs to it is everybody's.
fn is_anothers(thing: &Entity, tenant: &Entity) -> bool {
    matches!(thing.get("tenant"), Some(Value::Entity(of)) if of.kind() == TENANT && of != tenant.name())
}

/// What is around some things.
pub(super) struct Around {
    pub(super) things: Vec<Arc<Entity>>,
    /// Those of them that are around the principal.
    pub(super) of_who: Vec<Arc<Entity>>,
    /// Those that are around each of what was asked for, or why it cannot be decided.
    pub(super) of_each: Vec<Result<Vec<Arc<Entity>>, String>>,
}

/// The types of a schema that have no attributes and no tags, and stand in nothing. All others are asked for.
pub(super) fn names_only<'a>(fragments: impl Iterator<Item = &'a SchemaFragment>) -> HashSet<Box<str>> {
    let mut names = HashSet::new();
    for fragment in fragments {
        let Ok(serde_json::Value::Object(namespaces)) = fragment.clone().to_json_value() else { continue };
        for (namespace, content) in &namespaces {
            let types = content.get("entityTypes").and_then(|types| types.as_object());
            for (name, _) in types.into_iter().flatten().filter(|(_, kind)| !has_more(kind)) {
                let name = if namespace.is_empty() { name.clone() } else { format!("{namespace}::{name}") };
                names.insert(name.into());
            }
        }
    }
    names
}

fn has_more(kind: &serde_json::Value) -> bool {
    let is_empty = |value: &serde_json::Value| match value {
        serde_json::Value::Array(items) => items.is_empty(),
        serde_json::Value::Object(fields) => fields.is_empty(),
        other => other.is_null(),
    };
    let has_attributes = kind.get("shape").is_some_and(|shape| {
        let plain = shape.get("type").is_some_and(|kind| kind == "Record");
        !plain || shape.get("attributes").is_some_and(|attributes| !is_empty(attributes))
    });
    has_attributes
        || ["memberOfTypes", "tags"].iter().any(|field| kind.get(field).is_some_and(|value| !is_empty(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_with_nothing_but_a_name_are_not_asked_for() {
        let text = r#"
            entity Plain;
            entity Alike = {};
            entity Inside in [Plain];
            entity Told = { name?: String };
            entity Tagged tags String;
            entity Colour enum ["red"];
            namespace Deep { entity Plain; entity Inside in [Plain]; }
        "#;
        let (fragment, _) = SchemaFragment::from_cedarschema_str(text).expect("a schema");
        let mut names: Vec<_> = names_only([&fragment].into_iter()).into_iter().collect();
        names.sort_unstable();
        assert_eq!(names, ["Alike", "Colour", "Deep::Plain", "Plain"].map(Box::from));
    }
}
