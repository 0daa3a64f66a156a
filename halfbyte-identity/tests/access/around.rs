//! What policies look through: it is there before they are asked, or it is denied.

use std::collections::BTreeMap;
use std::sync::Arc;

use halfbyte_core::{BoxError, Live, Principal};
use halfbyte_identity::access::{
    Access, Action, Denied, Entity, EntityProvider, EntityRef, Membership, Rules, SourceFile, Value, name_of,
};

use crate::parcel::{Desk, tenant, user};

const READ: Action = Action::new("ReadTask");
const EDIT: Action = Action::new("EditTask");
const MOVE: Action = Action::new("MoveTask");
const HAND: Action = Action::new("HandTask");
const LINK: Action = Action::new("LinkTask");
const BILL: Action = Action::new("BillTask");
const SHIP: Action = Action::new("ShipTask");
const PAUSE: Action = Action::new("PauseTask");

const SCHEMA: &str = r#"
entity Project in [Project] = { tenant: HalfByte::Tenant, frozen?: Bool, lead: HalfByte::User, above?: Project };
entity Task in [Project, HalfByte::Tenant] = {
    tenant: HalfByte::Tenant, project?: Project, twin?: Task, more: { project?: Project }, payer?: HalfByte::Tenant,
};
action ReadTask, EditTask, MoveTask, HandTask, LinkTask, BillTask, PauseTask, ShipTask
    appliesTo { principal: [HalfByte::User], resource: [Task, HalfByte::User, HalfByte::Tenant] };
"#;

const POLICIES: &str = r#"
@id("all") permit (principal, action, resource);
@id("frozen") forbid (principal, action == Action::"EditTask", resource is Task)
when { resource has project && resource.project has frozen && resource.project.frozen };
@id("frozen-more") forbid (principal, action == Action::"EditTask", resource is Task)
when { resource has more.project.frozen && resource.more.project.frozen };
@id("closed") forbid (principal, action == Action::"MoveTask", resource is Task)
when { resource has project && resource.project in Project::"closed" };
@id("junior") forbid (principal, action == Action::"HandTask", resource is Task)
when { resource has project.above.lead && resource.project.above.lead in HalfByte::Group::"juniors" };
@id("halted") forbid (principal, action == Action::"LinkTask", resource)
when { Project::"all" has frozen || Project::"all" has above.frozen };
@id("secret") forbid (principal, action == Action::"ReadTask", resource is Task)
when { resource has twin && resource.twin == Task::"secret" };
@id("stays") forbid (principal, action == Action::"ShipTask", resource is Task)
unless { resource in Project::"ready" };
@id("suspended") forbid (principal, action == Action::"BillTask", resource is Task)
when { resource.tenant.suspended || resource has payer && resource.payer.suspended };
@id("twin") forbid (principal, action == Action::"PauseTask", resource is Task)
when { resource has twin.project };
@id("paused") forbid (principal, action == Action::"PauseTask", resource in Project::"paused");
"#;

fn rules() -> Rules {
    let files = [SourceFile::new("tasks.cedarschema", SCHEMA), SourceFile::new("tasks.cedar", POLICIES)];
    Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}"))
}

fn access(desk: &Desk) -> Access {
    Access::new(Live::fixed("access", rules()), desk.clone())
}

fn project(id: &str) -> Entity {
    let lead = name_of(&user("lea", "acme", &[]));
    Entity::new("Project", id).of_tenant(&tenant("acme")).attribute("lead", lead)
}

fn at(id: &str) -> EntityRef {
    EntityRef::new("Project", id)
}

fn task(id: &str) -> Entity {
    Entity::new("Task", id).of_tenant(&tenant("acme")).attribute("more", Value::Record(BTreeMap::new()))
}

fn of_project(id: &str) -> Entity {
    task("t").attribute("project", at(id))
}

fn person(subject: &str) -> Entity {
    let nobody: [&str; 0] = [];
    Entity::named(name_of(&user(subject, "acme", &[])))
        .of_tenant(&tenant("acme"))
        .attribute("subject", subject)
        .attribute("issuer", "")
        .attribute("scopes", nobody.into_iter().collect::<Value>())
        .attribute("profile", Value::Record(BTreeMap::new()))
}

