//! Waiting until a server serves.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::http;
use crate::error::{Error, Result};

const POLL: Duration = Duration::from_millis(25);
const ATTEMPT: Duration = Duration::from_secs(1);

/// What a server that serves does.
pub enum Ready {
    /// Accepts connections on each port.
    Listening(Vec<u16>),
    /// Answers GET with 200.
    Http { port: u16, path: &'static str },
    /// Answers the request with something that begins with this byte.
    Answers { port: u16, request: Vec<u8>, first: u8 },
}

impl Ready {
    /// Waits up to `within`; ends early when `exited` says that the server is gone.
    pub fn wait(&self, within: Duration, mut exited: impl FnMut() -> Option<String>) -> Result {
        let start = Instant::now();
        loop {
            let reached = self.is_reached();
            // Asked even so: what answers on the port may be another program that took it first.
            if let Some(how) = exited() {
                return Err(Error::new(format!("ended before it was ready: {how}")));
            }
            if reached {
                return Ok(());
            }
            if start.elapsed() > within {
                return Err(Error::new(format!("was not ready within {} s", within.as_secs())));
            }
            thread::sleep(POLL);
        }
    }

    fn is_reached(&self) -> bool {
        match self {
            Self::Listening(ports) => ports.iter().all(|port| http::connect(*port, ATTEMPT).is_ok()),
            Self::Http { port, path } => http::get(*port, path, ATTEMPT).is_ok_and(|answer| answer.status == 200),
            Self::Answers { port, request, first } => answer(*port, request).is_ok_and(|byte| byte == *first),
        }
    }
}

/// The first byte of the answer.
fn answer(port: u16, request: &[u8]) -> std::io::Result<u8> {
    let mut stream = http::connect(port, ATTEMPT)?;
    stream.write_all(request)?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    Ok(first[0])
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        (listener, port)
    }

    #[test]
    fn a_server_that_listens_on_all_its_ports_is_ready() {
        let ((_a, first), (_b, second)) = (listener(), listener());
        Ready::Listening(vec![first, second]).wait(ATTEMPT, || None).expect("both listen");
    }

    #[test]
    fn a_server_that_answers_200_is_ready_and_one_that_answers_503_is_not() {
        let (listener, port) = listener();
        let server = thread::spawn(move || {
            for status in ["503 Service Unavailable", "200 OK"] {
                let (mut stream, _) = listener.accept().expect("a probe");
                let request = BufReader::new(stream.try_clone().expect("a handle")).lines();
                assert!(request.map_while(std::result::Result::ok).any(|line| line.is_empty()), "a whole request");
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").expect("an answer");
            }
        });
        Ready::Http { port, path: "/health" }.wait(ATTEMPT * 5, || None).expect("the second answer is 200");
        server.join().expect("both answers were asked for");
    }

    #[test]
    fn a_server_that_answers_as_it_should_is_ready_and_one_that_answers_otherwise_is_not() {
        let (listener, port) = listener();
        let server = thread::spawn(move || {
            for answer in [b"E", b"R"] {
                let (mut stream, _) = listener.accept().expect("a probe");
                let mut request = [0; 5];
                stream.read_exact(&mut request).expect("a whole request");
                assert_eq!(&request, b"hello");
                stream.write_all(answer).expect("an answer");
            }
        });
        let ready = Ready::Answers { port, request: b"hello".to_vec(), first: b'R' };
        ready.wait(ATTEMPT * 5, || None).expect("the second answer is R");
        server.join().expect("both answers were asked for");
    }

    #[test]
    fn a_server_that_ends_is_not_waited_for() {
        let (listener, port) = listener();
        drop(listener);
        let start = Instant::now();
        let error = Ready::Listening(vec![port]).wait(Duration::from_secs(60), || Some("exit status: 1".to_owned()));
        assert_eq!(error.expect_err("it ended").to_string(), "ended before it was ready: exit status: 1");
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
