//! The test kit, and what it says when an assertion fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use halfbyte_identity::access::testing::{Kit, Who, group, tenant, thing};
use halfbyte_identity::access::{Action, Bounds, Entity, SourceFile, Value};

const CREATE: Action = Action::new("CreateLabel");
const READ: Action = Action::new("ReadLabel");

const SCHEMA: &str = r#"
namespace HalfByte { type Profile = { department?: String }; }
entity Label = { tenant: HalfByte::Tenant, owner: HalfByte::User };
@scope("labels:write")
action CreateLabel appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: HalfByte::Tenant };
@scope("labels:read")
action ReadLabel in [HalfByte::Action::"Read"] appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: Label };
"#;

const POLICIES: &str = r#"
@id("clerks-create")
permit (principal in HalfByte::Role::"clerk", action == Action::"CreateLabel", resource);
@id("no-sales")
@reason("sales people do not create labels")
forbid (principal, action == Action::"CreateLabel", resource)
when { principal.profile has department && principal.profile.department == "sales" };
@id("owners-read")
permit (principal, action == Action::"ReadLabel", resource) when { resource.owner == principal };
@id("packers-read")
permit (principal in HalfByte::Group::"packers", action == Action::"ReadLabel", resource);
"#;

fn kit() -> Kit {
    Kit::files(&[SourceFile::new("parcel.cedarschema", SCHEMA), SourceFile::new("parcel.cedar", POLICIES)])
}

/// What an assertion says that fails.
#[track_caller]
fn failure(assertion: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).expect_err("it should have failed");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map(|text| text.to_string()).expect("a text"),
    }
}

fn label(owner: &Who) -> Entity {
    thing("Label", "l-1", "acme").attribute("owner", owner.name())
}

#[test]
fn who_may_and_who_may_not_is_asserted_in_a_line() {
    let kit = kit();
    kit.actions(&[CREATE, READ]);
    kit.no_warnings();
    let (ann, bob, sam) = (
        Who::user("ann").role("clerk"),
        Who::user("bob"),
        Who::user("sam").role("clerk").profile("department", "sales"),
    );
    kit.allow(&ann, CREATE, &tenant("acme"));
    kit.deny(&bob, CREATE, &tenant("acme"));
    kit.deny_by(&sam, CREATE, &tenant("acme"), "no-sales");
    kit.allow(&ann, READ, &label(&ann));
    kit.deny(&bob, READ, &label(&ann));
    kit.allow(&bob.clone().group("packers"), READ, &label(&ann));
    kit.deny_by(&ann.clone().of("globex"), CREATE, &tenant("acme"), "halfbyte.tenant-isolation");
    kit.clone().suspended(["acme"]).deny_by(&ann, CREATE, &tenant("acme"), "halfbyte.suspended-reads-only");
    let robot = Who::service("robot").role("clerk");
    kit.deny_by(&robot, CREATE, &tenant("acme"), "halfbyte.granted.CreateLabel");
    kit.allow(&robot.scope("labels:write"), CREATE, &tenant("acme"));
}

#[test]
fn a_denial_that_should_not_be_shows_the_policy_that_forbids_with_its_reason_line_and_text() {
    let sam = Who::user("sam").role("clerk").profile("department", "sales");
    let said = failure(|| kit().allow(&sam, CREATE, &tenant("acme")));
    let expected = r#"HalfByte::User::"acme/sam" should be allowed CreateLabel on HalfByte::Tenant::"acme", and is forbidden by
  no-sales (parcel.cedar:4): sales people do not create labels
      @id("no-sales")
      @reason("sales people do not create labels")
      forbid (principal, action == Action::"CreateLabel", resource)
      when { principal.profile has department && principal.profile.department == "sales" };
But for that, it would be permitted by:
  clerks-create (parcel.cedar:2)"#;
    assert_eq!(said, expected);
}

#[test]
fn a_denial_that_nothing_permits_shows_what_could_have() {
    let (ann, bob) = (Who::user("ann"), Who::user("bob"));
    let said = failure(|| kit().allow(&bob, READ, &label(&ann)));
    let expected = r#"HalfByte::User::"acme/bob" should be allowed ReadLabel on Label::"l-1", and is not: no policy permits it. These could, nearest first:
  owners-read (parcel.cedar:8)
    - this does not hold: when { resource.owner == principal }
        resource.owner is User "acme/ann"
  packers-read (parcel.cedar:10)
    - the principal is not in the group "packers"; it is in: none"#;
    assert_eq!(said, expected);
    let said = failure(|| kit().allow(&bob.clone().profile("department", "sales"), CREATE, &tenant("acme")));
    assert!(said.contains("forbidden by\n  no-sales (parcel.cedar:4)") && said.contains("\nNor does any policy permit it. These could, nearest first:\n  clerks-create (parcel.cedar:2)\n    - the principal has not the role \"clerk\"; it has: none"), "{said}");

    let policies = "forbid(principal, action, resource) when { principal.subject == \"\" };";
    let kit = Kit::files(&[SourceFile::new("parcel.cedarschema", SCHEMA), SourceFile::new("parcel.cedar", policies)]);
    let said = failure(|| kit.allow(&bob, READ, &label(&ann)));
    assert!(said.ends_with("No policy is about ReadLabel by a HalfByte::User on a Label."), "{said}");
}

