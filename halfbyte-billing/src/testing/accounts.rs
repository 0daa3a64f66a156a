use halfbyte_core::TenantId;
use jiff::Timestamp;

use super::fresh::Fresh;
use super::support::tenant;
use crate::store::Store;
use crate::{Answer, Catalog, Error, ErrorKind, GrantSpec, Operation};

const CATALOGUE: &str = "[products.p]\n[meters.calls]\nproduct = \"p\"\n[features.calls]\nproduct = \"p\"\nmeter = \"calls\"\n\
                         [plans.pro]\nfeatures.calls = { limit = 5, per = \"day\" }\n";

/// The start of a day of 2026, in UTC.
fn at(day: &str) -> Timestamp {
    format!("{day}T00:00:00Z").parse().unwrap()
}

fn offers() -> Catalog {
    Catalog::parse("c.toml", CATALOGUE).unwrap()
}

fn subscribe(plan: &str) -> Operation {
    Operation::Subscribe { plan: plan.into(), version: None, anchor: None, trial: None }
}

async fn operate(store: &Store, id: &str, name: &str, operation: &Operation) -> Result<(Answer, i64), Error> {
    store.operate(id, &tenant(name), operation, at("2026-01-10"), &offers()).await
}

pub(super) async fn an_operation_is_done_once_and_answered_alike(fresh: Fresh) {
    let store = &fresh.store;
    let (made, first) = operate(store, "1", "acme", &Operation::Create).await.expect("made");
    assert!(made.changed);
    let (answer, second) = operate(store, "2", "acme", &subscribe("pro")).await.expect("subscribed");
    assert_eq!(second, first + 1);
    operate(store, "3", "acme", &Operation::Cancel { when: crate::When::Now }).await.expect("cancelled");
    let again = store.operate("2", &tenant("acme"), &subscribe("pro"), at("2026-05-01"), &offers()).await;
    assert_eq!(again.expect("answered"), (answer, second + 1));
    let account = store.account(&tenant("acme")).await.expect("read").expect("there");
    assert_eq!(account.plan_at(at("2026-06-01")), None, "it was not done again");
    assert_eq!(store.operations_of(&tenant("acme"), 10).await.expect("read").len(), 3);
}

