//! Random steps, one or several to a transaction, against the reference of the ledger.

use proptest::test_runner::{Config, TestRunner};

use super::fresh::store_in;
use super::parcel::{MINUTE, Parcel, ask, at, charge, check, give_back, void};
use super::support::{event, number};
use crate::ledger::model::{Model, Step, World, holder, steps};
use crate::ledger::tranche;
use crate::store::{Charge, Entry, Held, Outcome, Row, Session, Store, Units, owners};

/// Steps that are waited for together, and what the reference says of them.
#[derive(Default)]
struct Round {
    parcel: Parcel,
    outcomes: Vec<Outcome>,
    leased: Vec<(u64, u64)>,
}

/// The same event under its number, whenever it is said to have been.
fn use_of(number: usize, second: i64, charges: Vec<Charge>) -> Entry {
    Entry { charges, digest: "any".into(), ..event(&format!("use/{number}")).at(at(second)) }
}

struct Play {
    world: World,
    model: Model,
    /// Names of corrections, and of the events that they are of.
    voids: usize,
}

impl Play {
    /// Adds a step to a round; answers whether it fits into it, which things of one round that come in another order
    /// do not.
    fn add(&mut self, step: &Step, round: &mut Round) -> bool {
        let Self { world, model, voids } = self;
        let Parcel { entries, releases, leases, .. } = &mut round.parcel;
        let entries_are_over = !releases.is_empty() || !leases.is_empty();
        match *step {
            Step::Use { .. } | Step::Again { .. } | Step::Void { .. } if entries_are_over => return false,
            Step::GiveBack { .. } if !leases.is_empty() => return false,
            Step::Wait { .. } | Step::Plan { .. } if entries_are_over || !entries.is_empty() => return false,
            Step::Use { units, late, held } => {
                let second = (world.now - late).max(0);
                let held = held.map(|(from, units)| Held { by: holder(from), units });
                let charges = vec![charge(units, held, &world.specs(second))];
                entries.push(use_of(model.counted.len(), second, charges));
                let overage = model.charge(world, second, held.map(|held| (held.by, held.units)), units);
                round.outcomes.push(Outcome::Counted { overage });
            }
            Step::Again { event: which, units, holder: from } => {
                if model.counted.is_empty() {
                    return true;
                }
                let which = usize::from(which) % model.counted.len();
                let charges = vec![charge(units, Some(Held { by: holder(from), units }), &world.specs(world.now))];
                entries.push(use_of(which, world.now, charges));
                model.give_back(holder(from), Some(units));
                round.outcomes.push(Outcome::Duplicate);
            }
            Step::Void { event: which } => {
                let which = usize::from(which) % model.counted.len().max(1);
                *voids += 1;
                entries.push(void(&format!("void/{voids}"), &format!("use/{which}"), world.now));
                let voided = model.void(which);
                round.outcomes.push(if voided { Outcome::Counted { overage: 0 } } else { Outcome::NothingToCorrect });
            }
            Step::GiveBack { holder: from, units } => {
                releases.push(give_back(holder(from), units));
                model.give_back(holder(from), units);
            }
            Step::Lease { holder: to, waiting } => {
                leases.push(ask(holder(to), Units::Tranche { least: 1, waiting }, &world.specs(world.now)));
                round.leased.push(model.lease(world, holder(to), |left| tranche(left, 1, waiting)));
            }
            Step::Reserve { holder: to, units } => {
                leases.push(ask(holder(to), Units::Exactly(units), &world.specs(world.now)));
                let wanted = |left| if units <= left { units } else { 0 };
                round.leased.push(model.lease(world, holder(to), wanted));
            }
            Step::Wait { seconds } => world.wait(seconds),
            Step::Plan { amount } => world.plan(amount),
        }
        round.parcel.now = world.now;
        true
    }

    /// Commits a round and compares.
    async fn commit(&self, session: &mut dyn Session, round: &Round) {
        let committed = round.parcel.commit(session).await;
        assert_eq!(committed.outcomes, round.outcomes);
        let leased: Vec<_> = committed.leased.iter().map(|leased| (leased.units, leased.left)).collect();
        assert_eq!(leased, round.leased);
        let sql = "SELECT lot, amount + carried, burned, held FROM lots ORDER BY lot";
        let found = session.query(sql, &[]).await.unwrap();
        let int = |row: &Row, column| row.int(column).unwrap();
        let found =
            found.iter().map(|row| (row.text(0).unwrap().into(), int(row, 1), int(row, 2) as u64, int(row, 3) as u64));
        let mut found: Vec<_> = found.collect();
        found.sort();
        assert_eq!(found, self.model.balances());
        for number in 0..3 {
            assert_eq!(owners::held_of(session, holder(number)).await.unwrap(), self.model.held_by(holder(number)));
        }
        let overage = number(session, "SELECT CAST(coalesce(sum(units), 0) AS INTEGER) FROM overage").await;
        assert_eq!(overage as u64, self.model.overage());
        self.model.check();
        check(session).await;
    }
}

async fn play(store: &Store, steps: &[Step], together: usize, amount: u64, rollover: u64) {
    let session = &mut *store.writer().await.unwrap();
    for number in 0..3 {
        owners::heartbeat(session, holder(number).owner, MINUTE).await.unwrap();
    }
    let mut play = Play { world: World::new(amount, rollover), model: Model::default(), voids: 0 };
    let (mut round, mut count) = (Round::default(), 0);
    for step in steps {
        if count >= together || !play.add(step, &mut round) {
            play.commit(session, &std::mem::take(&mut round)).await;
            count = 0;
            assert!(play.add(step, &mut round), "every step fits into an empty round");
        }
        count += 1;
    }
    play.commit(session, &round).await;
}

#[test]
fn the_store_is_what_the_reference_is() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { failure_persistence: None, max_shrink_iters: 200, ..Config::with_cases(40) };
    let input = (steps(), 1..8_usize, 0..40_u64, 0..60_u64);
    let result = TestRunner::new(config).run(&input, |(steps, together, amount, rollover)| {
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let store = store_in(folder.path()).await;
            play(&store, &steps, together, amount, rollover).await;
        });
        Ok(())
    });
    result.unwrap();
}
