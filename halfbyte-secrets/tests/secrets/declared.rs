//! Which names a product may ask for.

use halfbyte_core::lifecycle::Phase;
use halfbyte_secrets::{ErrorKind, Secrets};

use super::lifecycle;
use super::scripted::Scripted;

#[tokio::test(start_paused = true)]
async fn a_name_that_was_not_asked_for_at_start_is_not_read_later() {
    let (backend, lifecycle) = (Scripted::holding("hunter2"), lifecycle());
    let secrets = Secrets::new(backend.clone(), &lifecycle);
    secrets.get::<String>("asked").ready().await.unwrap();
    secrets.declare("declared").unwrap();
    lifecycle.enter(Phase::Ready);
    backend.asked();

    let error = secrets.get::<String>("admin-password").ready().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Undeclared);
    assert!(backend.asked().is_empty(), "the backend was asked for what may not be read");
    assert_eq!(secrets.declare("admin-password").unwrap_err().kind(), ErrorKind::Undeclared);

    // What was declared, or asked for as another type or after the last handle was dropped, is all right.
    secrets.get::<String>("declared").ready().await.unwrap();
    secrets.get::<Vec<u8>>("asked").ready().await.unwrap();
    secrets.get::<String>("asked").ready().await.unwrap();
    assert_eq!(secrets.declared(), ["asked", "declared"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_a_name_is_declared_nowhere() {
    let secrets = Secrets::new(Scripted::holding("hunter2"), &lifecycle());
    assert_eq!(secrets.declare("../x").unwrap_err().kind(), ErrorKind::InvalidName);
    let _invalid = secrets.get::<String>("a b");
    assert!(secrets.declared().is_empty());
}