pub(super) async fn an_id_with_another_operation_or_customer_is_a_conflict_and_changes_nothing(fresh: Fresh) {
    let store = &fresh.store;
    operate(store, "1", "acme", &Operation::Create).await.expect("made");
    let (_, revision) = operate(store, "2", "globex", &Operation::Create).await.expect("made");
    for (name, operation) in [("acme", subscribe("pro")), ("globex", Operation::Create)] {
        let error = operate(store, "1", name, &operation).await.expect_err("it was used");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    assert_eq!(store.accounts_since(revision).await.expect("read"), (revision, Vec::new()));
}

pub(super) async fn what_is_refused_leaves_its_id_free_and_an_id_that_is_none_is_refused(fresh: Fresh) {
    let store = &fresh.store;
    let error = operate(store, "1", "acme", &subscribe("pro")).await.expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::NoCustomer);
    operate(store, "1", "acme", &Operation::Create).await.expect("the id is free");
    for id in ["", "a b", &"x".repeat(129)] {
        let error = operate(store, id, "acme", &Operation::Create).await.expect_err("no id");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

pub(super) async fn who_asks_for_a_revision_gets_what_changed_after_it(fresh: Fresh) {
    let store = &fresh.store;
    let (start, none) = store.accounts_since(0).await.expect("read");
    assert!(none.is_empty());
    operate(store, "1", "acme", &Operation::Create).await.expect("made");
    let (_, middle) = operate(store, "2", "globex", &Operation::Create).await.expect("made");
    let (_, unchanged) = operate(store, "3", "globex", &Operation::Create).await.expect("made already");
    assert_eq!(unchanged, middle);
    let (_, last) = operate(store, "4", "acme", &subscribe("pro")).await.expect("subscribed");
    let names = async |since| {
        let (revision, accounts) = store.accounts_since(since).await.expect("read");
        assert_eq!(revision, last);
        accounts.iter().map(|account| account.tenant().as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(start).await, ["globex", "acme"]);
    assert_eq!(names(middle).await, ["acme"]);
    assert!(names(last).await.is_empty());
}

pub(super) async fn a_name_is_of_one_customer(fresh: Fresh) {
    let store = &fresh.store;
    let subject = |name: &str| Operation::AddSubject { subject: name.into() };
    operate(store, "1", "acme", &Operation::Create).await.expect("made");
    operate(store, "2", "globex", &Operation::Create).await.expect("made");
    operate(store, "3", "acme", &subject("shared")).await.expect("added");
    for (id, name) in [("4", "shared"), ("5", "acme")] {
        let error = operate(store, id, "globex", &subject(name)).await.expect_err("taken");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    let error = operate(store, "6", "shared", &Operation::Create).await.expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let removed = Operation::RemoveSubject { subject: "shared".into() };
    operate(store, "7", "acme", &removed).await.expect("removed");
    operate(store, "8", "globex", &subject("shared")).await.expect("free again");
}

pub(super) async fn customers_come_in_pages(fresh: Fresh) {
    let store = &fresh.store;
    for name in ["c", "a", "e", "b", "d"] {
        operate(store, name, name, &Operation::Create).await.expect("made");
    }
    let mut names = Vec::new();
    while let page = store.customers(names.last(), 2).await.expect("read")
        && !page.is_empty()
    {
        assert!(page.len() <= 2);
        names.extend(page.iter().map(|account| account.tenant().clone()));
    }
    assert_eq!(names.iter().map(TenantId::as_str).collect::<String>(), "abcde");
}

pub(super) async fn a_damaged_account_is_told_from_one_of_a_later_version(fresh: Fresh) {
    let store = &fresh.store;
    operate(store, "1", "acme", &Operation::Create).await.expect("made");
    for (document, kind) in [("{\"v\":9}", ErrorKind::Foreign), ("{\"v\":1}", ErrorKind::Corrupt)] {
        let mut session = store.writer().await.expect("a session");
        session.execute("UPDATE accounts SET document = $1", &[document.into()]).await.expect("written");
        assert_eq!(store.accounts_since(0).await.expect_err("unreadable").kind(), kind);
        let error = operate(store, "2", "acme", &subscribe("pro")).await.expect_err("unreadable");
        assert_eq!(error.kind(), kind);
    }
}

/// Four at once make the same ten grants under the same ids, and subjects of which each can have one.
pub(super) async fn many_at_once_are_each_done_once(fresh: Fresh) {
    let store = &fresh.store;
    let worker = async |worker: u32| {
        let acme = format!("acme{}", worker % 2);
        let mut subjects = 0;
        operate(store, &format!("make-{acme}"), &acme, &Operation::Create).await.expect("made");
        for number in 0..10_u64 {
            let grant = Operation::Grant(GrantSpec::new(format!("g{number}"), "calls", number + 1));
            operate(store, &format!("grant-{acme}-{number}"), &acme, &grant).await.expect("granted");
            let subject = Operation::AddSubject { subject: format!("s{number}").into() };
            let named = operate(store, &format!("name-{worker}-{number}"), &acme, &subject).await;
            subjects += match named {
                Ok((answer, _)) => i32::from(answer.changed),
                Err(error) if error.kind() == ErrorKind::Conflict => 0,
                Err(error) => panic!("{error}"),
            };
        }
        subjects
    };
    let (a, b, c, d) = tokio::join!(worker(0), worker(1), worker(2), worker(3));
    let subjects = a + b + c + d;
    assert_eq!(subjects, 10, "each name is of one customer, and was given once");
    let (revision, accounts) = store.accounts_since(0).await.expect("read");
    assert_eq!(accounts.iter().map(|account| account.grants().count()).collect::<Vec<_>>(), [10, 10]);
    // It began at 1; each account was made once, and had ten grants; ten names were given.
    assert_eq!(revision, 1 + 2 + 20 + 10);
    let names: usize = accounts.iter().map(|account| account.subjects().count()).sum();
    assert_eq!(names, 10);
    let done = store.operations_of(&tenant("acme0"), 1000).await.expect("read");
    assert!(done.len() >= 11 && done.iter().all(|record| record.at == at("2026-01-10")));
}
