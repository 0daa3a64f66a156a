//! On whose behalf: what [`Caller`] knows, on spans and on logs.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use halfbyte_core::{Caller, Principal};
use opentelemetry::logs::LogRecord as _;
use opentelemetry::trace::{Span as _, SpanContext, SpanKind};
use opentelemetry::{Context, KeyValue, StringValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLogRecord;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use crate::Error;
use crate::trace::Stage;

const TENANT: &str = "halfbyte.tenant";
const KIND: &str = "halfbyte.principal.kind";
const USER: &str = "enduser.pseudo.id";

/// Makes names for users that only the holder of a key can make again: `enduser.pseudo.id`.
///
/// A name is the first 16 bytes, in hexadecimal, of the HMAC-SHA-256 over issuer, NUL, tenant, NUL, subject. It costs about a
/// microsecond for each span and each log record. `Debug` shows nothing of the key.
#[derive(Clone)]
pub struct UserHasher(hmac::Key);

impl UserHasher {
    /// Names by `key`. Another key makes other names: replace it to make what was recorded anonymous for good.
    ///
    /// # Errors
    ///
    /// The key has fewer than 16 bytes: who can guess it can find out who is behind a name.
    pub fn new(key: &[u8]) -> Result<Self, Error> {
        if key.len() < 16 {
            return Err(Error::configuration("the key for names of users", "must have at least 16 random bytes"));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// The name of `principal`: 32 hexadecimal digits.
    pub fn hash(&self, principal: &Principal) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut context = hmac::Context::with_key(&self.0);
        for part in [principal.issuer(), "\0", principal.tenant().as_str(), "\0", principal.subject()] {
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        let digits = tag.as_ref()[..16].iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
    }
}

impl fmt::Debug for UserHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserHasher").finish_non_exhaustive()
    }
}

/// Says of spans and log records on whose behalf they are, where that is known when they start.
///
/// A server span is the exception: its layer says so at its end, when the credential has been checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stamp {
    users: Option<UserHasher>,
}

impl Stamp {
    pub(crate) fn new(users: Option<UserHasher>) -> Self {
        Self { users }
    }

    /// In front of `next`.
    pub(crate) fn before<N>(self, next: N) -> Stamped<N> {
        Stamped { stamp: self, next }
    }

    /// What is said of `principal`, a server span included.
    pub(crate) fn attributes(&self, principal: &Principal, mut set: impl FnMut(&'static str, StringValue)) {
        set(TENANT, principal.tenant().as_str().to_owned().into());
        set(KIND, principal.kind().as_str().into());
        if let Some(users) = &self.users {
            set(USER, users.hash(principal).into());
        }
    }

    /// Stamps a span that starts on this thread.
    fn span(&self, mut set: impl FnMut(KeyValue)) {
        Caller::with_current(|principal| {
            if let Some(principal) = principal {
                self.attributes(principal, |key, value| set(KeyValue::new(key, value)));
            }
        });
    }

    /// Stamps a record that is being made on this thread, unless it says itself whose it is.
    pub(crate) fn log(&self, record: &mut SdkLogRecord) {
        Caller::with_current(|principal| {
            if let Some(principal) = principal
                && !record.attributes_iter().any(|(key, _)| key.as_str() == TENANT)
            {
                self.attributes(principal, |key, value| record.add_attribute(key, value));
            }
        });
    }
}

/// A [`Stamp`] in front of another processor.
#[derive(Debug)]
pub(crate) struct Stamped<N> {
    stamp: Stamp,
    next: N,
}

impl<N: Stage> Stage for Stamped<N> {
    fn starting(&self, span: &SpanContext, parent: Option<&SpanContext>, attributes: &mut Vec<KeyValue>) {
        self.stamp.span(|attribute| attributes.push(attribute));
        self.next.starting(span, parent, attributes);
    }
}

impl<N: SpanProcessor> SpanProcessor for Stamped<N> {
    fn on_start(&self, span: &mut Span, parent: &Context) {
        self.stamp.span(|attribute| span.set_attribute(attribute));
        self.next.on_start(span, parent);
    }

