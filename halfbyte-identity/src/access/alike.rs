use std::collections::HashSet;

use super::entity::{Entity, EntityRef, Value};
use super::index::Reads;

/// Which resources policies cannot tell apart, so that one decision does for all of them.
///
/// Policies compare things and look up what they stand in and their attributes; they see nothing of how a thing is called. So if a
/// name occurs nowhere else (not in a policy, nor in what principal and tenant are and refer to), then another name of the same type in
/// its place changes nothing. Two resources are alike if they are of one type, and the attributes that conditions look at and what
/// they stand in are the same but for such names: to the policies, labels of two strangers are the same label.
pub(super) struct Alike<'a> {
    literals: &'a HashSet<EntityRef>,
    mentioned: HashSet<&'a EntityRef>,
    reads: Reads,
}

/// Of names without meaning in one resource. One with more of them is alike to no other.
const STRANGERS: usize = 32;

impl<'a> Alike<'a> {
    /// `literals` are what policies name, `around` all things of the question but the resource, and `reads` what conditions look at.
    pub(super) fn new(literals: &'a HashSet<EntityRef>, around: &[&'a Entity], reads: Reads) -> Self {
        let mut mentioned = HashSet::new();
        for entity in around {
            mentioned.insert(entity.name());
            mentioned.extend(entity.parents());
            entity.attributes().for_each(|(_, value)| value.names(&mut |name| _ = mentioned.insert(name)));
        }
        Self { literals, mentioned, reads }
    }

    /// Writes the same bytes to `into` for resources that are alike, and others for others. `false` if it is alike to none.
    pub(super) fn key(&self, resource: &Entity, into: &mut Vec<u8>) -> bool {
        let is_known = self.is_known(resource.name());
        // Its attributes can be got at by another way than the variable: through what mentions it.
        let mut key = Key { alike: self, into, strangers: Vec::new() };
        if !is_known && key.write(resource, &self.reads) && !key.is_of_itself(resource) {
            return true;
        }
        key.write(resource, &Reads::All)
    }

    fn is_known(&self, name: &EntityRef) -> bool {
        self.literals.contains(name) || self.mentioned.contains(name)
    }
}

struct Key<'a, 'r> {
    alike: &'a Alike<'a>,
    into: &'a mut Vec<u8>,
    /// Names without meaning, the resource's own first if it is one; and whether it was met again.
    strangers: Vec<(&'r EntityRef, bool)>,
}

impl<'r> Key<'_, 'r> {
    fn write(&mut self, resource: &'r Entity, reads: &Reads) -> bool {
        self.into.clear();
        self.strangers.clear();
        self.into.push(u8::from(*reads == Reads::All));
        if !self.name(resource.name()) {
            return false;
        }
        self.length(resource.parents().len());
        if !resource.parents().iter().all(|parent| self.name(parent)) {
            return false;
        }
        for (name, value) in resource.attributes() {
            let is_read = match reads {
                Reads::All => true,
                Reads::These(these) => these.contains(name),
            };
            if is_read {
                self.text(name);
                if !self.value(value) {
                    return false;
                }
            }
        }
        true
    }

    fn is_of_itself(&self, resource: &Entity) -> bool {
        self.strangers.iter().any(|(name, is_again)| *is_again && *name == resource.name())
    }

    fn name(&mut self, name: &'r EntityRef) -> bool {
        if self.alike.is_known(name) {
            self.into.push(b'k');
            self.text(name.kind());
            self.text(name.id());
            return true;
        }
        let known = self.strangers.iter().position(|(stranger, _)| *stranger == name);
        let number = known.unwrap_or(self.strangers.len());
        match self.strangers.get_mut(number) {
            Some((_, is_again)) => *is_again = true,
            None => self.strangers.push((name, false)),
        }
        self.into.push(b'u');
        self.text(name.kind());
        self.length(number);
        number < STRANGERS
    }

    fn value(&mut self, value: &'r Value) -> bool {
        match value {
            Value::Bool(value) => self.into.extend([b'b', u8::from(*value)]),
            Value::Long(value) => self.bytes(b'l', &value.to_be_bytes()),
            Value::String(value) => {
                self.into.push(b's');
                self.text(value);
            }
            Value::Set(items) => {
                self.into.push(b'S');
                self.length(items.len());
                return items.iter().all(|item| self.value(item));
            }
            Value::Record(fields) => {
                self.into.push(b'R');
                self.length(fields.len());
                return fields.iter().all(|(name, value)| {
                    self.text(name);
                    self.value(value)
                });
            }
            Value::Entity(name) => return self.name(name),
            Value::Ip(std::net::IpAddr::V4(address)) => self.bytes(b'4', &address.octets()),
            Value::Ip(std::net::IpAddr::V6(address)) => self.bytes(b'6', &address.octets()),
            Value::Time(time) => self.bytes(b't', &time.as_nanosecond().to_be_bytes()),
        }
        true
    }

