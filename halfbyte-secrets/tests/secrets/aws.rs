//! What AWS answers on good days and bad ones that moto has not: refusals, throttling, silence and nonsense.

use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halfbyte_core::config::Config;
use halfbyte_secrets::{Ask, Aws, Error, ErrorKind, Name, Provider as _, Reading, Secrets, Stage, Version};
use tokio::time::{Instant, timeout};

use super::fake_aws::{Answer, FakeAws, KEY};
use super::{chain, lifecycle};

const VALUE: &str = "9f86d081884c7d659a2f";

async fn read(provider: &Aws) -> Result<Reading, Error> {
    provider.read(Ask::current(&Name::new("token").unwrap())).await
}

fn shown(error: &Error) -> String {
    format!("{} {error:?}", chain(error))
}

/// Table: what AWS calls it, what we do.
const CODES: &[(&str, ErrorKind)] = &[
    ("ResourceNotFoundException", ErrorKind::NotFound),
    ("InvalidRequestException", ErrorKind::NotFound),
    ("InvalidParameterException", ErrorKind::InvalidName),
    ("ValidationException", ErrorKind::InvalidName),
    ("AccessDeniedException", ErrorKind::Denied),
    ("AccessDenied", ErrorKind::Denied),
    ("NotAuthorized", ErrorKind::Denied),
    ("OptInRequired", ErrorKind::Denied),
    ("DecryptionFailure", ErrorKind::Denied),
    ("UnrecognizedClientException", ErrorKind::Denied),
    ("InvalidClientTokenId", ErrorKind::Denied),
    ("InvalidAccessKeyId", ErrorKind::Denied),
    ("AuthFailure", ErrorKind::Denied),
    ("ExpiredToken", ErrorKind::Denied),
    ("ExpiredTokenException", ErrorKind::Denied),
    ("TokenRefreshRequired", ErrorKind::Denied),
    ("RequestExpired", ErrorKind::Denied),
    ("RequestTimeTooSkewed", ErrorKind::Denied),
    ("RequestInTheFuture", ErrorKind::Denied),
    ("InvalidSignatureException", ErrorKind::Denied),
    ("SignatureDoesNotMatch", ErrorKind::Denied),
    ("InvalidSignature", ErrorKind::Denied),
    ("IncompleteSignature", ErrorKind::Denied),
    ("IncompleteSignatureException", ErrorKind::Denied),
    ("MissingAuthenticationToken", ErrorKind::Denied),
    ("MissingAuthenticationTokenException", ErrorKind::Denied),
    ("Throttling", ErrorKind::Throttled),
    ("ThrottlingException", ErrorKind::Throttled),
    ("ThrottledException", ErrorKind::Throttled),
    ("RequestThrottled", ErrorKind::Throttled),
    ("RequestThrottledException", ErrorKind::Throttled),
    ("TooManyRequestsException", ErrorKind::Throttled),
    ("LimitExceededException", ErrorKind::Throttled),
    ("RequestLimitExceeded", ErrorKind::Throttled),
    ("BandwidthLimitExceeded", ErrorKind::Throttled),
    ("ProvisionedThroughputExceededException", ErrorKind::Throttled),
    ("PriorRequestNotComplete", ErrorKind::Throttled),
    ("SlowDown", ErrorKind::Throttled),
    ("InternalServiceError", ErrorKind::Unavailable),
    ("ServiceUnavailable", ErrorKind::Unavailable),
    ("SomethingNewException", ErrorKind::Unavailable),
];