    fn on_end(&self, mut span: SpanData) {
        // A server within the work of another request: what its own layer has said comes last, and counts.
        if span.span_kind == SpanKind::Server {
            for key in [TENANT, KIND, USER] {
                let is_it = |pair: &KeyValue| pair.key.as_str() == key;
                if let (Some(first), Some(last)) =
                    (span.attributes.iter().position(is_it), span.attributes.iter().rposition(is_it))
                    && first != last
                {
                    span.attributes.remove(first);
                }
            }
        }
        self.next.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use halfbyte_core::TenantId;
    use jiff::Timestamp;
    use opentelemetry::logs::{AnyValue, Logger as _, LoggerProvider as _};
    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry::{InstrumentationScope, Key};
    use opentelemetry_sdk::logs::{LogProcessor, SdkLoggerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;
    use crate::keep::testing::Collected;

    fn principal(subject: &str, tenant: &str, issuer: &str) -> Principal {
        Principal::builder(subject, TenantId::new(tenant).unwrap(), Timestamp::MAX).issuer(issuer).build()
    }

    fn as_ada<T>(work: impl FnOnce() -> T) -> T {
        Caller::default().within(|| {
            Caller::tell(&principal("ada", "acme", "https://issuer"));
            work()
        })
    }

    fn provider(stamp: Stamp) -> (SdkTracerProvider, Collected) {
        let collected = Collected::default();
        let provider = SdkTracerProvider::builder().with_span_processor(stamp.before(collected.clone())).build();
        (provider, collected)
    }

    fn said(collected: &Collected) -> Vec<Vec<String>> {
        let one = |pair: &KeyValue| format!("{}={}", pair.key, pair.value);
        collected.spans().iter().map(|span| span.attributes.iter().map(one).collect()).collect()
    }

    #[test]
    fn spans_say_on_whose_behalf_they_are_where_that_is_known() {
        let (provider, collected) = provider(Stamp::default());
        let tracer = provider.tracer("test");
        tracer.start("nobody's").end();
        as_ada(|| tracer.start("ada's").end());
        assert_eq!(said(&collected), [vec![], vec!["halfbyte.tenant=acme", "halfbyte.principal.kind=user"]]);
    }

    #[test]
    fn a_server_span_says_it_once_and_believes_its_own_layer() {
        let (provider, collected) = provider(Stamp::default());
        let tracer = provider.tracer("test");
        as_ada(|| {
            let mut span = tracer.span_builder("inner").with_kind(SpanKind::Server).start(&tracer);
            span.set_attribute(KeyValue::new(TENANT, "other"));
            span.set_attribute(KeyValue::new(KIND, "service"));
        });
        assert_eq!(said(&collected), [["halfbyte.tenant=other", "halfbyte.principal.kind=service"]]);
    }

    #[test]
    fn a_user_is_named_only_with_a_key_and_never_by_the_subject() {
        let (provider, collected) = provider(Stamp::new(Some(UserHasher::new(&[7; 32]).unwrap())));
        as_ada(|| provider.tracer("test").start("ada's").end());
        // HMAC-SHA-256 of "https://issuer\0acme\0ada", made with Python's hmac.
        assert_eq!(said(&collected)[0][2], "enduser.pseudo.id=573d4ee266fd3ff2ca0bbb06e78e8e60");
        assert!(!format!("{collected:?}").contains("ada\""));
    }

    #[test]
    fn names_differ_by_each_of_issuer_tenant_subject_and_key() {
        let hasher = UserHasher::new(&[7; 32]).unwrap();
        let mut names = vec![UserHasher::new(&[8; 32]).unwrap().hash(&principal("a", "b", "c"))];
        for (subject, tenant, issuer) in
            [("a", "b", "c"), ("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x"), ("a", "bc", "")]
        {
            names.push(hasher.hash(&principal(subject, tenant, issuer)));
        }
        assert!(names.iter().all(|name| name.len() == 32));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 6);
    }

    #[test]
    fn a_short_key_is_refused_and_no_key_is_shown() {
        assert!(UserHasher::new(&[7; 15]).unwrap_err().is_configuration());
        assert_eq!(format!("{:?}", UserHasher::new(&[7; 16]).unwrap()), "UserHasher { .. }");
    }

    #[derive(Debug)]
    struct Logs(Stamp, Arc<Mutex<Vec<SdkLogRecord>>>);

    impl LogProcessor for Logs {
        fn emit(&self, record: &mut SdkLogRecord, _scope: &InstrumentationScope) {
            self.0.log(record);
            self.1.lock().unwrap().push(record.clone());
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    #[test]
    fn records_say_on_whose_behalf_they_are_unless_they_do_already() {
        let records = Arc::default();
        let logs =
            SdkLoggerProvider::builder().with_log_processor(Logs(Stamp::default(), Arc::clone(&records))).build();
        let logger = logs.logger("test");
        logger.emit(logger.create_log_record());
        as_ada(|| logger.emit(logger.create_log_record()));
        as_ada(|| {
            let mut record = logger.create_log_record();
            record.add_attribute(TENANT, "other");
            logger.emit(record);
        });
        let said: Vec<Vec<(Key, AnyValue)>> =
            records.lock().unwrap().iter().map(|record| record.attributes_iter().cloned().collect()).collect();
        let pair = |key: &'static str, value: &'static str| (Key::from(key), AnyValue::from(value));
        assert_eq!(said, [vec![], vec![pair(TENANT, "acme"), pair(KIND, "user")], vec![pair(TENANT, "other")]]);
    }
}
