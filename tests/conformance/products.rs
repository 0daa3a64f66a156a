//! The two products of the examples, as the suite drives them.

use halfbyte::conformance::{Conformance, Sample};

use crate::{clinic, parcel};

pub fn parcel() -> Conformance {
    Conformance::new(async |config| {
        let labels = parcel::labels::Labels::default();
        let platform = parcel::builder(&labels).config(config).start().await?;
        let routes = parcel::routes(&platform, labels)?;
        Ok((platform, routes))
    })
    .plan("business")
    .sample(Sample::of("GET /"))
    .sample(Sample::of("POST /labels").json(r#"{"to":"1 Main Street"}"#))
    .sample(Sample::of("GET /labels/{id}").made_by("POST /labels", "/id"))
    .sample(Sample::of("GET /usage"))
}

pub fn clinic() -> Conformance {
    Conformance::new(async |config| {
        let platform = clinic::builder().config(config).start().await?;
        let routes = clinic::routes(&platform).await?;
        Ok((platform, routes))
    })
    .plan("business")
    // Without a home kit, for which it would need a Parcel that runs.
    .sample(Sample::of("POST /appointments").json(r#"{"patient":"Ann","at":"2030-01-01T09:00"}"#))
    .sample(Sample::of("GET /appointments"))
}
