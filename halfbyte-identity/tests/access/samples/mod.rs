//! Three of the example sets that the Cedar project describes, written anew on the types that every product here has.

mod documents;
mod repositories;
mod todo;

use std::path::Path;

use halfbyte_identity::access::testing::{Kit, Who, thing};
use halfbyte_identity::access::{Action, Entity, EntityRef, Resource};

/// The policies of one of them.
fn kit(folder: &str) -> Kit {
    let kit = Kit::folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/access/samples").join(folder));
    kit.no_warnings();
    kit
}

fn in_group(name: &str) -> EntityRef {
    EntityRef::new("HalfByte::Group", name)
}

fn of_acme(kind: &'static str, id: &str) -> Entity {
    thing(kind, id, "acme")
}

/// Each question is decided as the table says, and its explanation says the same.
fn decides(kit: &Kit, who: &Who, action: Action, resource: &(impl Resource + Sync), is_allowed: bool) {
    if is_allowed {
        kit.allow(who, action, resource)
    } else {
        kit.deny(who, action, resource)
    }
    let text = kit.explain(who, action, resource).to_string();
    assert_eq!(text.starts_with("ALLOWED"), is_allowed, "{text}");
    assert!(is_allowed || text.contains("Forbidden by") || text.contains("nearest first"), "{text}");
}
