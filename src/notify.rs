//! Tells the service manager how it stands, by the protocol of `sd_notify(3)`: a datagram to the socket in `NOTIFY_SOCKET`.

use std::io;
use std::os::unix::net::UnixDatagram;

use halfbyte_core::config::Variables;

/// The service manager that started the process, if it wants to be told.
#[derive(Clone, Debug)]
pub(crate) struct Supervisor(Option<String>);

impl Supervisor {
    pub(crate) fn of(variables: &Variables) -> Self {
        Self(variables.get("NOTIFY_SOCKET").map(str::to_owned))
    }

    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Requests are answered: a unit of `Type=notify` has started, and what is ordered after it may.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// Told to stop.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.0
            && let Err(error) = send(socket, state)
        {
            tracing::warn!(%error, socket, state, "the service manager could not be told");
        }
    }
}

fn send(socket: &str, state: &str) -> io::Result<()> {
    let datagram = UnixDatagram::unbound()?;
    // One that nobody reads must not hold up the process.
    datagram.set_nonblocking(true)?;
    connect(&datagram, socket)?;
    datagram.send(state.as_bytes()).map(drop)
}

/// A name that begins with `@` is in the abstract namespace of Linux.
fn connect(datagram: &UnixDatagram, socket: &str) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.strip_prefix('@') {
        use std::os::linux::net::SocketAddrExt as _;
        return datagram.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?);
    }
    datagram.connect(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(datagram: &UnixDatagram) -> String {
        let mut text = [0; 64];
        let length = datagram.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    #[test]
    fn a_service_manager_is_told_at_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor(Some(path.display().to_string()));
        supervisor.ready();
        supervisor.stopping();
        assert_eq!([received(&socket), received(&socket)], ["READY=1", "STOPPING=1"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn one_in_the_abstract_namespace_too() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("halfbyte-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Supervisor(Some(format!("@{name}"))).ready();
        assert_eq!(received(&socket), "READY=1");
    }

    #[test]
    fn one_that_is_not_there_is_no_trouble() {
        Supervisor(Some("/nowhere/at/all".to_owned())).ready();
    }
}
