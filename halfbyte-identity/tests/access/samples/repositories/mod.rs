use halfbyte_identity::access::testing::{Kit, Who, group};
use halfbyte_identity::access::{Action, Entity, EntityRef};

use super::{decides, in_group, kit, of_acme};

const PULL: Action = Action::new("Pull");
const PUSH: Action = Action::new("Push");
const ASSIGN: Action = Action::new("AssignIssue");
const EDIT: Action = Action::new("EditIssue");
const DELETE: Action = Action::new("DeleteIssue");

/// What may be done to a repository and to an issue, with how many of the ladder may do it, from its top down; the rest may not.
const OF_REPOSITORY: [(Action, usize); 8] = [
    (PULL, 5),
    (Action::new("Fork"), 5),
    (PUSH, 3),
    (Action::new("AddReader"), 1),
    (Action::new("AddTriager"), 1),
    (Action::new("AddWriter"), 1),
    (Action::new("AddMaintainer"), 1),
    (Action::new("AddAdmin"), 1),
];
const OF_ISSUE: [(Action, usize); 3] = [(ASSIGN, 4), (EDIT, 3), (DELETE, 2)];

const LADDER: [&str; 5] = ["admins", "maintainers", "writers", "triagers", "readers"];

fn repository(id: &str) -> Entity {
    let repository = of_acme("Repository", id).attribute("isArchived", false);
    LADDER.iter().fold(repository, |repository, part| repository.attribute(*part, in_group(&format!("{id}/{part}"))))
}

fn issue(of: &str, reporter: &Who) -> Entity {
    let issue = of_acme("Issue", "i-7").attribute("repo", EntityRef::new("Repository", of));
    issue.attribute("reporter", reporter.name())
}

/// What the product's database has: repositories, the ladder of `engine`, and a team that is among its writers.
fn database() -> Kit {
    let of_engine = |part: &str| format!("engine/{part}");
    let steps = LADDER.windows(2).map(|pair| group(&of_engine(pair[0])).parent(in_group(&of_engine(pair[1]))));
    let kit = kit("repositories").with_all(steps).with(group("compiler-team").parent(in_group("engine/writers")));
    kit.with_all([repository("engine"), repository("other"), repository("old").attribute("isArchived", true)])
}

/// From the top of the ladder down, and one who is not on it.
fn people() -> [Who; 6] {
    [
        Who::user("adam").group("engine/admins"),
        Who::user("mona").group("engine/maintainers"),
        Who::user("walt").group("compiler-team"),
        Who::user("tess").group("engine/triagers"),
        Who::user("rita").group("engine/readers"),
        Who::user("nina"),
    ]
}

#[test]
fn each_step_of_the_ladder_may_what_those_below_it_may_and_more() {
    let (kit, olaf) = (database(), Who::user("olaf"));
    for (rank, who) in people().iter().enumerate() {
        for (action, may) in OF_REPOSITORY {
            decides(&kit, who, action, &repository("engine"), rank < may);
            decides(&kit, who, action, &repository("other"), false);
        }
        for (action, may) in OF_ISSUE {
            decides(&kit, who, action, &issue("engine", &olaf), rank < may);
            // What he is in another repository does not count.
            decides(&kit, who, action, &issue("other", &olaf), false);
        }
    }
}

#[test]
fn whoever_reported_an_issue_and_still_may_read_edits_and_deletes_it() {
    let (kit, [.., rita, nina]) = (database(), people());
    for (who, action, reporter, is_allowed) in [
        (&rita, EDIT, &rita, true),
        (&rita, DELETE, &rita, true),
        (&rita, ASSIGN, &rita, false),
        (&rita, EDIT, &nina, false),
        // She reported it, and has been put out since.
        (&nina, EDIT, &nina, false),
    ] {
        decides(&kit, who, action, &issue("engine", reporter), is_allowed);
    }
}

#[test]
fn of_what_is_archived_nothing_is_pushed_and_no_issue_is_touched_but_it_is_read() {
    let kit = database();
    let adam = LADDER.iter().fold(Who::user("adam"), |adam, part| adam.group(&format!("old/{part}")));
    let old = repository("old").attribute("isArchived", true);
    kit.allow(&adam, PULL, &old);
    kit.deny_by(&adam, PUSH, &old, "archived");
    for (action, _) in OF_ISSUE {
        kit.deny_by(&adam, action, &issue("old", &adam), "archived-issues");
    }
}

#[test]
fn an_issue_whose_repository_nobody_knows_is_denied_whoever_asks() {
    let (kit, [adam, ..]) = (database(), people());
    for (action, _) in OF_ISSUE {
        let decision = kit.decide(&adam, action, &issue("lost", &adam));
        let errors: Vec<_> = decision.errors.iter().map(ToString::to_string).collect();
        assert!(!decision.is_allowed && errors.concat().starts_with("Repository::\"lost\" is not there"), "{errors:?}");
    }
}
