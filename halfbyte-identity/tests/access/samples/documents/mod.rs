use halfbyte_identity::access::{Asked, Entity, Rules, SourceFile, Value, name_of};

use super::{decides, group, in_groups, of_acme, tenant, user};

/// What is shared with whom: the document `plan` is ann's.
#[derive(Clone, Copy, Default)]
struct Plan {
    is_private: bool,
    everybody: &'static str,
    blocked: &'static [&'static str],
}

impl Plan {
    fn entity(self) -> Entity {
        let everybody = if self.everybody.is_empty() { "none" } else { self.everybody };
        of_acme("Document", "plan")
            .attribute("owner", name_of(&user("ann")))
            .attribute("blocked", self.blocked.iter().map(|name| name_of(&user(name))).collect::<Value>())
            .attribute("viewers", group("plan-viewers"))
            .attribute("editors", group("plan-editors"))
            .attribute("managers", group("plan-managers"))
            .attribute("isPrivate", self.is_private)
            .attribute("everybody", everybody)
    }
}

fn asked(who: &str, action: &str, resource: &Entity) -> Asked {
    let (groups, blocks): (&[&str], &[&str]) = match who {
        "vic" => (&["plan-viewers"], &[]),
        // By a team that the document is shared with.
        "tim" => (&["team"], &[]),
        "eve" => (&["plan-editors"], &[]),
        "max" => (&["plan-managers"], &[]),
        "sue" => (&["plan-viewers"], &["ann"]),
        _ => (&[], &[]),
    };
    let mut member = in_groups(groups);
    let blocks: Value = blocks.iter().map(|name| name_of(&user(name))).collect();
    member.profile = vec![("blocked", blocks)];
    let asked = Asked::new(&user(who), action, resource).member(member);
    asked.entity(Entity::named(group("team")).parent(group("plan-editors")))
}

#[test]
fn documents_are_shared_as_their_owners_say() {
    let files = [
        SourceFile::new("documents.cedarschema", include_str!("documents.cedarschema")),
        SourceFile::new("documents.cedar", include_str!("documents.cedar")),
    ];
    let rules = Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}"));
    let (shared, open, wiki) =
        (Plan::default(), Plan { everybody: "view", ..Plan::default() }, Plan { everybody: "edit", ..Plan::default() });
    let private = Plan { is_private: true, everybody: "edit", ..Plan::default() };
    let blocking = Plan { everybody: "edit", blocked: &["eve", "zoe"], ..Plan::default() };
    let table = [
        ("ann", "ViewDocument", shared, true),
        ("ann", "DeleteDocument", shared, true),
        ("ann", "ShareWithEverybody", shared, true),
        ("vic", "ViewDocument", shared, true),
        ("vic", "EditDocument", shared, false),
        ("vic", "Share", shared, false),
        ("tim", "ViewDocument", shared, true),
        ("tim", "EditDocument", shared, true),
        ("tim", "DeleteDocument", shared, false),
        ("eve", "EditDocument", shared, true),
        ("eve", "Share", shared, false),
        ("max", "ViewDocument", shared, true),
        ("max", "EditDocument", shared, true),
        ("max", "Share", shared, true),
        ("max", "MakePrivate", shared, true),
        ("max", "DeleteDocument", shared, false),
        ("max", "ShareWithEverybody", shared, false),
        ("zoe", "ViewDocument", shared, false),
        ("zoe", "ViewDocument", open, true),
        ("zoe", "EditDocument", open, false),
        ("zoe", "ViewDocument", wiki, true),
        ("zoe", "EditDocument", wiki, true),
        ("zoe", "DeleteDocument", wiki, false),
        ("ann", "EditDocument", private, true),
        ("max", "ViewDocument", private, false),
        ("zoe", "ViewDocument", private, false),
        ("eve", "ViewDocument", blocking, false),
        ("zoe", "ViewDocument", blocking, false),
        ("vic", "ViewDocument", blocking, true),
        ("sue", "ViewDocument", shared, false),
    ];
    for (who, action, plan, is_allowed) in table {
        decides(&rules, &asked(who, action, &plan.entity()), is_allowed);
    }
    let circle = of_acme("Circle", "c-1").attribute("owner", name_of(&user("ann")));
    for (who, action, is_allowed) in
        [("ann", "EditCircle", true), ("ann", "DeleteCircle", true), ("max", "EditCircle", false)]
    {
        decides(&rules, &asked(who, action, &circle), is_allowed);
    }
    let mut anybody = in_groups(&[]);
    anybody.profile = vec![("blocked", Value::Set(Vec::new()))];
    decides(&rules, &Asked::new(&user("zoe"), "CreateDocument", &tenant()).member(anybody), true);
}
