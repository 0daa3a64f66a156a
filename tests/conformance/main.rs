//! The two products of the examples behave as `CONTRACT.md` says.

use halfbyte::conformance::Conformance;

#[allow(dead_code, reason = "a test has a main of its own")]
#[path = "../../examples/clinic/main.rs"]
mod clinic;
#[allow(dead_code, reason = "a test has a main of its own")]
#[path = "../../examples/parcel/main.rs"]
mod parcel;
mod products;

#[tokio::test(flavor = "multi_thread")]
async fn parcel_conforms() {
    conforms(products::parcel()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clinic_conforms() {
    conforms(products::clinic()).await;
}

/// The report is a file as well, for a build server, whether the product conforms or not.
async fn conforms(product: Conformance) {
    let report = product.run().await;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    report.write_junit(folder.join(format!("conformance-{}.xml", report.product))).expect("a file that can be written");
    report.assert();
}
