use halfbyte_identity::access::testing::{Kit, Who, group, tenant, thing};
use halfbyte_identity::access::{Action, Entity, EntityRef};

const GET_LISTS: Action = Action::new("GetLists");
const CREATE_LIST: Action = Action::new("CreateList");
const GET: Action = Action::new("GetList");
const UPDATE: Action = Action::new("UpdateList");
const DELETE: Action = Action::new("DeleteList");
const CREATE_TASK: Action = Action::new("CreateTask");
const UPDATE_TASK: Action = Action::new("UpdateTask");
const DELETE_TASK: Action = Action::new("DeleteTask");
const SHARE: Action = Action::new("EditShares");

const OF_A_LIST: [Action; 7] = [GET, UPDATE, CREATE_TASK, UPDATE_TASK, DELETE_TASK, DELETE, SHARE];

fn kit() -> Kit {
    // The interns' team is among the readers, by the team that trains them; another one edits.
    super::kit("todo").with_all([
        group("interns").parent(group("trainees").name().clone()),
        group("trainees").parent(of_list("readers")),
        group("packers").parent(of_list("editors")),
    ])
}

fn of_list(part: &str) -> EntityRef {
    super::in_group(&format!("moving/{part}"))
}

fn person(name: &str) -> Who {
    Who::user(name).profile("jobLevel", 1)
}

/// The list `moving` is ann's.
fn moving(of: &str) -> Entity {
    let list = thing("List", "moving", of).attribute("owner", person("ann").name());
    list.attribute("readers", of_list("readers")).attribute("editors", of_list("editors"))
}

#[test]
fn lists_are_shared_with_people_and_teams_that_read_or_edit_them() {
    let kit = kit();
    kit.actions(&[&OF_A_LIST[..], &[GET_LISTS, CREATE_LIST]].concat());
    // How many of the actions on a list each may, of those above in their order.
    let table = [
        (person("ann"), 6),
        (person("ann").profile("jobLevel", 4), 7),
        (person("ron").group("moving/readers"), 1),
        (person("ivy").group("interns"), 1),
        (person("eve").group("moving/editors"), 5),
        (person("pat").group("packers"), 5),
        (person("pat").group("packers").profile("jobLevel", 9), 5),
        (person("sam"), 0),
        (person("amy").group("admins"), 7),
        (person("ann").of("globex"), 0),
        (person("amy").group("admins").of("globex"), 0),
    ];
    for (who, may) in table {
        for (rank, action) in OF_A_LIST.into_iter().enumerate() {
            if rank < may { kit.allow(&who, action, &moving("acme")) } else { kit.deny(&who, action, &moving("acme")) }
        }
    }
}

#[test]
fn anybody_starts_lists_but_interns_and_a_suspended_tenant_only_reads_them() {
    let kit = kit();
    let (ann, ivy) = (person("ann"), person("ivy").group("interns"));
    kit.allow(&ann, CREATE_LIST, &tenant("acme"));
    kit.deny_by(&ivy, CREATE_LIST, &tenant("acme"), "interns");
    kit.allow(&ivy, GET_LISTS, &tenant("acme"));
    kit.deny_by(&ivy.clone().group("admins"), CREATE_LIST, &tenant("acme"), "interns");
    kit.deny_by(&ann, SHARE, &moving("acme"), "sharing");
    kit.deny_by(&ann, GET, &moving("globex"), "halfbyte.tenant-isolation");
    let kit = kit.suspended(["acme"]);
    kit.allow(&ann, GET, &moving("acme"));
    kit.allow(&ann, GET_LISTS, &tenant("acme"));
    kit.deny_by(&ann, UPDATE_TASK, &moving("acme"), "halfbyte.suspended-reads-only");
}