/// The policies that decided, or why it cannot be decided.
async fn by(desk: &Desk, action: Action, task: &Entity) -> String {
    let decision = access(desk).decide(&user("ann", "acme", &[]), action, task).await.expect("a decision");
    let errors = decision.errors.iter().map(ToString::to_string);
    let said: Vec<_> = decision.policies.iter().map(ToString::to_string).chain(errors).collect();
    assert_eq!(decision.is_allowed, said == ["all"], "{decision:?}");
    said.join(" ")
}

fn lacks(name: &str) -> String {
    format!(
        "{name} is not there, and policies may look at it or at what it stands in: have the EntityProvider answer it"
    )
}

#[tokio::test]
async fn a_policy_that_forbids_by_what_an_attribute_leads_to_applies() {
    let desk = Desk::default();
    desk.put(project("open"));
    desk.put(project("frozen").attribute("frozen", true));
    desk.put(project("closed"));
    desk.put(project("inner").parent(at("closed")));
    desk.put(project("innermost").parent(at("inner")).attribute("above", at("open")));
    let in_more = |id: &str| {
        let more = Value::Record([("project".into(), at(id).into())].into());
        task("t").attribute("more", more)
    };
    for (action, task, expected) in [
        (EDIT, task("t"), "all"),
        (EDIT, of_project("open"), "all"),
        (EDIT, of_project("frozen"), "frozen"),
        (EDIT, in_more("open"), "all"),
        (EDIT, in_more("frozen"), "frozen-more"),
        (MOVE, of_project("open"), "all"),
        (MOVE, of_project("closed"), "closed"),
        (MOVE, of_project("innermost"), "closed"),
    ] {
        assert_eq!(by(&desk, action, &task).await, expected, "{action} {task:?}");
    }
    desk.put(person("lea"));
    assert_eq!(by(&desk, HAND, &of_project("innermost")).await, "all");
    desk.put(person("lea").parent(EntityRef::new("HalfByte::Group", "juniors")));
    assert_eq!(by(&desk, HAND, &of_project("innermost")).await, "junior");
    assert_eq!(by(&desk, HAND, &of_project("open")).await, "all");
}

