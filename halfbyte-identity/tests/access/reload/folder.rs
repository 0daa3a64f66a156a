//! Policies in a folder.

use halfbyte_core::live::State;
use halfbyte_identity::access::Access;

use super::*;
use crate::log::Log;

#[tokio::test]
async fn a_folder_that_changes_is_put_in_force_and_a_bad_set_leaves_the_last_good_one() {
    let log = Log::capture().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (set(&up_to(1)), set(&up_to(2)));
    write(folder.path(), &one);
    let life = life();
    // A place that can be read is not away, however long what it holds is bad.
    let rules = watch(folder.path()).max_stale(Duration::from_secs(2)).start(&life);
    in_force(&rules, &version(&one)).await;
    write(folder.path(), &two);
    in_force(&rules, &version(&two)).await;

    write(folder.path(), &set("permit (principal, action, resource)\nwhen { resource.weight };"));
    let error = told(&rules, "p.cedar:2: attribute `weight` on entity type `Label` not found").await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(rules.load().expect("the last good one").version(), &version(&two));
    assert_eq!((rules.status().last_error(), rules.status().failures), (Some(error.clone()), 0));
    let check = life.health().report().into_iter().find(|check| &*check.name == "access.policies").expect("a check");
    assert!(check.ready && check.detail.as_ref() == Some(&error), "{check:?}");
    assert_eq!(log.count("ERROR", "p.cedar:2: attribute `weight`"), 1, "once per set, however often it is looked at");

    write(folder.path(), &set("forbid("));
    told(&rules, "p.cedar:1: ").await;
    assert_eq!(log.count("ERROR", "the policies are not put in force"), 2);

    write(folder.path(), &two);
    good_again(&rules).await;
    assert_eq!(rules.load().expect("there").generation(), 2, "what was in force is not put in force again");
}

#[tokio::test]
async fn a_folder_that_is_away_leaves_the_last_good_set_unless_told_otherwise() {
    for max_stale in [None, Some(Duration::from_millis(50))] {
        let folder = tempfile::tempdir().expect("a folder");
        let there = folder.path().join("policies");
        fs::create_dir(&there).expect("made");
        write(&there, &set(&up_to(1)));
        let policies = watch(&there);
        let rules = max_stale.into_iter().fold(policies, Policies::max_stale).start(&life());
        rules.ready().await.expect("good");
        fs::remove_dir_all(&there).expect("removed");
        told(&rules, "policies: ").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let expected = if max_stale.is_none() { State::Stale } else { State::Expired };
        assert_eq!((rules.load().is_ok(), rules.status().state()), (max_stale.is_none(), expected));
        fs::create_dir(&there).expect("made");
        write(&there, &set(&up_to(3)));
        in_force(&rules, &version(&set(&up_to(3)))).await;
    }
}

#[tokio::test]
async fn an_emptied_folder_leaves_the_last_good_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = set(&up_to(1));
    write(folder.path(), &one);
    let rules = watch(folder.path()).start(&life());
    in_force(&rules, &version(&one)).await;
    for file in &one {
        fs::remove_file(folder.path().join(&*file.name)).expect("removed");
    }
    told(&rules, "there is no policy").await;
    assert_eq!(rules.load().expect("the last good one").version(), &version(&one));
}

#[tokio::test]
async fn a_schema_and_the_policies_on_it_change_as_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = set(&up_to(1));
    write(folder.path(), &one);
    let rules = watch(folder.path()).start(&life());
    in_force(&rules, &version(&one)).await;

    // The schema alone: what the policies say no longer fits, and all of it is refused.
    let schema = SourceFile::new("p.cedarschema", SCHEMA.replace("size: Long", "grams: Long"));
    write(folder.path(), std::slice::from_ref(&schema));
    told(&rules, "attribute `size` on entity type `Label` not found").await;
    assert_eq!(rules.load().expect("the old one").version(), &version(&one));
    let access = Access::new(rules.clone(), ());
    access.check(&ann(), READ, &label(1)).await.expect("by the old schema");

    let policies = SourceFile::new("p.cedar", "permit (principal, action, resource) when { resource.grams <= 7 };");
    write(folder.path(), std::slice::from_ref(&policies));
    in_force(&rules, &version(&[schema, policies])).await;
    let acme = "acme".parse().expect("a tenant");
    let label = Entity::new("Label", "l").of_tenant(&acme).attribute("grams", 7);
    access.check(&ann(), READ, &label).await.expect("by the new schema");
}