    fn bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.into.push(tag);
        self.into.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.into.extend_from_slice(text.as_bytes());
    }

    fn length(&mut self, length: usize) {
        self.into.extend_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x(id: &str) -> EntityRef {
        EntityRef::new("X", id)
    }

    fn y(id: &str) -> EntityRef {
        EntityRef::new("Y", id)
    }

    fn set<T: Into<Value>>(items: impl IntoIterator<Item = T>) -> Value {
        items.into_iter().map(Into::into).collect()
    }

    /// What policies that name `lit` cannot tell apart, where they look at `a` and `b`; `None` for what is alike to none.
    fn key(resource: &Entity) -> Option<Vec<u8>> {
        let literals = [x("lit"), y("lit")].into();
        let fields = [("in".into(), Value::Entity(x("in-record")))].into();
        let who = Entity::named(x("who"))
            .parent(x("group"))
            .attribute("named", x("named"))
            .attribute("set", set([x("in-set")]))
            .attribute("record", Value::Record(fields));
        let loaded = Entity::named(x("loaded"));
        let reads = Reads::These(["a".into(), "b".into()].into());
        let mut into = vec![7; 3];
        let alike = Alike::new(&literals, &[&who, &loaded], reads).key(resource, &mut into);
        alike.then_some(into)
    }

    fn thing() -> Entity {
        Entity::named(x("1"))
    }

    #[test]
    fn strangers_in_the_same_places_are_alike() {
        for (one, other) in [
            (thing(), Entity::named(x("2"))),
            (thing().attribute("a", x("3")), Entity::named(x("2")).attribute("a", x("4"))),
            (thing().attribute("a", set([x("3"), x("4")])), thing().attribute("a", set([x("5"), x("6")]))),
            (thing().parent(x("3")), thing().parent(x("4"))),
            (thing().attribute("c", 1), thing().attribute("c", 2)),
            (thing().attribute("a", x("loaded")), Entity::named(x("2")).attribute("a", x("loaded"))),
            (thing().attribute("a", x("1")), Entity::named(x("2")).attribute("a", x("2"))),
        ] {
            let (one, other) = (key(&one), key(&other));
            assert!(one.is_some() && one == other, "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_policies_could_tell_apart_is_not_alike() {
        let a = |value: EntityRef| thing().attribute("a", value);
        let known = ["lit", "who", "group", "named", "in-set", "in-record", "loaded"];
        let mut pairs: Vec<_> = known.iter().map(|known| (a(x(known)), a(x("3")))).collect();
        pairs.extend(known.windows(2).map(|two| (a(x(two[0])), a(x(two[1])))));
        // Where its own name is known its attributes can be got at otherwise.
        pairs.extend(known.iter().map(|known| (Entity::named(x(known)).attribute("c", 1), Entity::named(x(known)))));
        pairs.extend([
            (thing(), Entity::named(y("1"))),
            (a(x("3")), a(y("3"))),
            (a(x("lit")), a(y("lit"))),
            (a(x("3")), a(x("1"))),
            (a(x("1")).attribute("c", 1), a(x("1")).attribute("c", 2)),
            (a(x("3")).attribute("b", x("3")), a(x("3")).attribute("b", x("4"))),
            (a(x("3")), thing().attribute("b", x("3"))),
            (a(x("3")), thing()),
            (thing().parent(x("group")), thing().parent(x("3"))),
            (thing().parent(x("3")), thing().parent(y("3"))),
            (thing().parent(x("3")), thing()),
            (thing().attribute("a", "1bs2"), thing().attribute("a", "1").attribute("b", "2")),
            (thing().attribute("a", 1), thing().attribute("a", 2)),
            (thing().attribute("a", true), thing().attribute("a", false)),
            (
                thing().attribute("a", set([set([1]), set([2, 3])])),
                thing().attribute("a", set([set([1, 2]), set([3])])),
            ),
            (
                thing().attribute("a", Value::Set(vec![set([1]), Value::Long(2)])),
                thing().attribute("a", Value::Set(vec![set([1, 2])])),
            ),
        ]);
        for (one, other) in pairs {
            let (key, of_other) = (key(&one), key(&other));
            assert!(key.is_some() && key != of_other, "{one:?} {other:?} {key:?}");
        }
    }

    #[test]
    fn one_of_many_strangers_is_alike_to_none() {
        let strangers = |count: usize| (0..count).map(|number| x(&format!("s-{number}")));
        // It is one itself.
        assert!(key(&thing().attribute("a", set(strangers(STRANGERS - 1)))).is_some());
        assert!(key(&thing().attribute("a", set(strangers(STRANGERS)))).is_none());
        assert!(key(&strangers(STRANGERS).fold(thing(), Entity::parent)).is_none());
        assert!(key(&Entity::named(x("lit")).attribute("c", set(strangers(STRANGERS + 1)))).is_none());
    }
}
