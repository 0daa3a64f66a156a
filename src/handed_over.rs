//! Listeners that a service manager has opened: the protocol of `sd_listen_fds(3)`, which systemd calls socket activation.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use halfbyte_core::config::Variables;
use socket2::{Domain, SockRef, Type};

use crate::error::{Error, ErrorKind};

/// The listeners that were handed over, each at most once.
#[derive(Debug, Default)]
pub(crate) struct HandedOver {
    pub(crate) public: Option<TcpListener>,
    pub(crate) admin: Option<TcpListener>,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Public,
    Admin,
}

/// Whether they were taken: they are there once, and what is read of them stays in the environment, which has no safe way to be
/// changed in a process with threads.
static TAKEN: AtomicBool = AtomicBool::new(false);

impl HandedOver {
    /// Takes them; there is nothing left for a second one to take.
    pub(crate) fn take(variables: &Variables) -> Result<Self, Error> {
        let unusable =
            |fault| Error::new(ErrorKind::Configuration, format!("the sockets handed over cannot be used: {fault}"));
        let uses = uses(variables, std::process::id()).map_err(unusable)?;
        let mut taken = Self::default();
        if uses.is_empty() || TAKEN.swap(true, Ordering::SeqCst) {
            return Ok(taken);
        }
        let sockets = sd_listen_fds::get().map_err(|error| unusable(error.to_string()))?;
        if sockets.len() != uses.len() {
            return Err(unusable("the environment names others than the configuration".to_owned()));
        }
        let mut faults = Vec::new();
        for ((_name, socket), to) in sockets.into_iter().zip(uses) {
            match listener(socket.into_std()) {
                Ok(listener) if to == Use::Public => taken.public = Some(listener),
                Ok(listener) => taken.admin = Some(listener),
                Err(error) => faults.push(error),
            }
        }
        match faults.into_iter().next() {
            None => Ok(taken),
            Some(error) => {
                let message =
                    "a socket that was handed over is not a TCP listener: set ListenStream= to an address and a port";
                Err(Error::new(ErrorKind::Configuration, message).caused_by(error))
            }
        }
    }
}

/// The listener, if it is one. Programs that this one starts do not get it.
fn listener(socket: OwnedFd) -> std::io::Result<TcpListener> {
    let listener = TcpListener::from(socket);
    let is_listener = {
        let socket = SockRef::from(&listener);
        let is_tcp = || {
            Ok::<_, std::io::Error>(
                socket.r#type()? == Type::STREAM && [Domain::IPV4, Domain::IPV6].contains(&socket.domain()?),
            )
        };
        is_tcp().and_then(|is_tcp| {
            socket.set_cloexec(true)?;
            Ok(is_tcp && socket.is_listener()?)
        })
    };
    match is_listener {
        Ok(true) => Ok(listener),
        other => {
            // It may be nothing that is there, or something of somebody else's: it is not ours to close.
            std::mem::forget(OwnedFd::from(listener));
            Err(other.err().unwrap_or_else(|| std::io::Error::other("it is something else")))
        }
    }
}

/// What each socket is for, in their order; none if none was handed to process `id`.
fn uses(variables: &Variables, id: u32) -> Result<Vec<Use>, String> {
    let (Some(pid), Some(count)) = (variables.get("LISTEN_PID"), variables.get("LISTEN_FDS")) else {
        return Ok(Vec::new());
    };
    // Whoever starts a child leaves it these variables, and not the sockets.
    if pid.parse() != Ok(id) {
        return Ok(Vec::new());
    }
    let count: usize = count.parse().map_err(|_| "LISTEN_FDS is not a number".to_owned())?;
    let uses = match variables.get("LISTEN_FDNAMES") {
        Some(names) => names.split(':').map(of_name).collect::<Result<Vec<_>, _>>()?,
        None => [Use::Public, Use::Admin].into_iter().take(count).collect(),
    };
    if uses.len() != count {
        return Err(format!("there are {count}, and not one name each; at most one is public, and one admin"));
    }
    for to in [Use::Public, Use::Admin] {
        if uses.iter().filter(|other| **other == to).count() > 1 {
            return Err("two are for the same; at most one is public, and one admin".to_owned());
        }
    }
    Ok(uses)
}

fn of_name(name: &str) -> Result<Use, String> {
    match name {
        "public" => Ok(Use::Public),
        "admin" => Ok(Use::Admin),
        other => Err(format!("\"{other}\" is none of public and admin; set FileDescriptorName= in the socket unit")),
    }
}

#[cfg(test)]
mod tests {
    use halfbyte_core::config::Config;

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn only_listeners_of_tcp_are_taken() {
        let address = (std::net::Ipv4Addr::LOCALHOST, 0);
        let socket = TcpListener::bind(address).unwrap();
        let (to, client) = (socket.local_addr().unwrap(), std::net::TcpStream::connect(socket.local_addr().unwrap()));
        assert_eq!(listener(socket.into()).unwrap().local_addr().unwrap(), to);
        assert!(listener(std::os::unix::net::UnixListener::bind_addr(&nowhere()).unwrap().into()).is_err());
        for other in [client.unwrap().into(), std::net::UdpSocket::bind(address).unwrap().into(), file()] {
            assert!(listener(other).is_err());
        }
    }

    #[cfg(target_os = "linux")]
    /// A name of the abstract namespace, which leaves no file.
    fn nowhere() -> std::os::unix::net::SocketAddr {
        use std::os::linux::net::SocketAddrExt as _;
        std::os::unix::net::SocketAddr::from_abstract_name(format!("halfbyte-listener-{}", std::process::id())).unwrap()
    }

    #[cfg(target_os = "linux")]
    fn file() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn of(variables: &[(&str, &str)]) -> Result<Vec<Use>, String> {
        uses(&Config::parse(variables.iter().copied()).unwrap().other, 7)
    }

    #[test]
    fn sockets_are_told_apart_by_name_and_without_names_by_order() {
        for (names, uses) in
            [("public", &[Use::Public][..]), ("admin", &[Use::Admin]), ("admin:public", &[Use::Admin, Use::Public])]
        {
            let count = uses.len().to_string();
            let given = of(&[("LISTEN_PID", "7"), ("LISTEN_FDS", &count), ("LISTEN_FDNAMES", names)]);
            assert_eq!(given.unwrap(), uses);
        }
        assert_eq!(of(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2")]).unwrap(), [Use::Public, Use::Admin]);
    }

    #[test]
    fn what_was_handed_to_another_process_is_not_taken() {
        for variables in [
            &[][..],
            &[("LISTEN_FDS", "1")],
            &[("LISTEN_PID", "8"), ("LISTEN_FDS", "1")],
            &[("LISTEN_PID", "x"), ("LISTEN_FDS", "1")],
            &[("LISTEN_PID", "7")],
            &[("LISTEN_PID", "7"), ("LISTEN_FDS", "0")],
        ] {
            assert_eq!(of(variables), Ok(Vec::new()), "{variables:?}");
        }
    }

    #[test]
    fn sockets_whose_use_is_not_known_are_refused() {
        for (count, names, said) in [
            ("1", "parcel.socket", "FileDescriptorName="),
            ("2", "public", "one name each"),
            ("2", "public:public", "for the same"),
            ("3", "", "one name each"),
            ("4294967295", "", "one name each"),
            ("x", "", "not a number"),
        ] {
            let fault = of(&[("LISTEN_PID", "7"), ("LISTEN_FDS", count), ("LISTEN_FDNAMES", names)]).unwrap_err();
            assert!(fault.contains(said), "{fault}");
        }
    }
}
