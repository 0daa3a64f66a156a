//! SIGTERM with requests in flight.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::company::Company;
use crate::http::Caller;
use crate::screen::Screen;

const UPLOADS: usize = 20;

pub async fn show(screen: &mut Screen, company: &mut Company) -> Outcome {
    screen
        .step("A drain", "20 slow clients have sent half of a request each when Parcel is told to stop with SIGTERM.");
    let globex = company.sign_in("globex-app", "labels:write").await?;
    let before = company.labels_used("globex").await?;
    let mut halves = Vec::new();
    for number in 0..UPLOADS {
        halves.push(HalfRequest::send(company, &globex, number).await?);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    company.parcel.terminate()?;
    screen.say("SIGTERM");
    refuses_connections(company).await?;
    screen.say("new connections are refused");

    let mut rest = JoinSet::new();
    for half in halves {
        rest.spawn(half.finish());
    }
    let mut answered = 0;
    while let Some(status) = rest.join_next().await {
        match status?? {
            201 => answered += 1,
            other => return Err(format!("a request in flight was answered with {other}").into()),
        }
    }
    screen.say(&format!("the second halves are sent: {answered} of {UPLOADS} answered with 201"));
    let code = company.parcel.ended(Duration::from_secs(10)).await?;
    if code != Some(0) || answered != UPLOADS {
        return Err(format!("{answered} answered, exit code {code:?}").into());
    }
    let counted = company.labels_used("globex").await? - before;
    if counted != UPLOADS as u64 {
        return Err(format!("{counted} labels are counted and not {UPLOADS}").into());
    }
    screen.seen(&format!("{UPLOADS} of {UPLOADS} answered and counted, exit code 0"));
    Ok(())
}

async fn refuses_connections(company: &Company) -> Outcome {
    for _ in 0..200 {
        if TcpStream::connect(company.parcel.public).await.is_err() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err("connections are still accepted 2 s after SIGTERM".into())
}

/// A request whose body has not come yet.
struct HalfRequest {
    stream: TcpStream,
    rest: &'static str,
}

impl HalfRequest {
    async fn send(company: &Company, caller: &Caller, number: usize) -> Outcome<Self> {
        let (first, rest) = (r#"{"to":"#, r#""1 Main Street"}"#);
        let mut stream = TcpStream::connect(company.parcel.public).await?;
        let head = format!(
            "POST /labels HTTP/1.1\r\nhost: parcel\r\nauthorization: Bearer {}\r\nidempotency-key: drain-{number}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{first}",
            caller.token(),
            first.len() + rest.len(),
        );
        stream.write_all(head.as_bytes()).await?;
        Ok(Self { stream, rest })
    }

    /// Sends the rest; answers the status.
    async fn finish(mut self) -> Outcome<u16> {
        self.stream.write_all(self.rest.as_bytes()).await?;
        let mut answer = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), self.stream.read_to_end(&mut answer)).await??;
        let status = answer.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        status.ok_or_else(|| "the connection was closed without an answer".into())
    }
}
