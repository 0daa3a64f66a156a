use halfbyte_billing::Settings;
use halfbyte_billing::{Billing, ErrorKind};
use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle, ProductId};

use crate::support::{Desk, Folder, catalog};

#[tokio::test]
async fn a_layer_for_a_feature_that_is_not_in_the_catalogue_is_refused_with_the_nearest_name() {
    let folder = Folder::new();
    let desk = Desk::open(&folder.home()).await;
    let error = desk.billing.entitle("lables").expect_err("there is none");
    assert_eq!(error.kind(), ErrorKind::Catalog);
    assert_eq!(error.to_string(), "parcel has no feature \"lables\"; did you mean \"labels\"?");
}

#[tokio::test]
async fn a_layer_for_another_products_feature_is_refused() {
    let folder = Folder::new();
    let desk = Desk::open(&folder.home()).await;
    let error = desk.billing.entitle("booking").expect_err("it is the clinic's");
    assert_eq!(error.to_string(), "the feature \"booking\" is of \"clinic\" and not of \"parcel\"");
}

#[tokio::test]
async fn a_product_that_the_catalogue_lacks_does_not_open() {
    let folder = Folder::new();
    let (home, life) = (Home::open(folder.home()).expect("a home"), Lifecycle::new(Clock::system()));
    let product = ProductId::new("parzel").expect("valid");
    let settings = Settings::new(&BillingBackend::Sqlite(None), &home, product, catalog());
    let opened = Billing::open(settings, &life).await;
    let error = opened.expect_err("there is none");
    assert_eq!(error.to_string(), "the catalogue has no product \"parzel\"; did you mean \"parcel\"?");
}
