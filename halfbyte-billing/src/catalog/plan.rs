//! `[plans.pro]`, `[templates.basic]` and `[add-ons.more-labels]`: what can be sold.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use toml::de::DeTable;

use super::entitlement::{Grantor, Set, entitlements};
use super::feature::Drafted;
use super::parse::{Entry, Section, find, title};
use super::read::{COUNT_MAX, Quoted, Reader, join};
use super::{AddOn, Entitlement, Plan, PlanVersion};

/// What all versions of all plans say, in all: templates make much out of a short text.
pub(super) const ENTITLEMENTS_MAX: usize = 250_000;

pub(super) fn template(reader: &mut Reader<'_>, features: &Section<Drafted>, entry: &Entry<'_, '_>) -> Option<Set> {
    reader.refuse_unknown(&entry.path, entry.table, &["features"]);
    Some(entitlements(reader, features, &entry.path, entry.table, Grantor::Plan))
}

pub(super) fn add_on(
    reader: &mut Reader<'_>,
    features: &Section<Drafted>,
    entry: &Entry<'_, '_>,
) -> Option<Arc<AddOn>> {
    reader.refuse_unknown(&entry.path, entry.table, &["title", "features"]);
    let set = entitlements(reader, features, &entry.path, entry.table, Grantor::AddOn);
    Some(Arc::new(AddOn { name: entry.name.into(), title: title(reader, entry), entitlements: granted(set) }))
}

fn granted(set: Set) -> BTreeMap<Box<str>, Entitlement> {
    set.into_iter().filter_map(|(feature, says)| Some((Box::from(&*feature), says?))).collect()
}

/// Reads plans one after the other.
pub(super) struct Offers<'s> {
    features: &'s Section<Drafted>,
    templates: &'s Section<Set>,
    default: Option<Arc<str>>,
    /// How much may still be said; `None` once it was too much.
    room: Option<usize>,
}

impl<'s> Offers<'s> {
    pub(super) fn new(features: &'s Section<Drafted>, templates: &'s Section<Set>) -> Self {
        Self { features, templates, default: None, room: Some(ENTITLEMENTS_MAX) }
    }

    /// The plan that is marked as the default one.
    pub(super) fn default_plan(self) -> Option<Arc<str>> {
        self.default
    }

    pub(super) fn plan(&mut self, reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> Option<Arc<Plan>> {
        reader.refuse_unknown(&entry.path, entry.table, &["title", "default", "include", "features", "versions"]);
        self.note_default(reader, entry);
        let title = title(reader, entry);
        let versions = if entry.table.get("versions").is_some() {
            self.versions(reader, entry)?
        } else {
            let version = self.version(reader, entry, &entry.path, entry.table, 1);
            BTreeMap::from([(1, Arc::new(version))])
        };
        Some(Arc::new(Plan { name: entry.name.into(), title, versions }))
    }

    fn note_default(&mut self, reader: &mut Reader<'_>, entry: &Entry<'_, '_>) {
        let Some(value) = entry.table.get("default") else { return };
        let path = join(&entry.path, "default");
        if reader.flag(&path, value) != Some(true) {
            return;
        }
        if let Some(first) = &self.default {
            let message = format!("the plan {} is the default already; only one can be", Quoted(first));
            reader.fault(value.span().start, &path, message);
        } else {
            self.default = Some(entry.name.into());
        }
    }

    fn versions(&mut self, reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> Option<BTreeMap<u32, Arc<PlanVersion>>> {
        for key in ["include", "features"] {
            if let Some(value) = entry.table.get(key) {
                let message = "stands beside versions; move it into the version that it belongs to";
                reader.fault(value.span().start, &join(&entry.path, key), message);
            }
        }
        let value = entry.table.get("versions")?;
        let path = join(&entry.path, "versions");
        let table = reader.table(&path, value)?;
        if table.is_empty() {
            let message = format!("has no version; write [{path}.1]");
            reader.fault(value.span().start, &path, message);
        }
        let mut versions = BTreeMap::new();
        let mut places = BTreeMap::new();
        for (key, value) in table {
            let (written, path, at) = (&**key.get_ref(), join(&path, key.get_ref()), key.span().start);
            let number = version_number(written);
            match number {
                None => reader.fault(at, &path, format!("not a version; number them from 1 to {COUNT_MAX}")),
                Some(number) => _ = places.insert(number, (path.clone(), at)),
            }
            let Some(table) = reader.table(&path, value) else { continue };
            reader.refuse_unknown(&path, table, &["include", "features"]);
            let version = self.version(reader, entry, &path, table, number.unwrap_or(0));
            if let Some(number) = number {
                versions.insert(number, Arc::new(version));
            }
        }
        for (expected, (number, (path, at))) in (1..).zip(places) {
            if number != expected {
                let message =
                    format!("there is no version {expected} before it; keep what was published, and leave no gap");
                reader.fault(at, &path, message);
                break;
            }
        }
        Some(versions)
    }

    /// What `table` includes, in its order, and then what it says itself: the last word on a feature counts.
    fn version(
        &mut self,
        reader: &mut Reader<'_>,
        entry: &Entry<'_, '_>,
        path: &str,
        table: &DeTable<'_>,
        number: u32,
    ) -> PlanVersion {
        let own = entitlements(reader, self.features, path, table, Grantor::Plan);
        let mut said = Set::new();
        for set in self.included(reader, path, table).into_iter().chain([&own]) {
            if !self.take_room(reader, path, table, set.len()) {
                break;
            }
            said.extend(set.iter().map(|(feature, says)| (feature.clone(), says.clone())));
        }
        PlanVersion { plan: entry.name.into(), number, entitlements: granted(said) }
    }

    fn included(&self, reader: &mut Reader<'_>, path: &str, table: &DeTable<'_>) -> Vec<&'s Set> {
        let path = join(path, "include");
        let names = table.get("include").and_then(|value| reader.texts(&path, value)).unwrap_or_default();
        let mut seen = HashSet::new();
        let mut sets = Vec::new();
        for (name, at) in names {
            if !seen.insert(name) {
                reader.fault(at, &path, format!("names {} twice; remove one", Quoted(name)));
            } else if let Some(set) = find(reader, self.templates, "template", &path, name, at) {
                sets.push(set);
            }
        }
        sets
    }

    fn take_room(&mut self, reader: &mut Reader<'_>, path: &str, table: &DeTable<'_>, wanted: usize) -> bool {
        // Told once: what follows has no room either.
        let Some(room) = self.room else { return false };
        self.room = room.checked_sub(wanted);
        if self.room.is_none() {
            let at = ["include", "features"].iter().find_map(|key| Some(table.get(*key)?.span().start));
            let message = format!("the plans say more than {ENTITLEMENTS_MAX} things of features in all; say fewer");
            reader.fault(at.unwrap_or_default(), path, message);
        }
        self.room.is_some()
    }
}

/// `1`, and not `01`.
fn version_number(written: &str) -> Option<u32> {
    let number = written.parse::<u32>().ok().filter(|number| number.to_string() == written)?;
    (1..=COUNT_MAX).contains(&(number as usize)).then_some(number)
}
