use super::fresh::Fresh;
use super::parcel::{at, events, lot, using};
use super::support::{event, given};
use crate::store::{Answer, Dialect, Insert, Row, Session, Value, Work, count, is_of_data, is_passing};

/// A session that counts its statements.
struct Counting(Box<dyn Session>, u32);

impl Session for Counting {
    fn dialect(&self) -> Dialect {
        self.0.dialect()
    }

    fn begin(&mut self) -> Answer<'_, ()> {
        self.0.begin()
    }

    fn begin_reading(&mut self) -> Answer<'_, ()> {
        self.0.begin_reading()
    }

    fn commit(&mut self) -> Answer<'_, ()> {
        self.0.commit()
    }

    fn rollback(&mut self) -> Answer<'_, ()> {
        self.0.rollback()
    }

    fn query<'a>(&'a mut self, sql: &'static str, values: &'a [Value<'a>]) -> Answer<'a, Vec<Row>> {
        self.1 += 1;
        self.0.query(sql, values)
    }

    fn execute<'a>(&'a mut self, sql: &'static str, values: &'a [Value<'a>]) -> Answer<'a, u64> {
        self.1 += 1;
        self.0.execute(sql, values)
    }

    fn insert<'a>(&'a mut self, insert: &'static Insert, values: &'a [Value<'a>]) -> Answer<'a, u64> {
        self.1 += 1;
        self.0.insert(insert, values)
    }

    fn script(&mut self, sql: &'static str) -> Answer<'_, ()> {
        self.1 += 1;
        self.0.script(sql)
    }

    fn now(&mut self) -> Answer<'_, i64> {
        self.1 += 1;
        self.0.now()
    }

    fn run(self: Box<Self>, work: Work) -> Answer<'static, Box<dyn Session>> {
        self.0.run(work)
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        self.0.close()
    }
}

pub(super) async fn events_that_charge_nothing_cost_nothing_more(fresh: Fresh) {
    let mut session = Counting(fresh.session().await, 0);
    session.begin().await.unwrap();
    count(&mut session, at(10), &given(&[event("counted")])).await.unwrap();
    let alone = std::mem::take(&mut session.1);
    events(vec![event("committed")]).within(&mut session).await;
    assert_eq!(session.1, alone);
}

pub(super) async fn however_many_charges_there_are_the_statements_are_as_many(fresh: Fresh) {
    let mut session = Counting(fresh.session().await, 0);
    session.begin().await.unwrap();
    let lots = [lot("plan", 1000)];
    let (few, many) = (2, 50);
    let mut statements = Vec::new();
    for charges in [few, many] {
        let entries: Vec<_> = (0..charges).map(|id| using(&format!("{charges}/{id}"), 1, None, &lots)).collect();
        session.1 = 0;
        count(&mut session, at(10), &given(&entries)).await.unwrap();
        let counting = std::mem::take(&mut session.1);
        let others = entries.iter().map(|entry| using(&format!("{}'", entry.event.id), 1, None, &lots)).collect();
        events(others).within(&mut session).await;
        statements.push(session.1 - counting);
    }
    assert_eq!(statements[1], 4, "existing, lots, burns");
}

pub(super) async fn what_is_refused_for_what_it_is_is_told_from_other_failures(fresh: Fresh) {
    let mut session = fresh.session().await;
    for (sql, of_data) in [
        ("INSERT INTO state VALUES (2, 1, 1)", true),
        ("INSERT INTO state VALUES (1, 1, 1)", true),
        ("UPDATE state SET revision = NULL", true),
        ("UPDATE nothing SET revision = 1", false),
        ("UPDATE state SET revision", false),
    ] {
        session.begin().await.unwrap();
        let error = session.execute(sql, &[]).await.unwrap_err();
        assert_eq!((is_of_data(&error), is_passing(&error)), (of_data, false), "{sql}: {error}");
        session.rollback().await.unwrap();
    }
    let wrong: [&str; 2] = match session.dialect() {
        // Text in a column of numbers; longer than any value may be.
        Dialect::Sqlite => {
            ["UPDATE state SET revision = 'x'", "UPDATE state SET revision = length(zeroblob(2000000000))"]
        }
        Dialect::Postgres => ["UPDATE state SET revision = CAST('x' AS INTEGER)", "SELECT repeat('x', 2000000000)"],
    };
    for sql in wrong {
        let error = session.execute(sql, &[]).await.unwrap_err();
        assert!(is_of_data(&error), "{sql}: {error}");
    }
}