#[test]
fn an_allowance_that_should_not_be_shows_the_policy_that_permits() {
    let ann = Who::user("ann").role("clerk");
    let said = failure(|| kit().deny(&ann, CREATE, &tenant("acme")));
    assert!(said.contains("should be denied CreateLabel on HalfByte::Tenant::\"acme\", and is allowed by\n  clerks-create (parcel.cedar:2)\n"), "{said}");
}

#[test]
fn a_denial_for_another_reason_than_was_asserted_is_told_with_the_reason() {
    let said = failure(|| kit().deny_by(&Who::user("ann").of("globex"), CREATE, &tenant("acme"), "no-sales"));
    assert!(said.contains("should be denied by no-sales CreateLabel on"), "{said}");
    assert!(said.contains("and is forbidden by\n  halfbyte.tenant-isolation (base.cedar:3): what is asked for belongs to another tenant\n"), "{said}");
}

#[test]
fn a_question_that_cannot_be_asked_is_no_denial() {
    let ann = Who::user("ann");
    let said = failure(|| kit().deny(&ann, READ, &thing("Label", "l-1", "acme")));
    assert!(said.contains("and is denied because of an error:\n  "), "{said}");
    let said = failure(|| kit().deny(&ann, Action::new("Reed"), &label(&ann)));
    assert!(said.contains("Reed"), "{said}");
    let said = failure(|| kit().deny(&ann, READ, &tenant("acme")));
    assert!(said.contains("and is denied because of an error:"), "{said}");
}

#[test]
fn policies_that_are_wrong_and_actions_that_do_not_fit_fail_a_test() {
    let said = failure(|| {
        drop(Kit::files(&[SourceFile::new("parcel.cedar", "permit(principal is Robot, action, resource);")]))
    });
    assert!(said.contains("parcel.cedar:1: unrecognized entity type `Robot`"), "{said}");
    let said = failure(|| kit().actions(&[CREATE, READ, Action::new("Purge")]));
    assert!(said.contains("the product asks for the action Purge"), "{said}");
    let odd = Kit::files(&[SourceFile::new("parcel.cedar", "permit(principal is HalfByte::Role, action, resource);")]);
    let said = failure(|| odd.no_warnings());
    assert!(said.contains("the policies have warnings:\n  parcel.cedar:1: "), "{said}");
}

#[test]
fn a_folder_is_read_and_one_without_policies_fails_a_test() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = failure(|| drop(Kit::folder(folder.path())));
    assert!(said.contains("there are no policies in "), "{said}");
    let said = failure(|| drop(Kit::folder(folder.path().join("away"))));
    assert!(said.contains("cannot be read"), "{said}");
    for (name, text) in [("parcel.cedarschema", SCHEMA), ("parcel.cedar", POLICIES), ("README.md", "no policy")] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    Kit::folder(folder.path()).allow(&Who::user("ann").role("clerk"), CREATE, &tenant("acme"));
}

#[test]
fn policies_are_judged_as_a_running_product_judges_them() {
    let schema = || SourceFile::new("parcel.cedarschema", SCHEMA);
    let said = failure(|| drop(Kit::files(&[schema()])));
    assert!(said.contains("there is no policy: add a .cedar file that permits something"), "{said}");
    let files = [schema(), SourceFile::new("parcel.cedar", POLICIES)];
    let bounds = Bounds { policies: 3, ..Bounds::default() };
    let said = failure(|| drop(Kit::files_within(&files, &bounds)));
    assert!(said.contains("there are 4 policies, more than the 3 that are taken"), "{said}");
    let many = [schema(), SourceFile::new("parcel.cedar", "// long\n".repeat(2 << 20))];
    let said = failure(|| drop(Kit::files(&many)));
    assert!(said.contains("bytes, more than the"), "{said}");
    let said = failure(|| drop(Kit::files(&[SourceFile::new("parcel.txt", POLICIES)])));
    assert!(said.contains("neither a .cedar nor a .cedarschema file"), "{said}");
}

#[test]
fn groups_in_groups_and_things_of_the_database_are_said_as_a_list() {
    let (ann, jim) = (Who::user("ann"), Who::user("jim").group("juniors"));
    kit().deny(&jim, READ, &label(&ann));
    let kit = kit().with_all([group("juniors").parent(group("packers").name().clone()), ann.entity()]);
    kit.allow(&jim, READ, &label(&ann));
    let why = kit.explain(&jim, READ, &label(&ann));
    assert!(why.to_string().contains("Permitted by:\n  packers-read"), "{why}");
}

#[test]
fn somebody_is_known_as_a_product_would_know_him_and_shown_by_names_alone() {
    let ann = Who::user("ann").role("clerk").group("packers").scope("canary-scope").issuer("https://canary.example");
    let ann = ann.profile("department", "canary-law");
    let entity = ann.entity();
    assert_eq!(*entity.name(), ann.name());
    let parents: Vec<_> = entity.parents().iter().map(ToString::to_string).collect();
    assert_eq!(parents, [r#"HalfByte::Role::"clerk""#, r#"HalfByte::Group::"packers""#]);
    let profile = entity.attributes().find(|(name, _)| *name == "profile").expect("a profile");
    assert_eq!(*profile.1, Value::Record([("department".into(), Value::from("canary-law"))].into()));
    let shown = format!("{ann:?}");
    assert!(shown.contains("acme/ann") && shown.contains("clerk") && shown.contains("packers"), "{shown}");
    assert!(shown.contains("department") && !shown.contains("canary"), "{shown}");
}
