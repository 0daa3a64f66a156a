//! What a product does with a configuration, a catalogue or a state that cannot be used.

use std::path::Path;
use std::time::Duration;

use halfbyte::core::config::Config;
use halfbyte::{Contract, Error, ErrorKind, Platform};

const CATALOG: &str = include_str!("../../examples/catalog.toml");

pub fn config(home: &Path, more: &[(&str, &str)]) -> Result<Config, halfbyte::core::config::ConfigError> {
    let home = home.join("home").display().to_string();
    let fixed = [
        ("HALFBYTE_HOME", home.as_str()),
        ("HALFBYTE_LISTEN", "127.0.0.1:0"),
        ("HALFBYTE_ADMIN_LISTEN", "127.0.0.1:0"),
        ("RUST_LOG", "error"),
    ];
    Config::parse(fixed.into_iter().chain(more.iter().copied()))
}

pub async fn start(home: &Path, catalog: &str) -> Result<Platform, Error> {
    start_with(home, catalog, &[]).await
}

pub async fn start_with(home: &Path, catalog: &str, more: &[(&str, &str)]) -> Result<Platform, Error> {
    let builder = Platform::builder("parcel", Contract::V1).config(config(home, more).unwrap());
    builder.catalog("plans.toml", catalog).start().await
}

async fn refusal(home: &Path, catalog: &str) -> Error {
    match start(home, catalog).await {
        Ok(_) => panic!("it starts"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_catalogue_that_names_an_unknown_feature_is_refused_with_file_line_and_name() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = CATALOG.replace("features.booking = true", "features.bokking = true");
    let error = refusal(folder.path(), &catalog).await;
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Configuration, 78));
    let line = catalog.lines().position(|line| line.contains("bokking")).unwrap() + 1;
    let message = format!("{error:?}");
    for part in [&format!("plans.toml:{line}"), "bokking", "booking"] {
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
}

#[tokio::test]
async fn a_route_that_asks_for_an_unknown_feature_is_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let platform = start(folder.path(), CATALOG).await.unwrap();
    let error = platform.require(&[]).feature("labells").map(drop).unwrap_err();
    assert!(format!("{error:?}").contains("labells"), "{error:?}");
}

#[tokio::test]
async fn corrupt_state_is_reported_with_its_file_and_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let platform = start(folder.path(), CATALOG).await.unwrap();
    // Whoever closes a database last moves its log into it: that must be over.
    assert!(platform.lifecycle().stop_tasks(Duration::from_secs(5)).await);
    drop(platform);
    let home = folder.path().join("home");
    for file in ["identity/issuer.json", "billing/billing.sqlite"] {
        let path = home.join(file);
        let good = std::fs::read(&path).unwrap();
        let garbage = vec![b'x'; good.len()];
        std::fs::write(&path, &garbage).unwrap();
        let error = refusal(folder.path(), CATALOG).await;
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Unavailable, 69));
        assert!(format!("{error:?}").contains(path.file_name().unwrap().to_str().unwrap()), "{error:?}");
        assert!(std::fs::read(&path).unwrap() == garbage, "{file} was overwritten");
        std::fs::write(&path, good).unwrap();
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_the_key_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = config(folder.path(), &[]).unwrap();
    let config = Config { listen: address.parse().unwrap(), ..config };
    let error = Platform::builder("parcel", Contract::V1).config(config).start().await.map(drop).unwrap_err();
    let message = format!("{error:?}");
    assert!(message.contains(&address) && message.contains("HALFBYTE_LISTEN"), "{message}");
}

#[tokio::test]
async fn a_product_with_a_bad_name_is_refused() {
    let error = Platform::builder("My Product", Contract::V1).start().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test]
async fn a_product_without_plans_starts_without_a_catalogue() {
    let folder = tempfile::tempdir().unwrap();
    let builder = Platform::builder("parcel", Contract::V1).config(config(folder.path(), &[]).unwrap());
    let platform = builder.start().await.unwrap();
    assert_eq!(platform.require(&[]).feature("labels").map(drop).unwrap_err().exit_code(), 78);
}
