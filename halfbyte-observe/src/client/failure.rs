//! What went wrong, as a name of which there are few.

use std::any::{Any, type_name};
use std::error::Error;
use std::io;

use halfbyte_core::BoxError;

/// An error of a client or of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) error_type: &'static str,
    /// The status of gRPC that the error stands for, by its number.
    pub(super) grpc_code: Option<i32>,
}

impl Failure {
    pub(super) fn of<E: 'static>(error: &E) -> Self {
        Self { error_type: named(error).unwrap_or(fallback::<E>()), grpc_code: grpc_code(error) }
    }
}

/// The name of the error's type; that of a box says nothing.
fn fallback<E>() -> &'static str {
    let name = type_name::<E>();
    if name.starts_with("alloc::boxed::Box<") { "_OTHER" } else { name }
}

fn named(error: &dyn Any) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        return of_chain(error);
    }
    if let Some(error) = error.downcast_ref::<BoxError>() {
        return of_chain(&**error);
    }
    #[cfg(feature = "grpc")]
    if let Some(error) = error.downcast_ref::<tonic::transport::Error>() {
        return of_chain(error);
    }
    #[cfg(feature = "grpc")]
    if let Some(error) = error.downcast_ref::<tonic::Status>() {
        return of_chain(error);
    }
    of_io(error.downcast_ref::<io::Error>()?)
}

/// An error of the system behind it says most.
fn of_chain(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut link = Some(error);
    while let Some(error) = link {
        if let Some(name) = error.downcast_ref().and_then(of_io) {
            return Some(name);
        }
        link = error.source();
    }
    error.downcast_ref().and_then(of_reqwest)
}

fn of_reqwest(error: &reqwest::Error) -> Option<&'static str> {
    Some(match () {
        () if error.is_timeout() => "timeout",
        () if error.is_connect() => "connect",
        () if error.is_redirect() => "redirect",
        () if error.is_builder() => "request",
        () if error.is_body() || error.is_decode() => "body",
        () => return None,
    })
}

fn of_io(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::TimedOut => "timeout",
        io::ErrorKind::ConnectionRefused => "connection_refused",
        io::ErrorKind::ConnectionReset => "connection_reset",
        io::ErrorKind::ConnectionAborted => "connection_aborted",
        io::ErrorKind::BrokenPipe => "broken_pipe",
        io::ErrorKind::UnexpectedEof => "unexpected_eof",
        io::ErrorKind::NotConnected => "not_connected",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
        _ => return None,
    })
}

#[cfg(feature = "grpc")]
fn grpc_code(error: &dyn Any) -> Option<i32> {
    error.downcast_ref::<tonic::Status>().map(|status| status.code() as i32)
}

#[cfg(not(feature = "grpc"))]
fn grpc_code(_error: &dyn Any) -> Option<i32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name<E: 'static>(error: E) -> &'static str {
        Failure::of(&error).error_type
    }

    #[test]
    fn a_failure_is_named_by_what_is_known_of_it() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(name(refused()), "connection_refused");
        assert_eq!(name(BoxError::from(refused())), "connection_refused");
        assert_eq!(name(BoxError::from(io::Error::other(refused()))), "_OTHER", "what is hidden stays so");
        assert_eq!(name(BoxError::from("password=hunter2")), "_OTHER");
        assert_eq!(name(std::fmt::Error), "core::fmt::Error");
        assert_eq!(name(io::Error::from(io::ErrorKind::TimedOut)), "timeout");
        assert_eq!(name(io::Error::from(io::ErrorKind::NetworkUnreachable)), "unreachable");
        let invalid = reqwest::Client::new().get("nonsense").build().expect_err("no URL");
        assert_eq!(name(invalid), "request");
    }

    #[cfg(feature = "grpc")]
    #[test]
    fn a_status_of_tonic_is_a_status() {
        assert_eq!(Failure::of(&tonic::Status::not_found("x")).grpc_code, Some(5));
        assert_eq!(Failure::of(&std::fmt::Error).grpc_code, None);
    }
}
