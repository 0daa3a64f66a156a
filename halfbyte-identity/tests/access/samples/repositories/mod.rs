use halfbyte_identity::access::{Asked, Entity, EntityRef, Rules, SourceFile, name_of};

use super::{decides, group, in_groups, of_acme, user};

const LADDER: [&str; 5] = ["admins", "maintainers", "writers", "triagers", "readers"];

fn repository(id: &str, is_archived: bool) -> Entity {
    let own = |part: &&'static str| (*part, group(&format!("{id}/{part}")));
    let repository = of_acme("Repository", id).attribute("isArchived", is_archived);
    LADDER.iter().map(own).fold(repository, |repository, (part, group)| repository.attribute(part, group))
}

/// The groups of `engine`, and a team that is among its writers.
fn groups() -> Vec<Entity> {
    let part = |part: &str| group(&format!("engine/{part}"));
    let mut groups: Vec<_> = LADDER.windows(2).map(|pair| Entity::named(part(pair[0])).parent(part(pair[1]))).collect();
    groups.push(Entity::named(group("compiler-team")).parent(part("writers")));
    groups
}

fn asked(who: &str, action: &str, resource: &Entity) -> Asked {
    let member = match who {
        "rita" => in_groups(&["engine/readers"]),
        "tess" => in_groups(&["engine/triagers"]),
        "walt" => in_groups(&["compiler-team"]),
        "mona" => in_groups(&["engine/maintainers"]),
        "adam" => in_groups(&["engine/admins"]),
        _ => in_groups(&[]),
    };
    let asked = groups().into_iter().fold(Asked::new(&user(who), action, resource).member(member), Asked::entity);
    // What an issue is of.
    if resource.name().kind() == "Issue" { asked.entity(repository("engine", false)) } else { asked }
}

#[test]
fn each_step_of_the_ladder_may_what_those_below_it_may_and_more() {
    let files = [
        SourceFile::new("repositories.cedarschema", include_str!("repositories.cedarschema")),
        SourceFile::new("repositories.cedar", include_str!("repositories.cedar")),
    ];
    let rules = Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}"));
    // Who may, from the top of the ladder down; the rest may not.
    let of_repository = [
        ("Pull", 5),
        ("Fork", 5),
        ("Push", 3),
        ("AddReader", 1),
        ("AddTriager", 1),
        ("AddWriter", 1),
        ("AddMaintainer", 1),
        ("AddAdmin", 1),
    ];
    let of_issue = [("AssignIssue", 4), ("EditIssue", 3), ("DeleteIssue", 2)];
    let engine = EntityRef::new("Repository", "engine");
    let issue = |reporter: &str| {
        of_acme("Issue", "i-7").attribute("repository", engine.clone()).attribute("reporter", name_of(&user(reporter)))
    };
    for (rank, who) in ["adam", "mona", "walt", "tess", "rita", "nina"].into_iter().enumerate() {
        for (action, may) in of_repository {
            decides(&rules, &asked(who, action, &repository("engine", false)), rank < may);
            decides(&rules, &asked(who, action, &repository("other", false)), false);
        }
        decides(&rules, &asked(who, "Push", &repository("engine", true)), false);
        decides(&rules, &asked(who, "Pull", &repository("engine", true)), rank < 5);
        for (action, may) in of_issue {
            decides(&rules, &asked(who, action, &issue("olaf")), rank < may);
        }
    }
    for (who, action, reporter, is_allowed) in [
        ("rita", "EditIssue", "rita", true),
        ("rita", "DeleteIssue", "rita", true),
        ("rita", "AssignIssue", "rita", false),
        // He reported it, and has been put out since.
        ("nina", "EditIssue", "nina", false),
    ] {
        decides(&rules, &asked(who, action, &issue(reporter)), is_allowed);
    }
}
