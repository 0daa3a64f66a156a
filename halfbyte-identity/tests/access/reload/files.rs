//! Policies that are part of the program.

use halfbyte_identity::access::{Access, Bounds, Denied, Policies, SourceFile};

use super::*;

#[tokio::test]
async fn files_in_the_program_are_in_force_and_bad_ones_never_are() {
    let life = life();
    let rules = Policies::files(set(&up_to(1))).start(&life);
    rules.ready().await.expect("good");
    Access::new(rules, ()).check(&ann(), READ, &label(1)).await.expect("permitted");

    let rules = Policies::files(set("permit(")).start(&life);
    let error = rules.ready().await.expect_err("bad");
    assert!(halfbyte_core::error_chain(&error).contains("p.cedar:1: "), "{error:?}");
    let denied = Access::new(rules, ()).check(&ann(), READ, &label(1)).await.expect_err("there are no policies");
    assert!(matches!(denied, Denied::Unavailable { .. }) && denied.problem().kind().status() == 503, "{denied:?}");
    let report = life.health().report();
    let ready: Vec<_> = report.iter().map(|check| check.ready).collect();
    assert_eq!(ready, [false], "the first is forgotten, the second is not ready: {report:?}");
}

#[tokio::test]
async fn a_set_without_a_policy_is_none() {
    let life = life();
    for files in [vec![], vec![SourceFile::new("p.cedarschema", SCHEMA)], set("// none\n")] {
        let rules = Policies::files(files).start(&life);
        let error = rules.ready().await.expect_err("empty");
        assert!(halfbyte_core::error_chain(&error).contains("there is no policy"), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_over_the_bounds_is_refused() {
    let policies = Policies::files(set(&up_to(1))).bounds(Bounds { policies: 0, ..Bounds::default() });
    let error = policies.start(&life()).ready().await.expect_err("too many");
    assert!(
        halfbyte_core::error_chain(&error).contains("there are 1 policies, more than the 0 that are taken"),
        "{error:?}"
    );
}
