//! A 403: of a policy, or of a token that has ended.

use super::server::Answer;
use super::{Bao, LOGIN, LOOK, READ, app_role, openbao, read};

#[tokio::test]
async fn what_a_policy_forbids_is_denied_without_a_login() {
    let server = Bao::new().serve(|_| Answer::no(403, "1 error occurred: permission denied")).await;
    let openbao = openbao(&server, app_role());
    for _ in 0..3 {
        let error = read(&openbao, "x").await.expect_err("forbidden");
        assert!(error.is_denied() && error.to_string().contains("secret/data/app/x"), "{error}");
    }
    assert_eq!((server.count(LOGIN), server.count(LOOK)), (1, 3));
}

#[tokio::test]
async fn a_403_for_the_token_is_followed_by_one_login_and_one_more_try() {
    let server = Bao::new().serve(|_| Answer::no(403, "permission denied, invalid token")).await;
    let error = read(&openbao(&server, app_role()), "x").await.expect_err("refused twice");
    assert!(error.is_denied(), "{error}");
    assert_eq!((server.count(LOGIN), server.count(READ), server.count(LOOK)), (2, 2, 0));
}