#[tokio::test]
async fn what_is_looked_through_and_is_not_there_denies() {
    let desk = Desk::default();
    let lea = lacks(r#"HalfByte::User::"acme/lea""#);
    for (action, task, expected) in [
        (READ, of_project("gone"), "all".to_owned()),
        (EDIT, of_project("gone"), lacks(r#"Project::"gone""#)),
        (MOVE, of_project("gone"), lacks(r#"Project::"gone""#)),
        (PAUSE, task("t").parent(at("gone")), lacks(r#"Project::"gone""#)),
        (LINK, task("t"), lacks(r#"Project::"all""#)),
    ] {
        assert_eq!(by(&desk, action, &task).await, expected, "{action} {task:?}");
    }
    desk.put(project("lower").attribute("above", at("upper")));
    desk.put(project("upper").attribute("above", at("uppermost")));
    assert_eq!(by(&desk, HAND, &of_project("lower")).await, lea);
    desk.put(person("lea"));
    assert_eq!(by(&desk, HAND, &of_project("lower")).await, lacks(r#"Project::"uppermost""#), "lea's is as far");
    assert_eq!(by(&desk, EDIT, &of_project("lower")).await, "all", "no policy on this looks further");
    desk.put(project("odd"));
    desk.be_lax();
    assert_eq!(by(&desk, EDIT, &of_project("ODD")).await, lacks(r#"Project::"ODD""#), "it found another one");
}

#[tokio::test]
async fn what_policies_name_is_there_too() {
    let desk = Desk::default();
    desk.put(project("all"));
    assert_eq!(by(&desk, LINK, &task("t")).await, "all");
    desk.put(project("all").attribute("above", at("upper")));
    assert_eq!(by(&desk, LINK, &task("t")).await, lacks(r#"Project::"upper""#));
    desk.put(project("upper").attribute("frozen", false));
    assert_eq!(by(&desk, LINK, &task("t")).await, "halted");
    desk.put(project("all").attribute("frozen", false));
    assert_eq!(by(&desk, LINK, &task("t")).await, "halted");
}

#[tokio::test]
async fn what_is_come_by_twice_is_asked_for_once_and_so_is_what_is_not_there() {
    let desk = Desk::default();
    desk.put(project("all").parent(at("outer")));
    desk.put(project("outer"));
    assert_eq!(by(&desk, LINK, &task("t").parent(at("all")).parent(at("outer"))).await, "all");
    assert_eq!(desk.calls(), ["ann", "acme", r#"Project::"all" Project::"outer""#]);
    let (access, ann) = (access(&desk), user("ann", "acme", &[]));
    let checks = access.checks(&ann);
    for calls in [&["ann", "acme", r#"Project::"gone""#][..], &[]] {
        checks.check(EDIT, &of_project("gone")).await.expect_err("not there");
        assert_eq!(desk.calls(), calls);
    }
}

#[tokio::test]
async fn nothing_is_asked_for_that_no_policy_on_the_action_looks_through() {
    let desk = Desk::default();
    desk.put(project("open").parent(at("outer")));
    let (inside, by_tenant) =
        (of_project("open"), of_project("open").attribute("payer", EntityRef::tenant(&tenant("acme"))));
    for (action, task, things) in [
        (READ, &inside, &[][..]),
        (BILL, &by_tenant, &[]),
        (EDIT, &inside, &[r#"Project::"open""#, r#"Project::"outer""#]),
    ] {
        desk.put(project("outer").attribute("above", at("nowhere")));
        by(&desk, action, task).await;
        assert_eq!(desk.calls(), [&["ann", "acme"], things].concat(), "{action}");
    }
}

#[tokio::test]
async fn a_tenant_is_the_callers_own_or_cannot_be_looked_at() {
    let desk = Desk::default();
    let paid_by = |of: &str| task("t").attribute("payer", EntityRef::tenant(&tenant(of)));
    assert_eq!(by(&desk, BILL, &paid_by("acme")).await, "all");
    let other = by(&desk, BILL, &paid_by("globex")).await;
    assert!(other.starts_with("suspended"), "{other}");
    desk.suspend();
    assert_eq!(by(&desk, BILL, &paid_by("acme")).await, "halfbyte.suspended-reads-only suspended");
}

#[tokio::test]
async fn each_of_a_list_is_denied_for_what_it_lacks_itself() {
    let desk = Desk::default();
    desk.put(project("open"));
    desk.put(project("frozen").attribute("frozen", true));
    let access = access(&desk);
    let (checks, ann) = (access.checks(&user("ann", "acme", &[])), user("ann", "acme", &[]));
    let ids = ["gone", "open", "frozen", "open", "lost", "open"];
    let list: Vec<_> = ids.iter().enumerate().map(|(at, id)| Entity::clone(&of(at, id))).collect();
    let decisions = checks.check_all(EDIT, &list).await.expect("decisions");
    let allowed: Vec<_> = decisions.iter().map(|it| it.is_allowed).collect();
    assert_eq!(allowed, [false, true, false, true, false, true]);
    let errors: Vec<_> =
        decisions.iter().map(|it| it.errors.iter().map(ToString::to_string).collect::<String>()).collect();
    let (gone, lost) = (lacks(r#"Project::"gone""#), lacks(r#"Project::"lost""#));
    assert_eq!(errors, [&gone, "", "", "", &lost, ""]);
    for (thing, of_list) in list.iter().zip(&decisions) {
        assert_eq!(access.decide(&ann, EDIT, thing).await.expect("a decision"), *of_list);
    }
}

fn of(number: usize, id: &str) -> Entity {
    let task = task(&number.to_string());
    task.attribute("project", EntityRef::new("Project", id.to_owned()))
}

#[tokio::test]
async fn what_policies_name_is_told_apart_in_a_list() {
    let twin = |id: &'static str| task("t").attribute("twin", EntityRef::new("Task", id));
    let list = [twin("plain"), twin("secret"), twin("other")];
    let decisions =
        access(&Desk::default()).check_all(&user("ann", "acme", &[]), READ, &list).await.expect("decisions");
    assert_eq!(decisions.iter().map(|it| it.is_allowed).collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn what_is_asked_for_counts_as_it_is_asked_for_alone_and_in_a_list() {
    let desk = Desk::default();
    desk.put(project("paused"));
    let access = access(&desk);
    let ann = user("ann", "acme", &[]);
    // The provider says of `x`, its own twin, that it has a project; it is asked for as one that has none. The twin of `y` is what the
    // provider says.
    let twin = |id: &str| task(id).attribute("twin", EntityRef::new("Task", "x"));
    desk.put(twin("x").attribute("project", at("paused")));
    access.check(&ann, PAUSE, &twin("x")).await.expect("as it was given");
    assert_eq!(desk.calls(), ["ann", "acme"], "it is not asked for");
    access.check(&ann, PAUSE, &twin("y")).await.expect_err("its twin has a project");
    let decisions = access.check_all(&ann, PAUSE, &[twin("y"), twin("x"), twin("y")]).await.expect("decisions");
    assert_eq!(decisions.iter().map(|it| it.is_allowed).collect::<Vec<_>>(), [false, true, false]);
}

#[tokio::test]
async fn what_things_stand_in_is_looked_through_only_where_an_attribute_leads_there_too() {
    let desk = Desk::default();
    desk.put(project("outer").attribute("above", at("upper")));
    assert_eq!(by(&desk, HAND, &task("t").parent(at("outer"))).await, "all", "what is above it does not matter");
    assert_eq!(desk.calls(), ["ann", "acme", r#"Project::"outer""#]);
    desk.put(project("upper"));
    desk.put(person("lea").parent(EntityRef::new("HalfByte::Group", "juniors")));
    assert_eq!(by(&desk, HAND, &of_project("outer").parent(at("outer"))).await, "junior");
    // The longer way to it is found first.
    desk.put(project("inner").attribute("above", at("outer")).parent(at("upper")));
    desk.put(project("upper").attribute("above", at("lost")));
    assert_eq!(by(&desk, HAND, &of_project("inner").parent(at("outer"))).await, "junior");
    assert_eq!(by(&desk, HAND, &of_project("inner").attribute("twin", EntityRef::new("Task", "y"))).await, "junior");
}

#[tokio::test]
async fn the_principal_and_tenants_are_not_asked_for() {
    let desk = Desk::default();
    desk.put(project("upper").attribute("lead", name_of(&user("ann", "acme", &[]))));
    desk.put(project("lower").attribute("above", at("upper")).attribute("lead", name_of(&user("ann", "acme", &[]))));
    let task = of_project("lower").parent(EntityRef::tenant(&tenant("acme")));
    assert_eq!(by(&desk, HAND, &task).await, "all");
    assert_eq!(desk.calls(), ["ann", "acme", r#"Project::"lower""#, r#"Project::"upper""#]);
}

#[tokio::test]
async fn who_is_asked_for_in_the_principals_name_is_the_principal() {
    let (desk, ann) = (Desk::default(), user("ann", "acme", &[]));
    let access = access(&desk);
    access.check(&ann, READ, &person("ann")).await.expect("herself");
    let own = r#"what is asked for as HalfByte::User::"acme/ann" has another tenant: give the thing itself"#;
    let of_none = Entity::named(name_of(&ann));
    for other in [person("ann").of_tenant(&tenant("globex")), of_none] {
        let list = [other.clone(), task("t")];
        let alone = access.decide(&ann, READ, &other).await.expect("a decision");
        assert_eq!(alone.errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [own]);
        let decisions = access.check_all(&ann, READ, &list).await.expect("decisions");
        assert_eq!(decisions.iter().map(|it| it.is_allowed).collect::<Vec<_>>(), [false, true]);
        assert_eq!(decisions[0], alone);
    }
}

#[tokio::test]
async fn a_tenant_that_says_it_is_of_another_is_denied() {
    let (desk, ann) = (Desk::default(), user("ann", "acme", &[]));
    let access = access(&desk);
    for (name, of) in [("acme", "globex"), ("globex", "acme")] {
        let odd = Entity::named(EntityRef::tenant(&tenant(name))).of_tenant(&tenant(of)).attribute("suspended", false);
        let decision = access.decide(&ann, READ, &odd).await.expect("a decision");
        assert!(!decision.is_allowed, "{decision:?}");
        let decisions = access.check_all(&ann, READ, &[task("t"), odd]).await.expect("decisions");
        assert_eq!(decisions.iter().map(|it| it.is_allowed).collect::<Vec<_>>(), [true, false]);
    }
    access.check(&ann, READ, &tenant("acme")).await.expect("her own");
}

#[tokio::test]
async fn a_caller_of_many_groups_is_not_denied_for_them() {
    let desk = Desk::default();
    let ann = user("ann", "acme", &[]);
    for number in 0..1024 {
        desk.group("ann", &format!("g-{number}"));
    }
    let access = access(&desk);
    let wide = |count: usize| {
        (0..count).fold(task("wide"), |task, number| {
            desk.put(project(&format!("p-{number}")));
            task.parent(EntityRef::new("Project", format!("p-{number}")))
        })
    };
    access.check(&ann, READ, &wide(256)).await.expect("1,024 groups and 256 projects");
    let Err(Denied::Forbidden(decision)) = access.check(&ann, READ, &wide(257)).await else { panic!("it is denied") };
    assert_eq!(decision.errors[0].to_string(), r#"Task::"wide" stands in or leads to more than 256 things"#);
    desk.group("ann", "one-more");
    let Err(Denied::Forbidden(decision)) = access.check(&ann, READ, &task("t")).await else { panic!("it is denied") };
    let reason = r#"HalfByte::User::"acme/ann" stands in or leads to more than 1024 things"#;
    assert_eq!(decision.errors[0].to_string(), reason);
}

#[tokio::test]
async fn a_thing_of_another_tenant_takes_the_same_calls_as_one_that_is_not_there() {
    let desk = Desk::default();
    desk.put(project("open"));
    desk.put(of_project("open").of_tenant(&tenant("globex")).parent(at("open")));
    let (access, ann) = (access(&desk), user("ann", "acme", &[]));
    for id in ["t", "nowhere"] {
        let name = EntityRef::new("Task", id);
        let denied = access.checks(&ann).find(EDIT, &name).await.expect_err("forbidden");
        let Denied::Forbidden(decision) = denied else { panic!("{denied:?}") };
        assert!(decision.errors.is_empty(), "{decision:?}");
        assert_eq!(desk.calls(), ["ann", "acme", &name.to_string()]);
    }
    // Where the provider fails it fails for both: before anything is said of the thing.
    desk.go_down();
    for id in ["t", "nowhere"] {
        let denied = access.checks(&ann).find(EDIT, &EntityRef::new("Task", id)).await.expect_err("unavailable");
        assert!(matches!(denied, Denied::Unavailable { .. }), "{denied:?}");
        assert_eq!(desk.calls(), ["ann"]);
    }
}

/// Fails to say what groups and projects stand in and lead to, and nothing else.
struct Half(Desk);

impl EntityProvider for Half {
    async fn principal(&self, principal: &Principal) -> Result<Membership, BoxError> {
        self.0.principal(principal).await
    }

    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
        self.0.entity(name).await
    }

    async fn entities(&self, names: &[EntityRef]) -> Result<Vec<Entity>, BoxError> {
        self.0.entities(names).await?;
        Err("the table of groups is away".into())
    }
}

#[tokio::test]
async fn what_is_not_there_takes_the_calls_and_fails_with_those_that_are_around_the_principal() {
    let desk = Desk::default();
    desk.put(task("theirs").of_tenant(&tenant("globex")).parent(at("open")));
    desk.put(project("all"));
    let ann = user("ann", "acme", &[]);
    let find = async |access: Access, action| {
        let mut said = Vec::new();
        for id in ["theirs", "nowhere"] {
            let name = EntityRef::new("Task", id);
            let denied = access.checks(&ann).find(action, &name).await.expect_err("denied");
            let calls = desk.calls().iter().map(|call| call.replace(id, "ID")).collect::<Vec<_>>();
            said.push((matches!(denied, Denied::Unavailable { .. }), calls));
        }
        assert_eq!(said[0], said[1]);
        said.pop().expect("two")
    };
    let half = || Access::new(Live::fixed("access", rules()), Half(desk.clone()));
    // What a policy names.
    let named = strings(&["ann", "acme", r#"Task::"ID""#, r#"Project::"all""#]);
    assert_eq!(find(access(&desk), LINK).await, (false, named.clone()));
    let of_half: Vec<_> = named.into_iter().filter(|call| call != "acme").collect();
    assert_eq!(find(half(), LINK).await, (true, of_half));
    // The groups that she is in.
    desk.group("ann", "juniors");
    let grouped = strings(&["ann", "acme", r#"Task::"ID""#, r#"HalfByte::Group::"juniors""#]);
    assert_eq!(find(access(&desk), READ).await, (false, grouped));
    assert!(find(half(), READ).await.0);
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_leads_to_another_tenants_is_denied_as_if_that_were_not_there() {
    let desk = Desk::default();
    desk.put(project("theirs").of_tenant(&tenant("globex")).attribute("frozen", false));
    desk.put(project("inner").parent(at("theirs")));
    for (action, task) in [
        (EDIT, of_project("theirs")),
        (EDIT, of_project("inner")),
        (PAUSE, task("t").parent(at("theirs"))),
        (SHIP, task("t").parent(at("theirs"))),
    ] {
        assert_eq!(by(&desk, action, &task).await, lacks(r#"Project::"theirs""#), "{action} {task:?}");
        let decisions = access(&desk).check_all(&user("ann", "acme", &[]), action, &[task, self::task("x")]).await;
        let decisions = decisions.expect("decisions");
        assert_eq!(decisions[0].errors[0].to_string(), lacks(r#"Project::"theirs""#));
    }
    // It is seen by its own.
    let (bob, theirs) = (user("bob", "globex", &[]), of_project("theirs").of_tenant(&tenant("globex")));
    access(&desk).check(&bob, EDIT, &theirs).await.expect("his own project");
}

#[tokio::test]
async fn a_group_that_a_lax_database_answers_under_another_name_is_not_a_flat_one() {
    let desk = Desk::default();
    let staff = EntityRef::new("HalfByte::Group", "staff");
    desk.put(Entity::named(staff).parent(EntityRef::new("HalfByte::Group", "frozen")));
    desk.be_lax();
    desk.group("ann", "Staff");
    let staff = lacks(r#"HalfByte::Group::"Staff""#);
    assert_eq!(by(&desk, READ, &task("t")).await, staff);
    // Nor after it was asked for by its name.
    let (access, ann) = (access(&desk), user("ann", "acme", &[]));
    let checks = access.checks(&ann);
    checks.find(READ, &EntityRef::new("HalfByte::Group", "Staff")).await.expect_err("another one");
    let Err(Denied::Forbidden(decision)) = checks.check(READ, &task("t")).await else { panic!("it is denied") };
    assert_eq!(decision.errors[0].to_string(), staff);
    assert_eq!(by(&desk, READ, &task("u")).await, staff);
}

#[tokio::test]
async fn of_another_tenants_thing_the_base_set_alone_decides() {
    let desk = Desk::default();
    let foreign = of_project("gone").of_tenant(&tenant("globex"));
    assert_eq!(by(&desk, EDIT, &foreign).await, "halfbyte.tenant-isolation");
    assert_eq!(desk.calls(), ["ann", "acme"]);
    // What it stands in is not known, and so neither is what policies say of that.
    desk.put(project("ready"));
    desk.put(project("inner").parent(at("ready")));
    assert_eq!(by(&desk, SHIP, &task("t").parent(at("inner"))).await, "all");
    assert_eq!(by(&desk, SHIP, &task("t").of_tenant(&tenant("globex"))).await, "halfbyte.tenant-isolation");
    let inside = task("t").of_tenant(&tenant("globex")).parent(at("inner"));
    assert_eq!(by(&desk, SHIP, &inside).await, "halfbyte.tenant-isolation");
    // Nor does it matter what others of a list have around them, or lack.
    let (access, ann) = (access(&desk), user("ann", "acme", &[]));
    let list = [foreign, task("x"), of_project("gone"), of_project("ready")];
    let decisions = access.check_all(&ann, EDIT, &list).await.expect("decisions");
    assert_eq!(decisions[0].policies, [Arc::from("halfbyte.tenant-isolation")]);
    assert!(decisions[0].errors.is_empty(), "{decisions:?}");
    assert_eq!(decisions.iter().map(|it| it.is_allowed).collect::<Vec<_>>(), [false, true, false, true]);
}

#[tokio::test]
async fn without_a_policy_of_the_products_own_it_is_unavailable_and_nothing_is_asked() {
    let desk = Desk::default();
    let ann = user("ann", "acme", &[]);
    let files = [SourceFile::new("tasks.cedarschema", SCHEMA), SourceFile::new("tasks.cedar", "// None yet.")];
    for files in [&files[..], &[]] {
        let rules = Rules::compile(files).expect("good");
        assert!(!rules.has_product_policies());
        let access = Access::new(Live::fixed("access", rules), desk.clone());
        let unavailable = |denied: Denied| assert!(matches!(denied, Denied::Unavailable { .. }), "{denied:?}");
        unavailable(access.check(&ann, READ, &task("t")).await.expect_err("unavailable"));
        unavailable(access.filter(&ann, READ, vec![task("t")]).await.expect_err("unavailable"));
        unavailable(access.checks(&ann).find(READ, &at("open")).await.expect_err("unavailable"));
        assert_eq!(desk.calls(), [""; 0]);
    }
    let none = Access::new(Live::failed("access", "no such folder"), ());
    let denied = none.check(&ann, READ, &task("t")).await.expect_err("no rules");
    assert!(matches!(denied, Denied::Unavailable { .. }), "{denied:?}");
}
