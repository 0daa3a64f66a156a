use super::fresh::Fresh;
use super::support::{noon, number};
use crate::store::{Published, Store};
use crate::{Catalog, ErrorKind};

const PRODUCT: &str = "[products.p]\n[features.f]\nproduct = \"p\"\n[features.g]\nproduct = \"p\"\n";

fn catalog(plans: &str) -> Catalog {
    Catalog::parse("c.toml", &format!("{PRODUCT}{plans}")).unwrap_or_else(|error| panic!("{error}"))
}

async fn refusal(store: &Store, catalog: &Catalog) -> String {
    let error = store.register(catalog, noon(0)).await.expect_err("it says something else");
    assert_eq!(error.kind(), ErrorKind::Catalog);
    error.to_string()
}

pub(super) async fn what_is_published_is_what_is_read(fresh: Fresh) {
    let store = &fresh.store;
    assert_eq!(store.newest_catalogue().await.expect("readable"), None);
    let before = store.state_revision().await.expect("readable");
    let first = catalog("[plans.a]\nfeatures.f = true\n");
    let published = store.publish(&first, noon(0)).await.expect("published");
    assert_eq!(published, Published { revision: before + 1, is_new: true });
    assert_eq!(store.state_revision().await.expect("readable"), before + 1);

    let again = store.publish(&first, noon(0)).await.expect("the same");
    assert_eq!(again, Published { revision: before + 1, is_new: false });
    assert_eq!(store.state_revision().await.expect("readable"), before + 1);

    let second = catalog("[plans.b]\nfeatures.g = true\n");
    assert!(store.publish(&second, noon(0)).await.expect("published").is_new);
    let newest = store.newest_catalogue().await.expect("readable").expect("one");
    assert_eq!((newest.revision, &*newest.file, &*newest.text), (before + 2, "c.toml", second.text()));

    // What was published before may come back.
    assert_eq!(store.publish(&first, noon(0)).await.expect("published").revision, before + 3);
    assert_eq!(number(&mut *fresh.session().await, "SELECT count(*) FROM catalogues").await, 3);
}

pub(super) async fn a_plan_version_is_kept_when_no_catalogue_has_it_any_more(fresh: Fresh) {
    let store = &fresh.store;
    let text = "[plans.a.versions.1]\nfeatures.f = true\n[plans.a.versions.2]\nfeatures.g = true\n";
    store.publish(&catalog(text), noon(0)).await.expect("published");
    store.publish(&catalog(""), noon(0)).await.expect("published");
    let found = store.plan_version("a", 2).await.expect("readable").expect("it is kept");
    assert_eq!(found, **catalog(text).plan("a").expect("a").newest());
    assert_eq!(store.plan_version("a", 3).await.expect("readable"), None);
    assert_eq!(store.plan_version("b", 1).await.expect("readable"), None);
}

pub(super) async fn what_changes_published_versions_is_refused_as_a_whole(fresh: Fresh) {
    let store = &fresh.store;
    store.publish(&catalog("[plans.a]\nfeatures.f = true\n[plans.b]\n[plans.c]\n"), noon(0)).await.expect("published");
    let revision = store.state_revision().await.expect("readable");
    let changed = catalog(
        "[plans.a.versions.1]\nfeatures.g = true\n[plans.a.versions.2]\n[plans.b]\nfeatures.f = true\n[plans.c]\n\
         [plans.d]\n",
    );
    let expected = "version 1 of a was published with other content (f, g); put back what it held and add version 3\n\
                    version 1 of b was published with other content (f); put back what it held and add version 2";
    assert_eq!(refusal(store, &changed).await, expected);
    assert_eq!(store.publish(&changed, noon(0)).await.expect_err("refused").to_string(), expected);
    assert_eq!(store.state_revision().await.expect("readable"), revision);
    assert_eq!(store.plan_version("d", 1).await.expect("readable"), None);
    assert_eq!(store.plan_version("a", 2).await.expect("readable"), None);

    let added = catalog("[plans.a.versions.1]\nfeatures.f = true\n[plans.a.versions.2]\nfeatures.g = true\n");
    store.register(&added, noon(0)).await.expect("nothing changed, something was added");
    assert!(store.plan_version("a", 2).await.expect("readable").is_some());
}

pub(super) async fn a_title_is_no_part_of_what_a_version_holds(fresh: Fresh) {
    let store = &fresh.store;
    store.register(&catalog("[plans.a]\ntitle = \"A\"\n"), noon(0)).await.expect("registered");
    store.register(&catalog("[plans.a]\ntitle = \"Alpha\"\n"), noon(0)).await.expect("registered");
    store.register(&catalog("[plans.a.versions.1]\n"), noon(0)).await.expect("registered");
}

/// Nothing was published or registered any more.
async fn empty(fresh: &Fresh) {
    fresh.session().await.script("DELETE FROM catalogues; DELETE FROM plan_versions").await.expect("emptied");
}

pub(super) async fn of_two_that_publish_at_once_none_is_lost(fresh: Fresh) {
    let (store, other) = (&fresh.store, Store::open(&fresh.place).await.expect("opened"));
    let (one, two) = (catalog("[plans.a]\n[plans.b]\n"), catalog("[plans.b]\n[plans.c]\n"));
    for _ in 0..10 {
        empty(&fresh).await;
        let before = store.state_revision().await.expect("readable");
        let (first, second) = tokio::join!(store.publish(&one, noon(0)), other.publish(&two, noon(0)));
        let mut revisions = [first.expect("published").revision, second.expect("published").revision];
        revisions.sort();
        assert_eq!(revisions, [before + 1, before + 2]);
        assert_eq!(number(&mut *fresh.session().await, "SELECT count(*) FROM plan_versions").await, 3);
    }
}

pub(super) async fn of_two_that_register_a_version_differently_one_is_refused(fresh: Fresh) {
    let (store, other) = (&fresh.store, Store::open(&fresh.place).await.expect("opened"));
    let one = catalog("[plans.x]\nfeatures.f = true\n[plans.y]\n");
    let two = catalog("[plans.x]\nfeatures.g = true\n[plans.z]\n");
    for _ in 0..10 {
        empty(&fresh).await;
        let (first, second) = tokio::join!(store.register(&one, noon(0)), other.register(&two, noon(0)));
        assert_ne!(first.is_ok(), second.is_ok());
        assert_eq!(number(&mut *fresh.session().await, "SELECT count(*) FROM plan_versions").await, 2);
    }
}

pub(super) async fn what_is_known_already_is_not_written_again(fresh: Fresh) {
    let store = &fresh.store;
    let catalog = catalog("[plans.a]\nfeatures.f = true\n");
    store.register(&catalog, noon(0)).await.expect("registered");
    // Somebody else writes: whoever wanted to write as well would wait for it and fail.
    let mut busy = store.writer().await.expect("a session");
    busy.begin().await.expect("begun");
    store.register(&catalog, noon(0)).await.expect("nothing to write");
}

pub(super) async fn a_version_that_is_not_understood_is_told_so(fresh: Fresh) {
    let store = &fresh.store;
    let mut session = store.writer().await.expect("a session");
    session.execute("INSERT INTO plan_versions VALUES ('a', 1, '{}', 0)", &[]).await.expect("written");
    let error = store.plan_version("a", 1).await.expect_err("no content");
    assert_eq!(error.kind(), ErrorKind::Foreign);
    let message = "version 1 of a was published with other content; put back what it held and add version 2";
    assert_eq!(refusal(store, &catalog("[plans.a]\n")).await, message);
}
