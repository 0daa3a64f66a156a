//! What a contract pins, and what a product may depart from.

use std::time::Duration;

use halfbyte::{Contract, Deviation, ErrorKind, Platform};
use jiff::civil::date;

use crate::child::Product;
use crate::start;

/// Whoever changes a line of this file changes what products promise: that is a new version of the contract.
const V1: &str = include_str!("contract_v1.txt");

#[test]
fn v1_is_what_it_was() {
    assert_eq!(Contract::V1.pinned(), V1, "what V1 pins has changed: make a new version of the contract");
}

async fn deviating(deviation: Deviation, reason: &str) -> Result<Platform, halfbyte::Error> {
    let folder = tempfile::tempdir().unwrap();
    let builder = Platform::builder("parcel", Contract::V1).config(start::config(folder.path(), &[]).unwrap());
    builder.deviate(deviation, reason, date(2027, 3, 1)).start().await
}

#[tokio::test]
async fn a_deviation_shows_in_the_manifest_and_in_the_fingerprint() {
    let plain = deviating(Deviation::Deadline(Duration::from_secs(30)), "the same as it was").await.unwrap();
    let other = deviating(Deviation::Deadline(Duration::from_secs(120)), "reports take long").await.unwrap();
    let (plain, other) = (plain.manifest(), other.manifest());
    let deviation = &other.deviations[0];
    assert_eq!((deviation.clause.as_str(), deviation.contract, deviation.value), ("HB-REQ-004", 30_000, 120_000));
    assert_eq!((deviation.reason.as_str(), deviation.until.as_str()), ("reports take long", "2027-03-01"));
    assert_eq!((plain.limits["deadline_ms"], other.limits["deadline_ms"]), (30_000, 120_000));
    assert_ne!(plain.fingerprint, other.fingerprint);
    assert_eq!(other.fingerprint.len(), 64);
}

#[tokio::test]
async fn a_deviation_without_a_reason_does_not_start() {
    let error = deviating(Deviation::Connections(5), "").await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Configuration, 78));
    assert!(format!("{error:?}").contains("the deviation of connections gives no reason"), "{error:?}");
}

#[tokio::test]
async fn a_deviation_that_has_expired_is_warned_of_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let product = Product::start("departed", folder.path(), None, &[]);
    product.says("a deviation from the contract has expired").await;
    let log = product.log();
    for said in ["WARN", "HB-REQ-006", "limit=\"connections\"", "2020-01-01", "one that nobody ended"] {
        assert!(log.contains(said), "{said} is not in {log}");
    }
}
