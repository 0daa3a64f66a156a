//! Any sequence of calls, against a model in memory.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::Spool;
use super::*;

#[derive(Clone, Debug)]
enum Call {
    Push { items: u64, size: usize },
    Front,
    Pop,
    Reopen,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => (0_u64..1000, 0_usize..9000).prop_map(|(items, size)| Call::Push { items, size }),
        2 => Just(Call::Front),
        2 => Just(Call::Pop),
        1 => Just(Call::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_spool_is_a_queue_that_forgets_only_its_oldest(calls in prop::collection::vec(call(), 1..80)) {
        let folder = private();
        let cap = 64 * 1024;
        let open = || Spool::open(folder.path(), cap).unwrap();
        let mut spool = Some(open());
        let mut model: VecDeque<Batch> = VecDeque::new();
        let mut shown = false;
        for (number, call) in (0_u64..).zip(calls) {
            let current = spool.as_mut().unwrap();
            match call {
                Call::Push { items, size } => {
                    let pushed = batch(number, items, size);
                    let mut evicted = current.push(&pushed).unwrap();
                    model.push_back(pushed);
                    // The one that was shown stays.
                    let oldest = usize::from(shown);
                    while evicted > 0 {
                        evicted = evicted.checked_sub(model.remove(oldest).unwrap().items).unwrap();
                    }
                }
                Call::Front => {
                    let front = current.front();
                    // Batches of no items go uncounted.
                    while !shown && model.front() != front.as_ref() && model.front().is_some_and(|first| first.items == 0) {
                        model.pop_front();
                    }
                    prop_assert_eq!(front.as_ref(), model.front());
                    shown = front.is_some();
                }
                Call::Pop => {
                    current.pop();
                    if shown {
                        model.pop_front();
                    }
                    shown = false;
                }
                Call::Reopen => {
                    // The shown one whose file had to go lives in memory alone.
                    if shown {
                        current.pop();
                        model.pop_front();
                    }
                    shown = false;
                    drop(spool.take());
                    spool = Some(open());
                }
            }
            let current = spool.as_mut().unwrap();
            prop_assert_eq!(current.items(), model.iter().map(|batch| batch.items).sum::<u64>());
            prop_assert_eq!(current.take_corrupt(), 0);
            prop_assert!(used(folder.path()) <= cap);
        }
    }
}
