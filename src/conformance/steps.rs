//! HB-LIFE: how a product says what it is doing while it starts and stops, and how it ends when it cannot start.

use std::time::Duration;

use halfbyte_core::Clock;
use halfbyte_core::lifecycle::Phase;
use halfbyte_observe::testing::Log;
use http::StatusCode;
use serde_json::Value;
use tokio::net::{TcpListener, UnixDatagram};
use tokio::time::{sleep, timeout};

use super::bench::Bench;
use super::check::{Check, Found, Holds, ensure};
use super::client::{Ask, PATIENCE};
use super::product::Product;

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-LIFE-004",
        what: "a port that is taken is exit code 69, and a configuration that cannot be used is 78",
        run: |bench| Box::pin(starts(bench)),
    },
    Check {
        clause: "HB-LIFE-008",
        what: "each step of a life is on /readyz with its budget",
        run: |bench| Box::pin(shown(bench)),
    },
    Check {
        clause: "HB-LIFE-008",
        what: "each step of a life is in the log with its budget, what it took and what was left",
        run: |bench| Box::pin(logged(bench)),
    },
    Check {
        clause: "HB-LIFE-012",
        what: "a service manager is told when it is ready, and when it stops",
        run: |bench| Box::pin(told(bench)),
    },
    Check {
        clause: "HB-LIFE-013",
        what: "without its certificate a product is not ready, says why, and answers nothing",
        run: |bench| Box::pin(without_certificate(bench)),
    },
];

/// The steps of a life, and what each may take in seconds, with such a lame duck.
const fn steps_of(lame_duck: u64) -> [(&'static str, Option<u64>); 9] {
    [
        ("starting", Some(10)),
        ("ready", None),
        ("lame-duck", Some(lame_duck)),
        ("stop-accepting", None),
        ("in-flight", Some(30)),
        ("usage", Some(10)),
        ("tasks", Some(2)),
        ("telemetry", Some(5)),
        ("closed", None),
    ]
}

/// Of the product whose steps are looked at while it has it, in seconds: longer than that takes, which ends it.
const LONG: u64 = 30;

/// Of the one that goes through all of its steps by itself.
const SHORT: u64 = 1;

/// What comes of a start with `variables`: the exit code of its error, or none if it starts all the same.
async fn exit_code(bench: &Bench<'_>, variables: &[(&str, &str)]) -> Result<Option<u8>, String> {
    let config = bench.suite.config(variables)?;
    match (bench.suite.conformance.start)(config).await {
        Ok((platform, _routes)) => {
            platform.lifecycle().stop_tasks(PATIENCE).await;
            Ok(None)
        }
        Err(error) => Ok(Some(error.exit_code())),
    }
}

async fn starts(bench: &mut Bench<'_>) -> Found {
    let taken = TcpListener::bind("127.0.0.1:0").await.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (taken, _listener) = taken.map_err(|error| error.to_string())?;
    let (taken, process) = (taken.to_string(), std::process::id().to_string());
    let handed = [("LISTEN_PID", &*process), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "conformance-has-no-such")];
    for (what, variables, code) in [
        ("a public port that is taken", &[("HALFBYTE_LISTEN", &*taken)][..], 69),
        ("an admin port that is taken", &[("HALFBYTE_ADMIN_LISTEN", &*taken)], 69),
        ("a socket that nobody has a use for", &handed, 78),
    ] {
        let got = exit_code(bench, variables).await?;
        let told = got.map_or_else(|| "a start".to_owned(), |got| format!("exit code {got}"));
        ensure(got == Some(code), || format!("{what} is {told} and not exit code {code}"))?;
    }
    Ok(Holds::Yes)
}

/// The steps that /readyz shows so far.
async fn steps(bench: &mut Bench<'_>, product: &Product, status: StatusCode) -> Result<Vec<Value>, String> {
    let answer = bench.admin(product, "/readyz").await?;
    ensure(answer.status == status, || format!("/readyz answers {}", answer.status))?;
    let body = answer.json()?;
    let steps = body["life"]["steps"].as_array().cloned();
    steps.ok_or_else(|| format!("/readyz does not say which steps there were: {}", body["life"]))
}

