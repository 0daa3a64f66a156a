use super::fresh::Fresh;
use super::support::{COUNTED, event};
use crate::ErrorKind;
use crate::store::{Dialect, Session, Store};

/// A place that was never opened is one whose tables are gone again.
async fn empty(fresh: &Fresh) {
    let mut session = fresh.session().await;
    match session.dialect() {
        Dialect::Postgres => session.script("DROP SCHEMA halfbyte_billing CASCADE").await.unwrap(),
        Dialect::Sqlite => {
            session.close().await.unwrap();
            fresh.store.close().await;
            std::fs::remove_dir_all(fresh.place.journals().path().parent().unwrap()).unwrap();
            halfbyte_core::home::Home::open(fresh.place.journals().path()).unwrap();
        }
    }
}

async fn refusal(fresh: &Fresh) -> String {
    let error = Store::open(&fresh.place).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Foreign, "{error}");
    error.to_string()
}

pub(super) async fn processes_may_open_a_new_store_at_once(fresh: Fresh) {
    empty(&fresh).await;
    let open = || Store::open(&fresh.place);
    let (a, b, c, d) = tokio::join!(open(), open(), open(), open());
    for store in [a, b, c, d] {
        let store = store.unwrap();
        let fresh = Fresh { store, place: fresh.place.clone() };
        assert_eq!(fresh.count(&[event("a")]).await.len(), 1);
    }
}

pub(super) async fn a_store_is_opened_again_as_it_was(fresh: Fresh) {
    assert_eq!(fresh.count(&[event("a").labels(2)]).await, [COUNTED]);
    fresh.store.close().await;
    let again = Fresh { store: Store::open(&fresh.place).await.unwrap(), place: fresh.place };
    assert_eq!(again.total("labels").await, (1, 2));
    again.store.is_in_place().unwrap();
}

async fn set_version(session: &mut dyn Session, sqlite: &'static str, version: i64) {
    match session.dialect() {
        Dialect::Sqlite => session.script(sqlite).await.unwrap(),
        Dialect::Postgres => {
            let changed = session.execute("UPDATE version SET number = $1", &[version.into()]).await.unwrap();
            assert_eq!(changed, 1);
        }
    }
}

pub(super) async fn a_later_version_is_refused(fresh: Fresh) {
    let mut session = fresh.session().await;
    set_version(&mut *session, "PRAGMA user_version = 99", 99).await;
    let refusal = refusal(&fresh).await;
    assert!(refusal.contains("schema 99") && refusal.contains("run the later version"), "{refusal}");
    set_version(&mut *session, "PRAGMA user_version = 1", 1).await;
    let refusal = self::refusal(&fresh).await;
    assert!(refusal.contains("never released; move it away"), "{refusal}");
}

pub(super) async fn what_is_anothers_is_refused(fresh: Fresh) {
    let mut session = fresh.session().await;
    match session.dialect() {
        Dialect::Sqlite => session.script("PRAGMA application_id = 7").await.unwrap(),
        Dialect::Postgres => session.script("DROP TABLE version").await.unwrap(),
    }
    let refusal = refusal(&fresh).await;
    assert!(refusal.contains("another program"), "{refusal}");
}
