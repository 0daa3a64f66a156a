use halfbyte_identity::access::testing::{Kit, Who, group, tenant};
use halfbyte_identity::access::{Action, Entity, Value};

use super::{decides, in_group, kit, of_acme};

const VIEW: Action = Action::new("ViewDocument");
const EDIT: Action = Action::new("EditDocument");
const DELETE: Action = Action::new("DeleteDocument");
const SHARE: Action = Action::new("Share");
const SHARE_WITH_EVERYBODY: Action = Action::new("ShareWithEverybody");
const MAKE_PRIVATE: Action = Action::new("MakePrivate");

/// Of what is shared with whom: the document `plan` is ann's.
#[derive(Clone, Copy)]
struct Plan {
    is_private: bool,
    everybody: &'static str,
}

impl Plan {
    fn entity(self) -> Entity {
        of_acme("Document", "plan")
            .attribute("owner", Who::user("ann").name())
            .attribute("viewers", in_group("plan-viewers"))
            .attribute("editors", in_group("plan-editors"))
            .attribute("managers", in_group("plan-managers"))
            .attribute("isPrivate", self.is_private)
            .attribute("everybody", self.everybody)
    }
}

/// Somebody who wants nothing to do with these people.
fn blocking(who: Who, people: &[&str]) -> Who {
    who.profile("blocked", people.iter().map(|name| Who::user(name).name()).collect::<Value>())
}

fn person(name: &str) -> Who {
    let who = Who::user(name);
    match name {
        "vic" => blocking(who.group("plan-viewers"), &[]),
        // By a team that the document is shared with.
        "tim" => blocking(who.group("team"), &[]),
        "eve" => blocking(who.group("plan-editors"), &[]),
        "max" => blocking(who.group("plan-managers"), &[]),
        "sue" => blocking(who.group("plan-viewers"), &["ann"]),
        _ => blocking(who, &[]),
    }
}

/// What the product's database has: ann with whom she has blocked, which policies look at through `resource.owner`, and a team.
fn database(blocked_by_ann: &[&str]) -> Kit {
    let ann = blocking(Who::user("ann"), blocked_by_ann).entity();
    kit("documents").with_all([ann, group("team").parent(in_group("plan-editors"))])
}

#[test]
fn documents_are_shared_as_their_owners_say() {
    let kit = database(&[]);
    let shared = Plan { is_private: false, everybody: "none" };
    let (open, wiki) = (Plan { everybody: "view", ..shared }, Plan { everybody: "edit", ..shared });
    let private = Plan { is_private: true, ..wiki };
    let table = [
        ("ann", VIEW, shared, true),
        ("ann", DELETE, shared, true),
        ("ann", SHARE_WITH_EVERYBODY, shared, true),
        ("vic", VIEW, shared, true),
        ("vic", EDIT, shared, false),
        ("vic", SHARE, shared, false),
        ("tim", VIEW, shared, true),
        ("tim", EDIT, shared, true),
        ("tim", DELETE, shared, false),
        ("eve", EDIT, shared, true),
        ("eve", SHARE, shared, false),
        ("max", VIEW, shared, true),
        ("max", EDIT, shared, true),
        ("max", SHARE, shared, true),
        ("max", MAKE_PRIVATE, shared, true),
        ("max", DELETE, shared, false),
        ("max", SHARE_WITH_EVERYBODY, shared, false),
        ("zoe", VIEW, shared, false),
        ("zoe", VIEW, open, true),
        ("zoe", EDIT, open, false),
        ("zoe", VIEW, wiki, true),
        ("zoe", EDIT, wiki, true),
        ("zoe", DELETE, wiki, false),
        ("ann", EDIT, private, true),
        ("max", VIEW, private, false),
        ("zoe", VIEW, private, false),
        // She has blocked ann herself.
        ("sue", VIEW, shared, false),
        ("sue", VIEW, wiki, false),
    ];
    for (who, action, plan, is_allowed) in table {
        decides(&kit, &person(who), action, &plan.entity(), is_allowed);
    }
    let circle = of_acme("Circle", "c-1").attribute("owner", Who::user("ann").name());
    for action in [Action::new("EditCircle"), Action::new("DeleteCircle")] {
        decides(&kit, &person("ann"), action, &circle, true);
        decides(&kit, &person("max"), action, &circle, false);
    }
    kit.allow(&person("zoe"), Action::new("CreateDocument"), &tenant("acme"));
}

#[test]
fn whom_the_owner_blocked_sees_nothing_of_his_whatever_is_shared() {
    let (kit, wiki) = (database(&["eve", "zoe", "max"]), Plan { is_private: false, everybody: "edit" }.entity());
    for name in ["eve", "zoe", "max"] {
        kit.deny_by(&person(name), VIEW, &wiki, "blocked");
    }
    for name in ["ann", "vic", "tim"] {
        kit.allow(&person(name), VIEW, &wiki);
    }
    // What others have blocked is theirs.
    let of_vic = wiki.attribute("owner", person("vic").name());
    kit.clone().with(person("vic").entity()).allow(&person("zoe"), VIEW, &of_vic);
}

#[test]
fn a_document_whose_owner_nobody_knows_is_denied_as_he_may_have_blocked_whoever_asks() {
    let (kit, wiki) = (kit("documents"), Plan { is_private: false, everybody: "edit" }.entity());
    let decision = kit.decide(&person("zoe"), VIEW, &wiki);
    let errors: Vec<_> = decision.errors.iter().map(ToString::to_string).collect();
    assert!(
        !decision.is_allowed && errors.concat().starts_with("HalfByte::User::\"acme/ann\" is not there"),
        "{errors:?}"
    );
    // Whoever asks is known anyway.
    kit.allow(&person("ann"), VIEW, &wiki);
}
