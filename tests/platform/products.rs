//! The policies of the two products of the examples, and whom their routes let have what.

use axum::Router;
use axum::body::Body;
use halfbyte::core::home::Home;
use halfbyte::identity::access::testing::{Kit, Who, tenant, thing};
use halfbyte::secrets::Local;
use http::{Request, request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::start;

#[allow(dead_code, reason = "a test has a main of its own")]
#[path = "../../examples/clinic/main.rs"]
pub(crate) mod clinic;
#[allow(dead_code, reason = "a test has a main of its own")]
#[path = "../../examples/parcel/main.rs"]
pub(crate) mod parcel;

use clinic::access::{BOOK_APPOINTMENT, LIST_APPOINTMENTS, READ_APPOINTMENT};
use parcel::access::{CREATE_LABEL, READ_LABEL, READ_USAGE};

#[test]
fn parcels_policies_go_with_what_it_asks() {
    let kit = Kit::files(&parcel::access::policies());
    kit.actions(&[CREATE_LABEL, READ_LABEL, READ_USAGE]);
    kit.no_warnings();
}

#[test]
fn labels_are_made_by_shippers_and_read_by_who_made_them_and_by_supervisors() {
    let kit = Kit::files(&parcel::access::policies());
    let (ann, bob, carol) =
        (Who::user("ann").role("shipper"), Who::user("bob").role("shipper"), Who::user("carol").role("supervisor"));
    let acme = tenant("acme");
    for (who, may_create, may_read_usage) in
        [(&ann, true, false), (&carol, false, true), (&Who::user("dan"), false, false)]
    {
        assert_eq!(kit.decide(who, CREATE_LABEL, &acme).is_allowed, may_create);
        assert_eq!(kit.decide(who, READ_USAGE, &acme).is_allowed, may_read_usage);
    }
    let label = thing("Label", "l-1", "acme");
    let anns = label.clone().attribute("maker", ann.name());
    for (who, may_read_anns, may_read_a_programs) in [(&ann, true, false), (&bob, false, false), (&carol, true, true)] {
        assert_eq!(kit.decide(who, READ_LABEL, &anns).is_allowed, may_read_anns);
        assert_eq!(kit.decide(who, READ_LABEL, &label).is_allowed, may_read_a_programs);
    }
}

#[test]
fn programs_do_in_parcel_what_they_were_granted() {
    let kit = Kit::files(&parcel::access::policies());
    let (reader, writer) = (Who::service("app").scope("labels:read"), Who::service("app").scope("labels:write"));
    let (acme, label) = (tenant("acme"), thing("Label", "l-1", "acme").attribute("maker", Who::user("ann").name()));
    kit.allow(&writer, CREATE_LABEL, &acme);
    kit.allow(&reader, READ_LABEL, &label);
    kit.allow(&reader, READ_USAGE, &acme);
    kit.deny_by(&reader, CREATE_LABEL, &acme, "halfbyte.granted.CreateLabel");
    kit.deny_by(&writer, READ_LABEL, &label, "halfbyte.granted.ReadLabel");
}

#[test]
fn nobody_reaches_into_another_tenant_and_a_suspended_one_reads_what_it_has() {
    let kit = Kit::files(&parcel::access::policies()).suspended(["acme"]);
    let (app, carol) =
        (Who::service("app").scope("labels:read").scope("labels:write"), Who::user("carol").role("supervisor"));
    let (label, theirs) = (thing("Label", "l-1", "acme"), thing("Label", "l-2", "globex"));
    for who in [&app, &carol] {
        kit.allow(who, READ_LABEL, &label);
        kit.allow(who, READ_USAGE, &tenant("acme"));
        kit.deny_by(who, READ_LABEL, &theirs, "halfbyte.tenant-isolation");
    }
    kit.deny_by(&app, CREATE_LABEL, &tenant("acme"), "halfbyte.suspended-reads-only");
}

#[test]
fn clinics_policies_go_with_what_it_asks() {
    let kit = Kit::files(&clinic::access::policies());
    kit.actions(&[BOOK_APPOINTMENT, LIST_APPOINTMENTS, READ_APPOINTMENT]);
    kit.no_warnings();
}

#[test]
fn appointments_are_read_by_who_booked_them_and_by_practitioners() {
    let kit = Kit::files(&clinic::access::policies());
    let (ann, bob, doctor) = (Who::user("ann"), Who::user("bob"), Who::user("eve").role("practitioner"));
    let anns = thing("Appointment", "a-1", "acme").attribute("booker", ann.name());
    for (who, may_read) in [(&ann, true), (&bob, false), (&doctor, true)] {
        kit.allow(who, BOOK_APPOINTMENT, &tenant("acme"));
        kit.allow(who, LIST_APPOINTMENTS, &tenant("acme"));
        assert_eq!(kit.decide(who, READ_APPOINTMENT, &anns).is_allowed, may_read);
    }
    let theirs = thing("Appointment", "a-2", "globex").attribute("booker", ann.name());
    kit.deny_by(&doctor, READ_APPOINTMENT, &theirs, "halfbyte.tenant-isolation");
    let reader = Who::service("app").scope("appointments:read");
    kit.allow(&reader, READ_APPOINTMENT, &anns);
    kit.deny_by(&reader, BOOK_APPOINTMENT, &tenant("acme"), "halfbyte.granted.BookAppointment");
}

/// What `who` gets of `routes`, past authentication.
async fn ask(routes: &Router, who: &Who, request: request::Builder, body: Value) -> (u16, Value) {
    let request = request.header("content-type", "application/json");
    let mut request = request.body(Body::from(body.to_string())).unwrap();
    request.extensions_mut().insert(who.principal());
    let response = routes.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn get(routes: &Router, who: &Who, path: &str) -> (u16, Value) {
    ask(routes, who, Request::get(path), Value::Null).await
}

async fn post(routes: &Router, who: &Who, path: &str, key: &str, body: Value) -> (u16, Value) {
    ask(routes, who, Request::post(path).header("idempotency-key", key), body).await
}

#[tokio::test]
async fn parcel_shows_a_label_to_who_may_read_it_and_tells_the_others_nothing() {
    let folder = tempfile::tempdir().unwrap();
    Local::open(&Home::open(folder.path().join("home")).unwrap()).unwrap().set("label-seal", &"wax".into()).unwrap();
    let labels = parcel::labels::Labels::default();
    let platform = parcel::builder(&labels).config(start::config(folder.path(), &[]).unwrap()).start().await.unwrap();
    platform.secrets().get::<secrecy::SecretString>("label-seal").ready().await.unwrap();
    let routes = parcel::routes(&platform, labels).unwrap().into();

    let scoped = |who: Who| who.scope("labels:read").scope("labels:write");
    let (ann, bob) = (scoped(Who::user("ann").role("shipper")), scoped(Who::user("bob").role("shipper")));
    let order = json!({ "to": "1 Main Street" });
    let (status, label) = post(&routes, &ann, "/labels", "first", order.clone()).await;
    assert_eq!(status, 201, "{label}");
    assert_eq!(post(&routes, &ann, "/labels", "first", order.clone()).await, (201, label.clone()));
    assert_eq!(post(&routes, &bob, "/labels", "first", order.clone()).await, (422, Value::Null), "not by a key either");
    let another = json!({ "to": "2 Main Street" });
    assert_eq!(post(&routes, &ann, "/labels", "first", another).await, (422, Value::Null), "one key, one order");
    let path = format!("/labels/{}", label["id"].as_str().unwrap());
    let supervisor = scoped(Who::user("carol").role("supervisor"));
    for who in [&ann, &supervisor, &scoped(Who::service("app"))] {
        assert_eq!(get(&routes, who, &path).await, (200, label.clone()));
    }
    let (status, nothing) = get(&routes, &bob, "/labels/nowhere").await;
    assert_eq!((status, &nothing["type"]), (403, &json!("urn:halfbyte:problem:forbidden")));
    for who in [&bob, &supervisor.clone().of("globex"), &scoped(Who::service("app").of("globex"))] {
        assert_eq!(get(&routes, who, &path).await, (403, nothing.clone()));
    }
    assert_eq!(get(&routes, &supervisor, "/usage").await.0, 200);
    assert_eq!(get(&routes, &ann, "/usage").await, (403, nothing.clone()));
    assert_eq!(post(&routes, &supervisor, "/labels", "second", order).await, (403, nothing));
}

#[tokio::test]
async fn clinic_lists_the_appointments_that_one_may_read() {
    let folder = tempfile::tempdir().unwrap();
    let platform = clinic::builder().config(start::config(folder.path(), &[]).unwrap()).start().await.unwrap();
    let routes = clinic::routes(&platform).await.unwrap().into();
    let customers = platform.billing().customers();
    for name in ["acme", "globex"] {
        customers.create(&tenant(name)).await.unwrap();
        customers.subscribe(&tenant(name), "business").await.unwrap();
    }
    let scoped = |who: Who| who.scope("appointments:read").scope("appointments:write");
    let (ann, bob, app) = (scoped(Who::user("ann")), scoped(Who::user("bob")), scoped(Who::service("app")));
    for (who, patient) in [(&ann, "Al"), (&bob, "Bo"), (&app, "Cy"), (&ann.clone().of("globex"), "Di")] {
        let booked = json!({ "patient": patient, "at": "2030-01-01T09:00" });
        assert_eq!(post(&routes, who, "/appointments", patient, booked).await.0, 201);
    }
    let another = json!({ "patient": "Ed", "at": "2030-01-01T09:00" });
    assert_eq!(post(&routes, &ann, "/appointments", "Al", another).await, (422, Value::Null), "one key, one request");
    let again = json!({ "patient": "Al", "at": "2030-01-01T09:00" });
    assert_eq!(post(&routes, &ann, "/appointments", "Al", again.clone()).await.1["patient"], "Al");
    assert_eq!(post(&routes, &bob, "/appointments", "Al", again).await, (422, Value::Null), "not by a key either");
    let doctor = scoped(Who::user("eve").role("practitioner"));
    for (who, patients) in [
        (&ann, &["Al"][..]),
        (&bob, &["Bo"]),
        (&app, &["Al", "Bo", "Cy"]),
        (&doctor, &["Al", "Bo", "Cy"]),
        (&doctor.clone().of("globex"), &["Di"]),
        (&bob.clone().of("globex"), &[]),
    ] {
        let (status, list) = get(&routes, who, "/appointments").await;
        let mut shown: Vec<_> = list.as_array().unwrap().iter().map(|one| one["patient"].as_str().unwrap()).collect();
        shown.sort_unstable();
        assert_eq!((status, &shown[..]), (200, patients), "{who:?}");
    }
}