#[tokio::test]
async fn an_error_is_told_by_its_code_wherever_that_is_and_whatever_the_status() {
    let aws = FakeAws::start(Answer::Silence).await;
    let provider = aws.provider();
    for (code, kind) in CODES {
        for status in [400, 403, 404, 429, 500, 503] {
            let answers = [
                Answer::Json(status, format!(r#"{{"__type":"{code}","Message":"no"}}"#)),
                Answer::Json(status, format!(r#"{{"__type":"com.amazonaws.secretsmanager#{code}:http://x/"}}"#)),
                Answer::ErrorType(status, code, r#"{"__type":"AccessDeniedException"}"#.to_owned()),
            ];
            for answer in answers {
                aws.answer(answer);
                let error = read(&provider).await.unwrap_err();
                assert_eq!(error.kind(), *kind, "{code} with {status}: {}", chain(&error));
                let said = chain(&error);
                assert!(said.contains("AWSCURRENT of prod/parcel/token in eu-central-1"), "names it: {said}");
                assert!(said.contains(code), "{said}");
                assert_eq!(aws.asked().len(), 1, "asked once, repeating is for others");
            }
        }
    }
}

#[tokio::test]
async fn what_aws_says_is_repeated_unless_it_repeats_what_was_sent() {
    let aws = FakeAws::start(Answer::Silence).await;
    let said = "The Canonical String should have been\\nx-amz-security-token:9f86d081884c7d659a2f";
    for (code, repeated) in [
        ("AccessDeniedException", true),
        ("ResourceNotFoundException", true),
        ("InvalidSignatureException", false),
        ("ExpiredTokenException", false),
        ("UnrecognizedClientException", false),
        ("RequestTimeTooSkewed", false),
        ("ThrottlingException", false),
        ("SomethingNewException", false),
    ] {
        aws.answer(Answer::Json(400, format!(r#"{{"__type":"{code}","message":"{said}"}}"#)));
        let error = read(&aws.provider()).await.unwrap_err();
        assert_eq!(shown(&error).contains(VALUE), repeated, "{}", chain(&error));
        assert!(!chain(&error).contains('\n'));
    }
    let long = "x".repeat(10_000);
    aws.answer(Answer::Json(400, format!(r#"{{"__type":"AccessDeniedException","message":"{long}"}}"#)));
    assert!(chain(&read(&aws.provider()).await.unwrap_err()).len() < 1000);
}

#[tokio::test]
async fn an_answer_that_is_none_is_malformed_or_unavailable_and_shown_nowhere() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\n";
    let cut = format!("{head}content-length: 500\r\n\r\n{{\"SecretString\":\"{VALUE}");
    let large = format!("{head}content-length: 9000000\r\n\r\n{{\"SecretString\":\"{VALUE}");
    let cases = [
        (Answer::Json(200, format!("<html>{VALUE}</html>")), ErrorKind::Malformed),
        (Answer::Json(200, format!(r#"{{"SecretString":"{VALUE}"#)), ErrorKind::Malformed),
        (Answer::Json(200, format!(r#"{{"SecretString":["{VALUE}"]}}"#)), ErrorKind::Malformed),
        (Answer::Json(200, format!(r#"{{"SecretBinary":"{VALUE}*"}}"#)), ErrorKind::Malformed),
        (Answer::Json(200, format!(r#"["{VALUE}"]"#)), ErrorKind::Malformed),
        (Answer::Json(200, format!(r#"{{"{VALUE}":1}}"#)), ErrorKind::Malformed),
        (Answer::Json(200, String::new()), ErrorKind::Malformed),
        (Answer::Json(502, format!("<html>{VALUE}</html>")), ErrorKind::Unavailable),
        (Answer::Json(400, format!(r#"{{"__type":"{VALUE} ","message":"{VALUE}"}}"#)), ErrorKind::Unavailable),
        (Answer::Json(400, format!(r#"{{"__type":"{}"}}"#, VALUE.repeat(4))), ErrorKind::Unavailable),
        (Answer::Raw(VALUE.to_owned()), ErrorKind::Unavailable),
        (Answer::Raw(String::new()), ErrorKind::Unavailable),
        (Answer::Raw(cut), ErrorKind::Unavailable),
        (Answer::Raw(large), ErrorKind::Unavailable),
    ];
    let aws = FakeAws::start(Answer::Silence).await;
    let provider = aws.provider();
    for (number, (answer, kind)) in cases.into_iter().enumerate() {
        aws.answer(answer);
        let error = read(&provider).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{number}: {}", chain(&error));
        assert!(!shown(&error).contains(VALUE), "{number}: {}", shown(&error));
    }
    aws.answer(Answer::text("v1", VALUE));
    assert_eq!(read(&provider).await.unwrap().value(), Some(VALUE.as_bytes()), "and all is well again");
}

#[tokio::test]
async fn a_text_or_bytes_are_answered_as_they_are_with_the_version() {
    let odd = "two\nlines, \"quotes\", \\, \0, \u{1f512} and ü";
    let aws = FakeAws::start(Answer::text("v1", odd)).await;
    let provider = aws.provider();
    assert_eq!(read(&provider).await.unwrap().value(), Some(odd.as_bytes()));
    aws.answer(Answer::Json(200, r#"{"VersionId":"v2","SecretBinary":"AP/+bm90IHRleHQ="}"#.to_owned()));
    assert_eq!(read(&provider).await.unwrap().value(), Some(&b"\x00\xff\xfenot text"[..]));

    let (name, known) = (Name::new("token").unwrap(), Version::new("v2"));
    let reading = provider.read(Ask::current(&name).knowing(Some(&known))).await.unwrap();
    assert_eq!(reading.value(), None, "unchanged");
    aws.answer(Answer::text("v3", VALUE));
    let reading = provider.read(Ask::current(&name).knowing(Some(&known))).await.unwrap();
    assert_eq!(reading.value(), Some(VALUE.as_bytes()));
    assert_eq!(
        format!("{reading:?}"),
        "Reading { value: \"[REDACTED]\", version: Some(Version(\"v3\")), lease: None }"
    );
}

#[tokio::test]
async fn each_stage_is_asked_for_by_its_label_in_a_signed_request() {
    let aws = FakeAws::start(Answer::text("v1", VALUE)).await;
    let provider = aws.provider();
    let name = Name::new("token").unwrap();
    let stages = [(Stage::Current, "AWSCURRENT"), (Stage::Pending, "AWSPENDING"), (Stage::Previous, "AWSPREVIOUS")];
    for (stage, label) in stages {
        provider.read(Ask::current(&name).stage_of(stage)).await.unwrap();
        let asked = aws.asked().concat();
        assert!(asked.starts_with("POST / HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("x-amz-target: secretsmanager.GetSecretValue\r\n"), "{asked}");
        assert!(asked.contains("authorization: AWS4-HMAC-SHA256 Credential=AKIDTEST/"), "{asked}");
        assert!(asked.contains("/eu-central-1/secretsmanager/aws4_request"), "{asked}");
        assert!(asked.contains(r#""SecretId":"prod/parcel/token""#), "{asked}");
        assert!(asked.contains(&format!(r#""VersionStage":"{label}""#)), "{asked}");
        assert!(!asked.contains(KEY), "{asked}");
    }
    let all = Aws::new("eu-central-1", "/").unwrap().endpoint(&aws.endpoint).access_key("AKIDTEST", &KEY.into());
    read(&all).await.unwrap();
    assert!(aws.asked().concat().contains(r#""SecretId":"token""#));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_unavailable_within_the_time_for_a_fetch() {
    let aws = FakeAws::start(Answer::Silence).await;
    let started = Instant::now();
    let error = read(&aws.provider()).await.unwrap_err();
    assert!(error.is_unavailable(), "{}", chain(&error));
    assert!(chain(&error).contains("did not answer in time"), "{}", chain(&error));
    assert!(started.elapsed() < halfbyte_core::live::Policy::default().fetch_timeout);
}

#[tokio::test]
async fn where_nobody_listens_it_is_unavailable_and_the_address_is_told() {
    let aws = FakeAws::start(Answer::Silence).await;
    let (endpoint, provider) = (aws.endpoint.clone(), aws.provider());
    drop(aws);
    let error = timeout(Duration::from_secs(8), read(&provider)).await.unwrap().unwrap_err();
    assert!(error.is_unavailable(), "{}", chain(&error));
    assert!(chain(&error).contains(&endpoint), "{}", chain(&error));
}

#[tokio::test]
async fn a_region_or_a_prefix_that_none_can_have_is_refused_at_once() {
    for region in ["", "EU", "eu.evil.example.com", "eu/x", "eu@x", &"x".repeat(33)] {
        assert_eq!(Aws::new(region, "").unwrap_err().kind(), ErrorKind::InvalidName, "{region}");
    }
    for prefix in ["a b", "a:b", "a%2e", "ü", &"x".repeat(384)] {
        assert_eq!(Aws::new("eu-central-1", prefix).unwrap_err().kind(), ErrorKind::InvalidName, "{prefix}");
    }
    let shown = format!("{:?}", Aws::new("eu-central-1", "/prod/").unwrap().access_key("AKIDTEST", &KEY.into()));
    assert_eq!(shown, r#"Aws { region: "eu-central-1", prefix: "prod", endpoint: None }"#);
}

#[tokio::test]
async fn what_is_said_after_the_first_read_counts_for_the_next() {
    let (aws, other) = (FakeAws::start(Answer::text("v1", "x")).await, FakeAws::start(Answer::text("v2", "y")).await);
    let provider = aws.provider();
    read(&provider).await.unwrap();
    let elsewhere = provider.clone().endpoint(&other.endpoint);
    assert_eq!(read(&elsewhere).await.unwrap().value(), Some(&b"y"[..]));
    let by_another = provider.clone().access_key("AKIDOTHER", &KEY.into());
    aws.asked();
    read(&by_another).await.unwrap();
    assert!(aws.asked().concat().contains("Credential=AKIDOTHER/"));
    read(&provider).await.unwrap();
    assert!(aws.asked().concat().contains("Credential=AKIDTEST/"), "and not for the one before");
}

#[tokio::test]
async fn the_url_chooses_it() {
    let config = Config::parse([("HALFBYTE_SECRETS_URL", "aws-sm://eu-central-1/prod")]).unwrap();
    let secrets = Secrets::open(&config, &lifecycle()).unwrap();
    assert_eq!(format!("{secrets:?}"), r#"Secrets("aws-sm:")"#);
}

const ALONE: &str = "HB_TEST_AWS_EVENTS_ALONE";

/// What is listened to is decided once a process, and other tests of this binary listen to nothing: this has a process of its
/// own.
#[test]
fn neither_value_nor_key_is_in_any_event_at_any_level() {
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let output = alone.args(["--exact", "aws::alone", "--nocapture"]).env(ALONE, "1").output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complained}");
}

/// What the test does, in its process; nothing in another.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test is told by the environment that it is alone")]
async fn alone() {
    if std::env::var(ALONE).is_err() {
        return;
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    let aws = FakeAws::start(Answer::text("v1", VALUE)).await;
    let provider = aws.provider();
    assert_eq!(read(&provider).await.unwrap().value(), Some(VALUE.as_bytes()));
    for broken in [format!(r#"{{"SecretString":["{VALUE}"]}}"#), VALUE.to_owned()] {
        aws.answer(Answer::Json(200, broken));
        read(&provider).await.unwrap_err();
    }
    let log = log.text();
    for source in ["aws_smithy_runtime", "GetSecretValue", "hyper_util"] {
        assert!(log.contains(source), "{source} was listened to");
    }
    for (what, hidden) in [("the value", VALUE), ("the key", KEY)] {
        let line = log.lines().find(|line| line.contains(hidden));
        assert!(line.is_none(), "{what}: {}", line.unwrap_or_default());
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn values_are_not_asked_for_in_plaintext_on_another_machine_unless_that_is_said() {
    let name = Name::new("key").unwrap();
    // No loopback address, but where it leads nobody answers, without a network.
    let aws = Aws::new("eu-central-1", "p").unwrap().access_key("AKIDTEST", &KEY.into()).endpoint("http://0.0.0.0:9");
    let error = aws.read(Ask::current(&name)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("danger_allow_plaintext"), "{error}");
    let error = aws.danger_allow_plaintext().read(Ask::current(&name)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
