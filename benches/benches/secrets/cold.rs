//! Many who ask at once for what nobody has asked for before.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use halfbyte::core::{Clock, Lifecycle};
use halfbyte::secrets::Secrets;
use halfbyte_benches::count;
use tokio::runtime::Runtime;

use crate::peers::{Aws, Backend};
use crate::{Outcome, VALUE};

const READERS: usize = 200;

/// How long a backend takes to answer.
const TAKES: Duration = Duration::from_millis(20);

pub fn run(runtime: &Runtime) -> Outcome {
    let backend = Backend { value: VALUE.to_owned(), takes: TAKES, ..Backend::default() };
    let reads = backend.reads.clone();
    runtime.block_on(async {
        let secrets = Secrets::new(backend, &Lifecycle::new(Clock::system()));
        let handles: Vec<_> = (0..READERS).map(|_| secrets.get::<String>("cold")).collect();
        join_all(handles.iter().map(|handle| handle.ready())).await.into_iter().collect::<Result<(), _>>()
    })?;
    count("secrets.cold.reads", reads.load(Ordering::SeqCst));

    let aws = Aws::new(runtime, VALUE, TAKES)?;
    let before = aws.requests.load(Ordering::SeqCst);
    runtime.block_on(join_all((0..READERS).map(|_| aws.cache.get_secret_value("cold", None, None, false))));
    count("secrets.cold.reads.of_aws", aws.requests.load(Ordering::SeqCst) - before);
    Ok(())
}