/// Whether `shown` are the first steps of a life, the last of which is under way.
fn are_first(shown: &[Value], last: &str) -> Result<(), String> {
    let steps = steps_of(LONG);
    let count = steps.iter().position(|(step, _)| *step == last).map_or(0, |position| position + 1);
    ensure(shown.len() == count, || format!("there are {} steps up to {last}: {shown:?}", shown.len()))?;
    for (number, (shown, (step, budget))) in shown.iter().zip(steps).enumerate() {
        let is_over = number + 1 < count;
        let began = shown["entered"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let is_it = shown["step"] == step
            && began.is_some()
            && shown["budget_seconds"].as_f64() == budget.map(|seconds| seconds as f64)
            && shown["took_seconds"].is_f64() == is_over
            && shown["left"] == 0;
        ensure(is_it, || format!("the step {step}, with a budget of {budget:?} s, is shown as {shown}"))?;
    }
    Ok(())
}

/// Makes it a lame duck; the steps that it shows then.
async fn lame_duck(bench: &mut Bench<'_>, product: &Product) -> Result<Vec<Value>, String> {
    product.platform.lifecycle().enter(Phase::LameDuck);
    let shown = async {
        loop {
            let shown = steps(bench, product, StatusCode::SERVICE_UNAVAILABLE).await?;
            if shown.len() >= 3 {
                return Ok(shown);
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, shown).await.unwrap_or_else(|_| Err("it does not become a lame duck".to_owned()))
}

async fn shown(bench: &mut Bench<'_>) -> Found {
    let product = bench.suite.start(&[("HALFBYTE_LAME_DUCK", &LONG.to_string())]).await?;
    let seen = async {
        are_first(&steps(bench, &product, StatusCode::OK).await?, "ready")?;
        are_first(&lame_duck(bench, &product).await?, "lame-duck")
    };
    let seen = seen.await;
    product.platform.lifecycle().enter(Phase::Draining);
    product.stop().await?;
    seen.map(|()| Holds::Yes)
}

/// What a record says of a step; of which, and whether it is its end.
fn of_step(log: &Log) -> Option<(&str, bool)> {
    let step = log.attributes.get("step")?.as_str();
    let is_end = match log.body.strip_prefix("a step of the life cycle ")? {
        "begins" => false,
        end if end.starts_with("ends") => true,
        _ => return None,
    };
    Some((step, is_end))
}

async fn logged(bench: &mut Bench<'_>) -> Found {
    let began = u64::try_from(Clock::system().now().as_nanosecond()).unwrap_or_default();
    let product = bench.suite.start(&[("HALFBYTE_LAME_DUCK", &SHORT.to_string())]).await?;
    product.stop().await?;
    let received = bench.suite.received().await?;
    let of_this: Vec<&Log> = received.logs.iter().filter(|log| log.observed_nanos >= began).collect();
    let mut at = 0;
    for (step, budget) in steps_of(SHORT) {
        for is_end in [false, true] {
            // How a life begins is before the log, and what is closed does not end.
            if (step, is_end) == ("starting", false) || (step, is_end) == ("closed", true) {
                continue;
            }
            let which = if is_end { "ends" } else { "begins" };
            let found = of_this[at..].iter().position(|log| of_step(log) == Some((step, is_end)));
            let found =
                found.ok_or_else(|| format!("that the step {step} {which} is not in the log, or not in its place"))?;
            let log = of_this[at + found];
            at += found;
            let says = |name: &str| log.attributes.get(name).map(|value| value.as_str().to_owned());
            let expected = budget.map(|seconds| format!("{:?}", Duration::from_secs(seconds)));
            ensure(says("budget") == expected, || {
                format!("the log says of {step} that its budget is {:?} and not {expected:?}", says("budget"))
            })?;
            let is_whole = !is_end || (says("took").is_some() && says("left").as_deref() == Some("0"));
            ensure(is_whole, || format!("the log does not say what {step} took and left: {:?}", log.attributes))?;
        }
    }
    Ok(Holds::Yes)
}

async fn told(bench: &mut Bench<'_>) -> Found {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).map_err(|error| error.to_string())?;
    let product = bench.suite.start(&[("NOTIFY_SOCKET", &path.display().to_string())]).await?;
    let ready = datagram(&socket).await;
    product.stop().await?;
    let stopping = datagram(&socket).await;
    for (got, expected) in [(ready, "READY=1"), (stopping, "STOPPING=1")] {
        let got = got.map_err(|how| format!("{expected} does not come: {how}"))?;
        ensure(got == expected, || format!("{expected} is {got:?}"))?;
    }
    Ok(Holds::Yes)
}

async fn datagram(socket: &UnixDatagram) -> Result<String, String> {
    /// It is sent before the product goes on.
    const SOON: Duration = Duration::from_secs(5);
    let mut buffer = [0; 100];
    let received = timeout(SOON, socket.recv(&mut buffer)).await.map_err(|late| late.to_string())?;
    received.map(|end| String::from_utf8_lossy(&buffer[..end]).into_owned()).map_err(|error| error.to_string())
}

async fn without_certificate(bench: &mut Bench<'_>) -> Found {
    let variables = [("HALFBYTE_TLS_SECRET", "conformance-tls")];
    if cfg!(not(feature = "tls")) {
        let code = exit_code(bench, &variables).await?;
        ensure(code == Some(78), || format!("a product without TLS that is to speak it ends with {code:?}"))?;
        return Ok(Holds::Yes);
    }
    let product = bench.suite.start(&variables).await?;
    let seen = uncertified(bench, &product).await;
    product.stop().await?;
    seen.map(|()| Holds::Yes)
}

async fn uncertified(bench: &mut Bench<'_>, product: &Product) -> Result<(), String> {
    let ready = bench.admin(product, "/readyz").await?;
    ensure(ready.status == StatusCode::SERVICE_UNAVAILABLE, || format!("/readyz answers {}", ready.status))?;
    let body = ready.json()?;
    let tls = body["checks"].as_array().into_iter().flatten().find(|check| check["name"] == "tls");
    let why = tls.filter(|tls| tls["ready"] == false).and_then(|tls| tls["detail"].as_str());
    ensure(why.is_some_and(|why| !why.is_empty()), || format!("/readyz does not say why: {body}"))?;
    let plain = Ask::new("GET", "/.well-known/oauth-protected-resource");
    let answer = plain.send(product.address).await;
    ensure(answer.is_err(), || "plain HTTP is answered where there is to be TLS".to_owned())
}
