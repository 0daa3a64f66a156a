//! Mounts that were taken away: no outage, and no secret that is absent.

use std::fs;

use halfbyte_core::home::Home;
use halfbyte_secrets::{BootSnapshot, ExposeSecret as _, Secrets};

use super::server::{Answer, Server};
use super::{Bao, LOGIN, app_role, openbao, read, until, version};
use crate::lifecycle;

const GONE: &str = "no handler for route";

/// One from which the mount of the secrets, or that of the login, was taken away.
async fn without(gone: &'static str) -> Server {
    let bao = Bao::new();
    Server::start(move |request| match bao.answer(request) {
        _ if request.line.starts_with(gone) => Answer::no(404, GONE),
        Some(answer) => answer,
        None => Answer::ok(version(1, r#"{"value":"x"}"#)),
    })
    .await
}

const MOUNTS: [(&str, &str); 2] = [("GET /v1/secret/", "mount it"), (LOGIN, "enable the auth method")];

#[tokio::test]
async fn what_is_mounted_no_more_is_denied_and_says_what_to_do() {
    for (gone, says) in MOUNTS {
        let server = without(gone).await;
        let openbao = openbao(&server, app_role());
        for name in ["x", "y"] {
            let error = read(&openbao, name).await.expect_err("gone");
            assert!(error.is_denied() && !error.is_temporary() && error.to_string().contains(says), "{error}");
        }
        assert_eq!(server.count(LOGIN), 1, "a login that is not there is not asked for again at once");
    }
}

#[tokio::test]
async fn a_secret_that_may_be_missing_is_not_missing_because_its_mount_is() {
    for (gone, _) in MOUNTS {
        let server = without(gone).await;
        let life = lifecycle();
        let secret = Secrets::new(openbao(&server, app_role()), &life).get::<Option<String>>("x");
        let error = secret.ready().await.expect_err("gone");
        assert!(error.is_denied() && secret.load().is_err(), "{error}");
    }
}

#[tokio::test]
async fn a_snapshot_does_not_stand_in_for_what_was_taken_away_and_forgets_it() {
    for (gone, _) in MOUNTS {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path().join("home")).expect("opened");
        let file = || {
            let entries = fs::read_dir(folder.path().join("home/secrets")).ok()?;
            let mut files = entries.map(|entry| entry.expect("an entry").path());
            fs::read(files.find(|path| path.extension().is_some_and(|extension| extension == "age"))?).ok()
        };
        // A process that starts with what earlier ones left behind.
        let start = async |server: &Server| {
            let snapshot = BootSnapshot::open(&home, "openbao://bao/secret/app").expect("opened");
            let life = lifecycle();
            let secrets = Secrets::builder(openbao(server, app_role())).snapshot(snapshot).build(&life);
            let secret = secrets.get::<String>("x");
            let ready = secret.ready().await;
            ready.and_then(|()| secret.load().map(|value| value.expose_secret().clone()))
        };
        let down = Server::start(|_| Answer::no(503, "Vault is sealed")).await;
        assert_eq!(start(&without("nothing").await).await.expect("there"), "x");
        until("it is kept", || file().is_some()).await;
        assert_eq!(start(&down).await.expect("restored"), "x");

        let kept = file();
        let error = start(&without(gone).await).await.expect_err("gone");
        assert!(error.is_denied(), "{error}");
        until("it is forgotten", || file() != kept).await;
        assert!(start(&down).await.expect_err("forgotten").is_unavailable());
    }
}
