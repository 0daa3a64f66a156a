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
            entity.attributes().for_each(|(_, value)| mention(value, &mut mentioned));
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

fn mention<'a>(value: &'a Value, mentioned: &mut HashSet<&'a EntityRef>) {
    match value {
        Value::Entity(name) => _ = mentioned.insert(name),
        Value::Set(items) => items.iter().for_each(|item| mention(item, mentioned)),
        Value::Record(fields) => fields.values().for_each(|value| mention(value, mentioned)),
        _ => {}
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
