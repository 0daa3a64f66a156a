//! The two products of the examples behave as `CONTRACT.md` says. One process runs both suites, one after the other: telemetry is set up once.

use halfbyte::conformance::{Conformance, Sample};

#[allow(dead_code, reason = "a test has a main of its own")]
#[path = "../../examples/clinic/main.rs"]
mod clinic;
#[allow(dead_code, reason = "a test has a main of its own")]
#[path = "../../examples/parcel/main.rs"]
mod parcel;

#[tokio::test(flavor = "multi_thread")]
async fn parcel_conforms() {
    let parcel = Conformance::new(async |config| {
        let labels = parcel::labels::Labels::default();
        let platform = parcel::builder(&labels).config(config).start().await?;
        let routes = parcel::routes(&platform, labels)?;
        Ok((platform, routes))
    });
    let parcel = parcel.plan("business").sample(Sample::of("GET /")).sample(Sample::of("GET /usage"));
    let parcel = parcel.sample(Sample::of("POST /labels").json(r#"{"to":"1 Main Street"}"#));
    parcel.sample(Sample::of("GET /labels/{id}").made_by("POST /labels", "/id")).run().await.assert();
}

#[tokio::test(flavor = "multi_thread")]
async fn clinic_conforms() {
    let clinic = Conformance::new(async |config| {
        let platform = clinic::builder().config(config).start().await?;
        let routes = clinic::routes(&platform).await?;
        Ok((platform, routes))
    });
    // Without a home kit, for which it would need a Parcel that runs.
    let appointment = r#"{"patient":"Ann","at":"2030-01-01T09:00"}"#;
    let clinic = clinic.plan("business").sample(Sample::of("POST /appointments").json(appointment));
    clinic.sample(Sample::of("GET /appointments")).run().await.assert();
}
