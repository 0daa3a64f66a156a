use halfbyte_core::config::Config;
use halfbyte_core::home::Home;
use halfbyte_secrets::{
    Ask, Env, ExposeSecret as _, FromSecret, Json, Local, Name, Provider as _, Reading, SecretUrl, Secrets,
};

use super::backend::Backend;
use super::{chain, lifecycle};

const CANARY: &str = "hunter2";

/// Every way to print a thing that can be printed in all ways.
fn printed(thing: &(impl std::fmt::Debug + std::fmt::Display + serde::Serialize)) -> String {
    let json = serde_json::to_string(&[thing]).expect("serialized");
    format!("{thing} {thing:>20} {thing:?} {thing:#?} {json}")
}

#[tokio::test(start_paused = true)]
async fn no_handle_and_no_snapshot_prints_its_value() {
    async fn check<T: FromSecret>(value: &str) {
        let secret = Secrets::new(Backend::holding(value), &lifecycle()).get::<T>("token");
        secret.ready().await.expect("loaded");
        let snapshot = secret.load().expect("loaded");
        let said = format!("{} {} {:?}", printed(&secret), printed(&snapshot), secret.status());
        assert!(!said.contains(CANARY), "{said}");
        assert!(said.contains("[REDACTED]"));
        assert_eq!(serde_json::to_string(&snapshot).expect("serialized"), "\"[REDACTED]\"");
    }
    check::<String>(CANARY).await;
    check::<Vec<u8>>(CANARY).await;
    check::<Option<String>>(CANARY).await;
    check::<Json<Vec<String>>>(&format!("[\"{CANARY}\"]")).await;
    check::<SecretUrl>(&format!("postgres://u:{CANARY}@db/x")).await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_still_gives_its_value_to_who_asks_for_it() {
    let secret = Secrets::new(Backend::holding(CANARY), &lifecycle()).get::<String>("token");
    secret.ready().await.expect("loaded");
    let snapshot = secret.load().expect("loaded");
    drop(secret);
    assert_eq!(snapshot.expose_secret(), CANARY);
}

#[tokio::test(start_paused = true)]
async fn no_error_holds_a_part_of_a_value() {
    async fn check<T: FromSecret>(value: impl Into<Vec<u8>>) {
        let secret = Secrets::new(Backend::holding(value), &lifecycle()).get::<T>("token");
        let error = secret.ready().await.expect_err("it cannot be parsed");
        assert!(error.is_malformed(), "{error:?}");
        let said = format!("{} {error:?} {error:#?} {:?}", chain(&error), secret.status());
        assert!(!said.contains(CANARY), "{said}");
    }
    check::<String>([CANARY.as_bytes(), b"\xff"].concat()).await;
    check::<Json<Vec<String>>>(format!("\"{CANARY}\"")).await;
    check::<Json<u64>>(format!("{{\"{CANARY}\": \"{CANARY}\"}}")).await;
    check::<SecretUrl>(CANARY).await;
}

#[tokio::test]
async fn no_provider_and_no_reading_prints_a_value() {
    let config = Config::parse([("TOKEN", CANARY)]).expect("configured");
    let env = Env::new(&config.other);
    let reading = env.read(Ask::current(&Name::new("token").expect("a name"))).await.expect("read");
    let folder = tempfile::tempdir().expect("a folder");
    let local = Local::open(&Home::open(folder.path().join("home")).expect("opened")).expect("opened");
    local.set("token", &CANARY.into()).expect("set");
    let secrets = Secrets::new(local.clone(), &lifecycle());
    let said = format!("{env:#?} {reading:#?} {:#?} {local:#?} {secrets:#?}", Reading::new(CANARY));
    assert!(!said.contains(CANARY), "{said}");
}

#[test]
fn nothing_in_the_encrypted_file_or_its_folder_is_in_clear() {
    let folder = tempfile::tempdir().expect("a folder");
    let local = Local::open(&Home::open(folder.path().join("home")).expect("opened")).expect("opened");
    local.set("token", &CANARY.into()).expect("set");
    for entry in std::fs::read_dir(folder.path().join("home/secrets")).expect("listed") {
        let content = std::fs::read(entry.expect("an entry").path()).expect("read");
        assert!(!content.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()));
    }
}
