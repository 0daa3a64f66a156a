//! What the product asks, compared with each set that comes in force.

use super::*;
use crate::log::Log;

#[tokio::test]
async fn actions_that_do_not_go_with_a_new_set_are_logged() {
    const ACTIONS: &[Action] = &[READ, Action::new("Purge")];
    let log = Log::capture().await;
    let rules = Policies::files(set(&up_to(1))).actions(ACTIONS).start(&life());
    rules.ready().await.expect("good");
    assert_eq!(log.count("WARN", "the product asks for the action Purge"), 1);
}

#[tokio::test]
async fn an_action_whose_last_permit_a_reload_takes_away_is_logged_once() {
    const ACTIONS: &[Action] = &[READ];
    let log = Log::capture().await;
    let folder = tempfile::tempdir().expect("a folder");
    let policies = watch(folder.path()).actions(ACTIONS);
    write(folder.path(), &set(&up_to(1)));
    let rules = policies.start(&life());
    rules.ready().await.expect("good");
    assert_eq!(log.count("WARN", "ReadLabel"), 0);

    let without = set("forbid (principal, action, resource);");
    write(folder.path(), &without);
    in_force(&rules, &version(&without)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(log.count("WARN", "no policy can permit the action ReadLabel"), 1, "however often it is looked at");

    write(folder.path(), &set(&up_to(2)));
    in_force(&rules, &version(&set(&up_to(2)))).await;
    assert_eq!(log.count("WARN", "ReadLabel"), 1);
}
