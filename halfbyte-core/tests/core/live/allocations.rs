use allocation_counter::measure;
use tokio::time::sleep;

use super::{Backend, millis, policy, warm};

#[tokio::test(start_paused = true)]
async fn reading_allocates_nothing() {
    let live = warm(policy(), &Backend::default()).await;
    // The first read on a thread may make room for its bookkeeping.
    drop(live.load());
    let mut sum = 0;
    let counted = measure(|| {
        for _ in 0..1000 {
            sum += *live.load().expect("loaded");
        }
    });
    assert_eq!((sum, counted.count_total), (1000, 0));
}

#[tokio::test(start_paused = true)]
async fn the_counter_counts() {
    let counted = measure(|| drop(std::hint::black_box(vec![1, 2, 3])));
    assert_eq!(counted.count_total, 1);
    sleep(millis(1)).await;
}
