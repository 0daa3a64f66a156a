use std::fmt::Write as _;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::{Kept, spec};
use crate::support::Heard;

#[tokio::test]
async fn no_key_shows_in_a_debug_an_error_or_a_log_line() {
    let heard = Heard::listen();
    let kept = Kept::new().await;
    let (key, first) = kept.keys.create(spec()).await.expect("created");
    let second = kept.keys.rotate(&key.id, Duration::from_secs(60)).await.expect("rotated");
    let mut shown = format!("{:?} {key:?} {first:?}", kept.keys);
    for text in [&first, &second] {
        let text = text.expose_secret();
        let wrong = format!("{}{}", &text[..text.len() - 1], if text.ends_with('0') { '1' } else { '0' });
        for asked in [text, &wrong, &text[..40], &format!("{text} ")] {
            let outcome = kept.keys.authenticate(asked).await;
            let _infallible = write!(shown, "{outcome:?}");
            if let Err(problem) = outcome {
                let response = problem.to_response::<String>(&halfbyte_core::problem::Context::default());
                let _infallible = write!(shown, "{problem} {response:?}");
            }
        }
        // Where an id is asked for, somebody may paste the whole key.
        for error in [kept.keys.revoke(text).await, kept.keys.rotate(text, Duration::ZERO).await.map(drop)] {
            let error = error.expect_err("that is no id");
            let _infallible = write!(shown, "{error} {error:?}");
        }
    }
    kept.keys.revoke(&key.id).await.expect("revoked");
    kept.ask(&second).await.expect_err("revoked");
    let logged = heard.text();
    assert!(logged.contains("an API key is refused"), "the log is heard");
    for text in [&first, &second] {
        let secret = text.expose_secret().rsplit('_').next().expect("a last part");
        for piece in [&secret[..16], &secret[20..36]] {
            assert!(!shown.contains(piece), "{shown}");
            assert!(!logged.contains(piece));
        }
    }
}
