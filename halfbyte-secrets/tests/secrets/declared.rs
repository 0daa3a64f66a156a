//! Which names a product may ask for.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

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
async fn names_that_are_sealed_are_all_that_can_be_read_whatever_the_phase() {
    let (backend, lifecycle) = (Scripted::holding("hunter2"), lifecycle());
    let secrets = Secrets::new(backend.clone(), &lifecycle);
    secrets.get::<String>("asked").ready().await.unwrap();
    secrets.declare("declared").unwrap();
    secrets.clone().seal();
    secrets.seal();
    backend.asked();

    let error = secrets.get::<String>("admin-password").ready().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Undeclared);
    assert_eq!(secrets.declare("admin-password").unwrap_err().kind(), ErrorKind::Undeclared);
    assert!(backend.asked().is_empty(), "the backend was asked for what may not be read");

    secrets.declare("asked").unwrap();
    secrets.get::<String>("declared").ready().await.unwrap();
    secrets.get::<Vec<u8>>("asked").ready().await.unwrap();
    assert_eq!(secrets.declared(), ["asked", "declared"]);
    assert!(lifecycle.phase() < Phase::Ready);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_a_name_is_declared_nowhere() {
    let secrets = Secrets::new(Scripted::holding("hunter2"), &lifecycle());
    assert_eq!(secrets.declare("../x").unwrap_err().kind(), ErrorKind::InvalidName);
    let _invalid = secrets.get::<String>("a b");
    assert!(secrets.declared().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_may_not_be_read_changes_no_readiness_and_is_tried_once() {
    let (events, lifecycle) = (Arc::new(Mutex::new(Vec::new())), lifecycle());
    let told = events.clone();
    let listen = move |event: &halfbyte_secrets::Event<'_>| told.lock().unwrap().push(event.name.to_owned());
    let secrets = Secrets::builder(Scripted::holding("hunter2")).listen(listen).build(&lifecycle);
    secrets.declare("good").unwrap();
    lifecycle.enter(Phase::Ready);
    let before = lifecycle.health().report().len();
    let held = ["outsider-1", "outsider-2", "a b"].map(|name| secrets.get::<String>(name));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(lifecycle.health().report().len(), before);
    assert_eq!(*events.lock().unwrap(), ["(undeclared)", "(undeclared)", "(invalid)"]);
    let kinds = [ErrorKind::Undeclared, ErrorKind::Undeclared, ErrorKind::InvalidName];
    for (secret, kind) in held.iter().zip(kinds) {
        assert_eq!(secret.load().unwrap_err().kind(), kind);
        assert_eq!(secret.ready().await.unwrap_err().kind(), kind);
        assert_eq!(secret.refresh(0).await.unwrap_err().kind(), kind);
        assert_eq!(secret.reject(0).await.unwrap_err().kind(), kind);
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_may_ask_for_secrets_itself() {
    let (slot, lifecycle) = (Arc::new(OnceLock::<Secrets>::new()), lifecycle());
    let (seen, (told, said)) = (slot.clone(), std::sync::mpsc::channel());
    let listen = move |_: &halfbyte_secrets::Event<'_>| {
        let Some(secrets) = seen.get().cloned() else { return };
        // On another thread, so that a lock that is held fails the test and does not stop it.
        let (done, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(secrets.declared()));
        told.send(answer.recv_timeout(Duration::from_secs(10))).unwrap();
    };
    let secrets = Secrets::builder(Scripted::holding("hunter2")).listen(listen).build(&lifecycle);
    secrets.declare("good").unwrap();
    slot.set(secrets.clone()).ok().unwrap();
    lifecycle.enter(Phase::Ready);
    let _refused = secrets.get::<String>("undeclared");
    assert_eq!(said.recv().unwrap().expect("the lock is free"), ["good"]);
    secrets.declare("undeclared").unwrap_err();
    assert_eq!(said.recv().unwrap().expect("the lock is free"), ["good"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_ask_at_once_for_a_new_name_share_one_handle() {
    let backend = Scripted::holding("hunter2");
    let secrets = Secrets::new(backend.clone(), &lifecycle());
    for round in 0..50 {
        let name = format!("name-{round}");
        let start = std::sync::Barrier::new(4);
        let runtime = tokio::runtime::Handle::current();
        let ask = || {
            let _inside = runtime.enter();
            start.wait();
            secrets.get::<String>(&name)
        };
        let held: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for secret in &held {
            secret.ready().await.unwrap();
        }
        assert_eq!(backend.asked().len(), 1, "asked more than once");
    }
}
