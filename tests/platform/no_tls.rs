//! A product that was built without TLS.

use crate::start;

#[tokio::test]
async fn a_certificate_that_nothing_would_be_done_with_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("HALFBYTE_TLS_SECRET", "tls-certificate")];
    let error = start::start_with(folder.path(), "[products.parcel]", &variables).await.map(drop).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("built without TLS"), "{error:?}");
}
