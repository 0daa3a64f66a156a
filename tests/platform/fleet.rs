//! Products that run, compared by what they say of themselves.

use std::time::Duration;

use axum::Router;
use halfbyte::core::lifecycle::Phase;
use halfbyte::{Builder, Deviation, Manifest, Platform};
use jiff::civil::date;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use url::Url;

use crate::products::{clinic, parcel};
use crate::start;

#[allow(dead_code, reason = "a test has a main of its own")]
#[path = "../../examples/fleet/main.rs"]
mod program;

use program::compare::Report;

/// Products that serve for as long as a test runs.
#[derive(Default)]
struct Running {
    serving: JoinSet<Result<(), halfbyte::Error>>,
    folders: Vec<tempfile::TempDir>,
}

impl Running {
    async fn serve(&mut self, builder: Builder, variables: &[(&str, &str)]) -> Url {
        let folder = tempfile::tempdir().unwrap();
        let platform = builder.config(start::config(folder.path(), variables).unwrap()).start().await.unwrap();
        self.folders.push(folder);
        self.serving.spawn(platform.clone().serve(Router::new()));
        platform.lifecycle().reached(Phase::Ready).await;
        admin(&platform)
    }
}

fn admin(platform: &Platform) -> Url {
    format!("http://{}", platform.admin_address()).parse().unwrap()
}

fn parcels() -> Builder {
    parcel::builder(&parcel::labels::Labels::default())
}

#[tokio::test]
async fn products_on_one_contract_are_alike() {
    let mut running = Running::default();
    let urls = [running.serve(parcels(), &[]).await, running.serve(clinic::builder(), &[]).await];
    let report = program::report(&urls).await.unwrap();
    assert_eq!(report.exit_code(), 0, "{report:?}");
    assert_eq!(report.differences.len(), 0, "{report:?}");
    let shown = program::table::render(&report);
    for part in ["parcel", "clinic", "2026-11-21 (V1)", &report.products[0].fingerprint[..12], "\nAlike: "] {
        assert!(shown.contains(part), "{part} is missing in:\n{shown}");
    }
}

#[tokio::test]
async fn one_that_departs_from_the_contract_is_found_with_the_days_that_it_has_left() {
    let mut running = Running::default();
    let departs = parcels().deviate(Deviation::Deadline(Duration::from_secs(120)), "customs", date(2999, 1, 1));
    let ended = clinic::builder().deviate(Deviation::Connections(5), "a small machine", date(2026, 1, 1));
    let staging = [("HALFBYTE_ENV", "staging"), ("HALFBYTE_SECRETS_URL", "env:")];
    let urls = [running.serve(departs, &[]).await, running.serve(ended, &staging).await];
    let report = program::report(&urls).await.unwrap();
    assert_eq!((report.exit_code(), &report.torn[..]), (1, &["2026-11-21 (V1)".to_owned()][..]));
    let differs =
        |what: &str| report.differences.iter().find(|difference| difference.what == what).map(|d| &d.values[..]);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(differs("limit deadline_ms"), Some(&[some("120000"), some("30000")][..]));
    assert_eq!(differs("limit connections"), Some(&[some("10000"), some("5")][..]));
    assert_eq!(differs("configuration environment"), Some(&[some("development"), some("staging")][..]));
    assert_eq!(differs("configuration secrets"), None, "where a product has its secrets is its own affair");
    assert!(report.products[0].deviations[0].days_left.unwrap() > 300_000);
    assert!(report.products[1].deviations[0].days_left.unwrap() < 0);
    let shown = program::table::render(&report);
    for part in [
        "deadline_ms is 120000 and not 30000 (HB-REQ-004; ",
        " days left, until 2999-01-01): customs",
        "; ENDED ",
        "NOT ALIKE",
    ] {
        assert!(shown.contains(part), "{part} is missing in:\n{shown}");
    }
    let as_json = serde_json::to_value(&report).unwrap();
    assert_eq!(as_json["products"][0]["deviations"][0]["clause"], "HB-REQ-004");
}

#[tokio::test]
async fn one_that_cannot_be_asked_is_named_without_what_is_secret_in_its_address() {
    let mut running = Running::default();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://me:hunter2@{closed}/?token=hunter2").parse().unwrap();
    let urls = [running.serve(parcels(), &[]).await, nobody];
    let report = program::report(&urls).await.unwrap();
    assert_eq!((report.exit_code(), report.products.len(), report.unreachable.len()), (2, 1, 1));
    let shown = program::table::render(&report);
    assert!(shown.contains(&format!("http://{closed} cannot be asked: ")), "{shown}");
    assert!(!format!("{shown}{report:?}").contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_not_read_to_its_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = [format!("http://{}", listener.local_addr().unwrap()).parse().unwrap()];
    let endless = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _request = stream.read(&mut head).await;
            let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n").await;
            while sent.is_ok() {
                sent = stream.write_all(&[b' '; 16 * 1024]).await;
            }
        }
    };
    let report = tokio::select! {
        report = program::report(&urls) => report.unwrap(),
        () = endless => unreachable!("it goes on"),
    };
    assert_eq!(report.exit_code(), 2);
    assert!(report.unreachable[0].error.contains("the body is over 1048576 bytes"), "{report:?}");
}

#[test]
fn what_a_product_says_does_not_steer_the_terminal() {
    let manifest: Manifest = serde_json::from_value(json!({
        "product": "evil\u{1b}[2J", "version": "\u{7}", "crates": {}, "contract": "x".repeat(500), "fingerprint": "ü".repeat(20),
        "deviations": [{ "clause": "\n", "limit": "l", "contract": 1, "value": 2, "reason": "\u{1b}]0;", "until": "never" }],
        "layers": [], "limits": {}, "routes": [], "scopes": [], "actions": [], "features": [], "secrets": [], "configuration": {},
    }))
    .unwrap();
    let answers = vec![
        ("http://a".to_owned(), Ok(manifest.clone())),
        ("http://b".to_owned(), Ok(manifest)),
        ("http://c".to_owned(), Err("\u{1b}".to_owned())),
    ];
    let report = Report::new(answers, date(2026, 11, 22));
    assert_eq!(report.products[0].deviations[0].days_left, None);
    let shown = program::table::render(&report);
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    assert!(shown.lines().all(|line| line.chars().count() < 250), "{shown}");
}
