//! As much of an HTTP client as readying a server takes.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

pub fn get(port: u16, path: &str, within: Duration) -> Result<Answer> {
    send(port, &format!("GET {path}"), &[], "", within)
}

/// Sends what `what` says, as in `POST /path`, to a port of this machine; nothing may take longer than `within`.
pub fn send(port: u16, what: &str, headers: &[(&str, &str)], body: &str, within: Duration) -> Result<Answer> {
    let mut stream = connect(port, within)?;
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    let mut request = format!("{what} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\n", body.len());
    headers.iter().for_each(|(name, value)| request.extend([*name, ": ", *value, "\r\n"]));
    stream.write_all(format!("{request}\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    parse(&answer).ok_or_else(|| Error::new(ErrorKind::InvalidData, "this is no answer in HTTP"))
}

/// A connection that neither reads nor writes for longer than `within`.
pub fn connect(port: u16, within: Duration) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), within)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    Ok(stream)
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.trim().parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_request_goes_out_whole_and_the_answer_comes_back() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let expected =
            format!("PUT /a HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 2\r\nX-Token: t\r\n\r\n{{}}");
        let length = expected.len();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = vec![0; length];
            stream.read_exact(&mut request).expect("a whole request");
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\nDate: now\r\n\r\n[\r\n\r\n]").expect("an answer");
            String::from_utf8(request).expect("text")
        });
        let answer = send(port, "PUT /a", &[("X-Token", "t")], "{}", Duration::from_secs(5)).expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (403, "[\r\n\r\n]"));
        assert_eq!(server.join().expect("it was asked"), expected);
    }

    #[test]
    fn what_is_no_http_is_no_answer() {
        for answer in ["", "\r\n\r\n", "INFO {}\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert!(parse(answer).is_none(), "{answer:?}");
        }
    }
}
