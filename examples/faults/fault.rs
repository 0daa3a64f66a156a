//! What can go wrong with what: the rows of the matrix.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::proxy;

/// What the products need. The number of each is its place among the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    Issuer,
    OpenBao,
    Postgres,
    Collector,
}

impl System {
    pub const ALL: [Self; 4] = [Self::Issuer, Self::OpenBao, Self::Postgres, Self::Collector];

    pub fn name(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::OpenBao => "openbao",
            Self::Postgres => "postgres",
            Self::Collector => "collector",
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Issuer => "issuer",
            Self::OpenBao => "OpenBao",
            Self::Postgres => "PostgreSQL",
            Self::Collector => "collector",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    DownAtStart,
    Down,
    Slow,
    Hanging,
    Errors,
    Garbage,
    ClockAhead,
    ClockBehind,
}

impl Fault {
    pub const ALL: [Self; 8] = [
        Self::DownAtStart,
        Self::Down,
        Self::Slow,
        Self::Hanging,
        Self::Errors,
        Self::Garbage,
        Self::ClockAhead,
        Self::ClockBehind,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::DownAtStart => "down at start",
            Self::Down => "down for 10 s",
            Self::Slow => "slow: 2 s",
            Self::Hanging => "hanging",
            Self::Errors => "answering errors",
            Self::Garbage => "answering garbage",
            Self::ClockAhead => "clock 5 min ahead",
            Self::ClockBehind => "clock 5 min behind",
        }
    }

    /// How long it lasts, counted from when the products answer.
    pub fn lasts(self) -> Duration {
        Duration::from_secs(match self {
            Self::Down => 10,
            Self::Slow | Self::Hanging => 5,
            Self::DownAtStart | Self::Errors | Self::Garbage | Self::ClockAhead | Self::ClockBehind => 3,
        })
    }

    /// By how many seconds a clock is off.
    pub fn clock(self) -> Option<i64> {
        match self {
            Self::ClockAhead => Some(300),
            Self::ClockBehind => Some(-300),
            _ => None,
        }
    }

    /// A refusal besides the usual ones that is true while it lasts: a token that was issued five minutes from now, by the clock of
    /// who looks at it, is no good one.
    pub fn excuses(self, system: System) -> Option<&'static str> {
        let is_from_later = match self {
            Self::ClockAhead => system == System::Issuer,
            // Of the others it is the products' clocks that are off.
            Self::ClockBehind => system != System::Issuer,
            _ => false,
        };
        is_from_later.then_some("invalid-token")
    }

    /// How many spans the collector may get twice: it takes what it is sent, and its word on that is lost. Of each product a batch
    /// is on its way when the fault begins, and one when it ends.
    pub fn may_send_again(self, system: System) -> u64 {
        /// `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, unless it is set.
        const BATCH: u64 = 512;
        match (system, self) {
            (System::Collector, Self::DownAtStart | Self::Down | Self::Hanging | Self::Errors | Self::Garbage) => {
                4 * BATCH
            }
            _ => 0,
        }
    }

    /// The fault on the way to a system; nothing is wrong there when its clock is off.
    pub fn between(self, system: System) -> Option<proxy::Fault> {
        Some(match self {
            Self::DownAtStart | Self::Down => proxy::Fault::Refuse,
            Self::Slow => proxy::Fault::Slow(Duration::from_secs(2)),
            Self::Hanging => proxy::Fault::Hang,
            Self::Errors => proxy::Fault::Answers(errors(system)),
            Self::Garbage => proxy::Fault::Answers(garbage(system)),
            Self::ClockAhead | Self::ClockBehind => return None,
        })
    }
}

/// What each of them says when it is unwell.
fn errors(system: System) -> Arc<[Vec<u8>]> {
    let http = |status: &str| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: 7\r\nconnection: close\r\n\r\nunwell\n"
        )
        .into_bytes()
    };
    match system {
        System::Issuer | System::OpenBao => [http("500 Internal Server Error"), http("503 Service Unavailable")].into(),
        // OTLP has it that after a 500 nothing is sent again; that a collector is unwell it says by these.
        System::Collector => [http("503 Service Unavailable"), http("502 Bad Gateway")].into(),
        System::Postgres => [
            error_response("57P03", "the database system is in recovery mode"),
            error_response("53300", "sorry, too many clients already"),
            error_response("57P01", "terminating connection due to administrator command"),
        ]
        .into(),
    }
}

/// `ErrorResponse` of PostgreSQL's protocol.
fn error_response(code: &str, message: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    [&b"E"[..], &length.to_be_bytes(), fields.as_bytes()].concat()
}

/// Bytes that are nothing, and what is well-formed and is nothing that was asked for, as a proxy in between says it.
fn garbage(system: System) -> Arc<[Vec<u8>]> {
    let noise: Vec<u8> = Random(7).take(600).map(|number| number as u8).collect();
    match system {
        System::Postgres => {
            // Well-formed: the server says that all went well, about what nobody asked for.
            let ready = [&b"Z"[..], &5_u32.to_be_bytes(), b"I"].concat();
            let huge = [&b"D"[..], &u32::MAX.to_be_bytes(), &noise[..100]].concat();
            [noise, ready, huge].into()
        }
        _ => {
            let page = "<!doctype html><title>Welcome</title>";
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length:";
            let page = format!("{head} {}\r\n\r\n{page}", page.len()).into_bytes();
            [noise, page].into()
        }
    }
}

/// Numbers that look random and are the same for the same seed: SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Iterator for Random {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Some(number ^ (number >> 31))
    }
}
