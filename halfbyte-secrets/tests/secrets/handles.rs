use std::time::Duration;

use halfbyte_secrets::{
    Ask, Error, ErrorKind, ExposeSecret as _, Json, Reading, SecretSlice, SecretString, SecretUrl, Secrets,
};
use tokio::time::sleep;

use super::backend::Backend;
use super::{chain, lifecycle};

#[tokio::test(start_paused = true)]
async fn a_handle_is_pending_until_its_first_load() {
    let secrets = Secrets::new(Backend::holding("hunter2"), &lifecycle());
    let secret = secrets.get::<String>("db-password");
    let error = secret.load().expect_err("nothing was fetched yet");
    assert!(error.is_pending(), "{error:?}");
    assert_eq!(error.to_string(), "the secret db-password has not been loaded yet");
    assert_eq!(secret.generation(), 0);
    secret.ready().await.expect("loaded");
    assert_eq!(secret.load().expect("loaded").expose_secret(), "hunter2");
    assert_eq!(secret.generation(), 1);
    assert_eq!(secret.name(), "db-password");
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_failure_is_told_apart_with_its_cause() {
    for kind in [ErrorKind::NotFound, ErrorKind::Denied, ErrorKind::Malformed, ErrorKind::Unavailable] {
        let backend = Backend::default();
        backend.fail(kind);
        let secret = Secrets::new(backend, &lifecycle()).get::<String>("token");
        let error = secret.ready().await.expect_err("the backend fails");
        assert_eq!(error.kind(), kind);
        assert_eq!(secret.load().expect_err("as before").kind(), kind);
        let chain = chain(&error);
        assert!(chain.contains("token") && chain.ends_with(": the backend said so: and that is why"), "{chain}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_takes_too_long_is_unavailable() {
    struct Slow;
    impl halfbyte_secrets::Provider for Slow {
        const NAME: &'static str = "slow";
        async fn read(&self, _ask: Ask<'_>) -> Result<Reading, Error> {
            std::future::pending().await
        }
    }
    let secret = Secrets::new(Slow, &lifecycle()).get::<String>("token");
    let error = secret.ready().await.expect_err("it never answers");
    assert!(error.is_unavailable(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn the_last_good_value_is_served_while_the_backend_is_away_and_no_longer_than_allowed() {
    let backend = Backend::holding("hunter2");
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<String>("token");
    secret.ready().await.expect("loaded");
    backend.fail(ErrorKind::Unavailable);
    sleep(Duration::from_secs(69)).await;
    assert_eq!(secret.load().expect("still good").expose_secret(), "hunter2");
    sleep(Duration::from_secs(2)).await;
    let error = secret.load().expect_err("too old");
    assert!(error.is_unavailable(), "{error:?}");
    assert!(error.retry_in() >= Duration::from_secs(1));
    backend.set("hunter3");
    sleep(Duration::from_secs(31)).await;
    assert_eq!(secret.load().expect("back").expose_secret(), "hunter3");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_cannot_be_parsed_does_not_replace_a_good_one_and_is_not_repeated() {
    let backend = Backend::holding("[1]");
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<Json<Vec<u8>>>("token");
    secret.ready().await.expect("loaded");
    backend.set("\"hunter2\"");
    let error = secret.refresh(1).await.map(drop);
    assert!(error.is_ok(), "within the demand gap nothing is fetched");
    sleep(Duration::from_secs(2)).await;
    let error = secret.refresh(1).await.expect_err("not the right shape");
    assert!(error.is_malformed(), "{error:?}");
    let said = format!("{} {error:?} {:?}", chain(&error), secret.status());
    assert!(said.contains("JSON of another shape") && !said.contains("hunter2"), "{said}");
    assert_eq!(secret.load().expect("the good one").expose_secret().0, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_may_be_missing_is_none_until_it_is_there() {
    let backend = Backend::default();
    let life = lifecycle();
    let secret = Secrets::new(backend.clone(), &life).get::<Option<String>>("smtp-password");
    secret.ready().await.expect("missing is an answer");
    assert_eq!(*secret.load().expect("an answer").expose_secret(), None);
    assert!(life.health().report()[0].ready);
    sleep(Duration::from_secs(25)).await;
    assert_eq!(secret.generation(), 1, "still missing is no change");

    backend.set("hunter2");
    assert_eq!(secret.changed(1).await, 2);
    assert_eq!(secret.load().expect("there").expose_secret().as_deref(), Some("hunter2"));
    backend.fail(ErrorKind::Denied);
    sleep(Duration::from_secs(11)).await;
    assert!(secret.load().expect("denied is not missing").expose_secret().is_some());
    backend.fail(ErrorKind::NotFound);
    secret.changed(2).await;
    assert!(secret.load().expect("gone").expose_secret().is_none());
}

#[tokio::test(start_paused = true)]
async fn asking_for_a_name_many_times_shares_one_fetch() {
    let backend = Backend::holding("hunter2");
    let secrets = Secrets::new(backend.clone(), &lifecycle());
    let handles: Vec<_> = (0..200).map(|_| secrets.clone().get::<String>("token")).collect();
    for handle in &handles {
        handle.ready().await.expect("loaded");
    }
    assert_eq!(backend.reads(), 1);
    let _another_type = secrets.get::<Vec<u8>>("token");
    let _another_name = secrets.get::<String>("other");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(backend.reads(), 3);
}

#[tokio::test(start_paused = true)]
async fn when_the_last_handle_is_dropped_the_secret_is_forgotten() {
    let (backend, life) = (Backend::holding("hunter2"), lifecycle());
    let secrets = Secrets::new(backend.clone(), &life);
    let secret = secrets.get::<String>("token");
    secret.ready().await.expect("loaded");
    let second = secret.clone();
    drop(secret);
    sleep(Duration::from_secs(15)).await;
    let reads = backend.reads();
    assert_eq!(reads, 2, "a clone keeps it alive");
    drop(second);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(backend.reads(), reads);
    assert!(life.health().report().is_empty());
    assert!(secrets.get::<String>("token").ready().await.is_ok(), "and it can be asked for again");
}

#[tokio::test(start_paused = true)]
async fn an_equal_value_is_no_new_generation_whatever_the_version_says() {
    let backend = Backend::holding("hunter2");
    backend.version("1");
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<SecretString>("token");
    secret.ready().await.expect("loaded");
    sleep(Duration::from_secs(11)).await;
    assert_eq!((backend.reads(), backend.unchanged()), (2, 1), "the version that was read is given back");
    backend.version("2");
    sleep(Duration::from_secs(10)).await;
    assert_eq!((backend.reads(), backend.unchanged()), (3, 1));
    assert_eq!(secret.generation(), 1);
    backend.version("3");
    backend.set("hunter3");
    secret.changed(1).await;
    assert_eq!(secret.load().expect("loaded").expose_secret().expose_secret(), "hunter3");
}

#[tokio::test(start_paused = true)]
async fn a_refused_generation_is_refreshed_by_one_fetch_for_all() {
    let backend = Backend::holding("old");
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<String>("token");
    secret.ready().await.expect("loaded");
    sleep(Duration::from_secs(2)).await;
    backend.set("new");
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let secret = secret.clone();
        callers.spawn(async move {
            let snapshot = secret.refresh(1).await.expect("refreshed");
            (snapshot.generation(), snapshot.expose_secret().clone())
        });
    }
    for answer in callers.join_all().await {
        assert_eq!(answer, (2, "new".to_owned()));
    }
    assert_eq!(backend.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_none_can_have_is_not_sent_to_the_backend_nor_shown() {
    let (backend, life) = (Backend::holding("x"), lifecycle());
    let secret = Secrets::new(backend.clone(), &life).get::<Option<String>>("../correct horse");
    let error = secret.ready().await.expect_err("not a name");
    assert_eq!(error.kind(), ErrorKind::InvalidName);
    assert_eq!(backend.reads(), 0);
    let said = format!("{} {secret:?} {:?} {:?}", chain(&error), life.health().report(), secret.status());
    assert!(!said.contains("horse"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn each_type_reads_its_own_form() {
    let life = lifecycle();
    let secrets = Secrets::new(Backend::holding("\"postgres://u:p@db/x\""), &life);
    let json = secrets.get::<Json<String>>("a");
    let text = secrets.get::<SecretString>("a");
    let bytes = secrets.get::<Vec<u8>>("a");
    let slice = secrets.get::<SecretSlice<u8>>("a");
    let url = Secrets::new(Backend::holding("postgres://u:p@db/x"), &life).get::<SecretUrl>("a");
    for ready in [json.ready().await, text.ready().await, bytes.ready().await, slice.ready().await, url.ready().await] {
        ready.expect("parsed");
    }
    assert_eq!(json.load().expect("json").expose_secret().0, "postgres://u:p@db/x");
    assert!(text.load().expect("text").expose_secret().expose_secret().starts_with('"'));
    assert_eq!(
        bytes.load().expect("bytes").expose_secret(),
        slice.load().expect("slice").expose_secret().expose_secret()
    );
    assert_eq!(url.load().expect("url").expose_secret().as_url().password(), Some("p"));
}

#[tokio::test(start_paused = true)]
async fn readiness_shows_each_secret_by_name() {
    let (backend, life) = (Backend::default(), lifecycle());
    let secret = Secrets::new(backend.clone(), &life).get::<String>("token");
    secret.ready().await.expect_err("not there");
    let report = life.health().report();
    assert_eq!((&*report[0].name, report[0].ready), ("secret.token", false));
    assert_eq!(report[0].detail.as_deref(), Some("the backend is empty"));
    backend.set("hunter2");
    secret.changed(0).await;
    assert!(life.health().report()[0].ready);
}

#[tokio::test(start_paused = true)]
async fn all_who_reject_a_value_just_after_it_was_read_are_answered_by_one_read() {
    let backend = Backend::holding("old");
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<String>("token");
    secret.ready().await.expect("loaded");
    backend.set("new");
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let secret = secret.clone();
        callers.spawn(async move { secret.reject(1).await.map(|next| next.expose_secret().clone()) });
    }
    for answer in callers.join_all().await {
        assert_eq!(answer.expect("another"), "new");
    }
    assert_eq!(backend.reads(), 2);
}
