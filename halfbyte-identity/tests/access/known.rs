//! What is asked of the provider, and how often.

use axum::Router;
use axum::routing::get as route;
use halfbyte_core::Principal;
use halfbyte_identity::access::{Authorized, Checks, Denied, Entity, EntityRef, Membership};
use http::Request;

use crate::parcel::{CREATE, Desk, READ, folder, get, label, named, send, user};

fn inside(of: &str) -> halfbyte_identity::access::Entity {
    label("acme", "l-9", &user("bob", "acme", &[])).parent(EntityRef::new("Folder", of.to_owned()))
}

#[tokio::test]
async fn a_request_asks_the_provider_once_and_the_next_one_asks_again() {
    let desk = Desk::with_labels();
    let handler = async |checks: Checks, loaded: Authorized| {
        checks.check(READ, &*loaded).await.expect("hers");
        checks.find(READ, &named("l-1")).await.expect("hers");
        let other = checks.find(READ, &named("l-2")).await.expect("hers");
        checks.find(READ, &named("nowhere")).await.expect_err("not there");
        checks.find(READ, &named("nowhere")).await.expect_err("not there");
        other.name().to_string()
    };
    let access = desk.access();
    let layer = access.authorize(READ).in_path("Label", "/labels/{id}");
    let routes = Router::new().route("/labels/{id}", route(handler)).layer(layer).layer(access.authorize(CREATE));
    for _ in 0..2 {
        let seen = send(&routes, get("/labels/l-1", Some(&user("ann", "acme", &["clerk"])))).await;
        assert_eq!(seen.body, r#"Label::"l-2""#);
        assert_eq!(desk.calls(), ["ann", "acme", r#"Label::"l-1""#, r#"Label::"l-2""#, r#"Label::"nowhere""#]);
    }
}

#[tokio::test]
async fn what_is_known_of_one_principal_answers_for_no_other() {
    let desk = Desk::with_labels();
    let access = desk.access();
    let become_bob = tower::util::MapRequestLayer::new(|mut request: Request<_>| {
        request.extensions_mut().insert(user("bob", "globex", &["clerk"]));
        request
    });
    let handler = async |checks: Checks| checks.principal().subject().to_owned();
    let routes = Router::new()
        .route("/", route(handler))
        .layer(access.authorize(CREATE))
        .layer(become_bob)
        .layer(access.authorize(CREATE));
    let seen = send(&routes, get("/", Some(&user("ann", "acme", &["clerk"])))).await;
    assert_eq!((seen.status.as_u16(), seen.body.as_str()), (200, "bob"));
    assert_eq!(desk.calls(), ["ann", "acme", "bob", "globex"]);
}

#[tokio::test]
async fn what_one_principal_was_granted_is_not_anothers() {
    let access = Desk::with_labels().access();
    let become_bob = tower::util::MapRequestLayer::new(|mut request: Request<_>| {
        request.extensions_mut().insert(user("bob", "acme", &["clerk"]));
        request
    });
    let handler = async |request: Request<axum::body::Body>| {
        let extensions = request.extensions();
        let (granted, checks) = (Authorized::<Entity>::of(extensions), Checks::of(extensions));
        format!("{} {}", granted.is_some(), checks.is_some())
    };
    let ann = user("ann", "acme", &["clerk"]);
    let inside = Router::new().route("/", route(handler)).layer(become_bob.clone()).layer(access.authorize(CREATE));
    assert_eq!(send(&inside, get("/", Some(&ann))).await.body, "false false");
    let outside = Router::new().route("/", route(handler)).layer(access.authorize(CREATE)).layer(become_bob);
    assert_eq!(send(&outside, get("/", Some(&ann))).await.body, "true true");
}

#[test]
fn what_is_known_of_a_principal_is_not_shown() {
    let groups = vec![EntityRef::new("HalfByte::Group", "night")];
    let known = Membership { profile: vec![("department", "hunter2".into())], groups };
    assert_eq!(format!("{known:?}"), r#"Membership { profile: ["department"], groups: [HalfByte::Group::"night"] }"#);
}

#[tokio::test]
async fn what_is_known_to_one_access_is_not_to_another() {
    let (one, other) = (Desk::with_labels(), Desk::with_labels());
    let routes = Router::new()
        .route("/", route(async || {}))
        .layer(other.access().authorize(CREATE))
        .layer(one.access().authorize(CREATE));
    let seen = send(&routes, get("/", Some(&user("ann", "acme", &["clerk"])))).await;
    assert_eq!(
        (seen.status, one.calls(), other.calls()),
        (http::StatusCode::OK, strings(&["ann", "acme"]), strings(&["ann", "acme"]))
    );
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_a_thing_stands_in_is_asked_for_level_by_level() {
    let desk = Desk::default();
    for (id, outside) in [("a", &["b", "c"][..]), ("b", &["d"]), ("c", &["d"]), ("d", &["open"])] {
        desk.put(folder(id, outside));
    }
    let (access, ann) = (desk.access(), user("ann", "acme", &["clerk"]));
    let checks = access.checks(&ann);
    checks.check(READ, &inside("a")).await.expect("in an open folder");
    let (a, bc, d) = (r#"Folder::"a""#, r#"Folder::"b" Folder::"c""#, r#"Folder::"d""#);
    assert_eq!(desk.calls(), ["ann", "acme", a, bc, d, r#"Folder::"open""#]);
    checks.check(READ, &inside("b")).await.expect("in an open folder");
    assert_eq!(desk.calls(), [""; 0], "all is known");
    access.check(&ann, READ, &inside("elsewhere")).await.expect_err("not in an open folder");
}

#[tokio::test]
async fn groups_stand_in_groups() {
    let desk = Desk::default();
    desk.put(folder("a", &[]));
    desk.group("ann", "juniors");
    let ann = user("ann", "acme", &[]);
    desk.access().check(&ann, READ, &inside("a")).await.expect_err("juniors are no auditors yet");
    let juniors = EntityRef::new("HalfByte::Group", "juniors");
    let auditors = EntityRef::new("HalfByte::Group", "auditors");
    desk.put(halfbyte_identity::access::Entity::named(juniors).parent(auditors));
    desk.access().check(&ann, READ, &inside("a")).await.expect("they are");
}

/// Folders `1`, `2`, ..., each in the next one, of which the last is in the open one.
fn chain(desk: &Desk, length: usize) {
    for step in 1..length {
        desk.put(folder(&step.to_string(), &[&(step + 1).to_string()]));
    }
    desk.put(folder(&length.to_string(), &["open"]));
}

async fn reason(desk: &Desk, ann: &Principal, of: &str) -> String {
    let Err(Denied::Forbidden(decision)) = desk.access().check(ann, READ, &inside(of)).await else {
        panic!("it is denied")
    };
    decision.errors.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_is_too_far_out_or_too_much_or_in_itself_is_denied() {
    let ann = user("ann", "acme", &[]);
    let desk = Desk::default();
    chain(&desk, 15);
    desk.access().check(&ann, READ, &inside("1")).await.expect("16 steps");
    chain(&desk, 16);
    let label = r#"Label::"l-9""#;
    let far = format!("what {label} stands in or leads to is more than 16 steps away");
    assert_eq!(reason(&desk, &ann, "1").await, far);

    let many = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("f-{number}")).collect();
        names.iter().for_each(|name| desk.put(folder(name, &[])));
        let mut inside: Vec<_> = names.iter().map(String::as_str).collect();
        inside.push("open");
        folder("wide", &inside)
    };
    // With the folder itself and the open one.
    desk.put(many(254));
    desk.access().check(&ann, READ, &inside("wide")).await.expect("256 things");
    desk.put(many(255));
    assert_eq!(reason(&desk, &ann, "wide").await, format!("{label} stands in or leads to more than 256 things"));

    desk.put(folder("x", &["y"]));
    desk.put(folder("y", &["x"]));
    assert_eq!(reason(&desk, &ann, "x").await, "something stands in itself");
}

#[tokio::test]
async fn one_thing_of_a_list_that_is_out_of_bounds_is_denied_alone() {
    let desk = Desk::default();
    chain(&desk, 16);
    let (access, ann) = (desk.access(), user("ann", "acme", &[]));
    let list = [inside("open"), inside("1"), inside("2"), inside("elsewhere")];
    let decisions = access.check_all(&ann, READ, &list).await.expect("decisions");
    assert_eq!(decisions.iter().map(|it| it.is_allowed).collect::<Vec<_>>(), [true, false, true, false]);
    assert_eq!(decisions.iter().map(|it| it.errors.len()).collect::<Vec<_>>(), [0, 1, 0, 1]);
    // Here nothing helps the long way out.
    let decisions = access.check_all(&ann, READ, &[list[1].clone(), list[0].clone()]).await.expect("decisions");
    assert_eq!(decisions.iter().map(|it| it.is_allowed).collect::<Vec<_>>(), [false, true]);
    let wide: Vec<_> = (0..300).map(|number| EntityRef::new("Folder", number.to_string())).collect();
    let wide = wide.into_iter().fold(inside("open"), halfbyte_identity::access::Entity::parent);
    let decisions = access.check_all(&ann, READ, &[wide.clone(), inside("open")]).await.expect("decisions");
    assert_eq!(decisions.iter().map(|it| it.is_allowed).collect::<Vec<_>>(), [false, true]);
    // Nor what stands in itself.
    desk.put(folder("x", &["y"]));
    desk.put(folder("y", &["x"]));
    let decisions = access.check_all(&ann, READ, &[inside("x"), inside("open"), inside("x")]).await.expect("decisions");
    assert_eq!(decisions.iter().map(|it| it.is_allowed).collect::<Vec<_>>(), [false, true, false]);
}

#[tokio::test]
async fn what_a_lax_database_finds_by_another_id_is_not_there() {
    let desk = Desk::with_labels();
    desk.be_lax();
    let (access, ann) = (desk.access(), user("ann", "acme", &[]));
    let checks = access.checks(&ann);
    checks.find(READ, &named("l-1")).await.expect("hers");
    checks.find(READ, &named("L-1")).await.expect_err("another");
    desk.put(folder("a", &["open"]));
    checks.check(READ, &inside("A")).await.expect_err("another folder");
    checks.check(READ, &inside("a")).await.expect("in an open folder");
}

#[tokio::test]
async fn what_is_kept_for_one_request_is_bounded() {
    let desk = Desk::default();
    let (access, ann) = (desk.access(), user("ann", "acme", &[]));
    let checks = access.checks(&ann);
    for round in 0..2 {
        for number in 0..4100 {
            checks.find(READ, &named(&number.to_string())).await.expect_err("not there");
        }
        let calls = desk.calls().iter().filter(|call| call.starts_with("Label")).count();
        assert_eq!(calls, [4100, 4][round]);
    }
}

#[tokio::test]
async fn a_provider_that_fails_is_asked_again() {
    let desk = Desk::with_labels();
    let (access, ann) = (desk.access(), user("ann", "acme", &[]));
    let checks = access.checks(&ann);
    checks.find(READ, &named("l-1")).await.expect("hers");
    desk.go_down();
    checks.find(READ, &named("l-1")).await.expect("it is known");
    for _ in 0..2 {
        let denied = checks.find(READ, &named("l-2")).await.expect_err("unavailable");
        assert!(matches!(denied, Denied::Unavailable { .. }), "{denied:?}");
        let denied = access.check(&ann, READ, &inside("a")).await.expect_err("unavailable");
        assert!(matches!(denied, Denied::Unavailable { .. }), "{denied:?}");
    }
}
