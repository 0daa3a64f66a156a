//! Which server, which secrets in it, and how to be let in.

use std::path::PathBuf;

use halfbyte_core::live::Policy;
use url::{Host, Url};

use super::Auth;
use super::provider_policy;
use crate::{Error, ErrorKind, Name};

/// The port of a URL that names none.
const PORT: u16 = 8200;

/// How to use a server.
///
/// ```
/// use halfbyte_secrets::openbao::{Auth, Settings};
///
/// # fn main() -> Result<(), halfbyte_secrets::Error> {
/// let settings = Settings::new("https://bao.example.com:8200".parse().unwrap(), "secret", Auth::kubernetes("orders"))?
///     .path("orders")? // the secret `smtp-password` is `secret/orders/smtp-password`
///     .dynamic("db", "database/creds/orders")? // and `db` is a credential that is made for this process
///     .namespace("team-a");
/// # let _ = settings;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) address: Url,
    pub(super) mount: Vec<String>,
    pub(super) path: Vec<String>,
    pub(super) dynamic: Vec<(Name, Vec<String>)>,
    pub(super) namespace: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) policy: Policy,
    pub(super) auth: Auth,
}

impl Settings {
    /// The server at `address`, with a key-value engine of version 2 at `mount`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`]: the address is not `https://host:port`, or `http://` to this machine, or has more to it; or the
    /// mount is no path.
    pub fn new(address: Url, mount: &str, auth: Auth) -> Result<Self, Error> {
        check(&address)?;
        Ok(Self {
            address,
            mount: segments(mount)?,
            path: Vec::new(),
            dynamic: Vec::new(),
            namespace: None,
            ca_file: None,
            policy: provider_policy(),
            auth,
        })
    }

    /// What a URL says: `openbao://host:8200/mount/path`, or `vault://`, which is the same.
    ///
    /// The first segment is the mount (`%2F` for a slash in it), the rest the folder of the secrets. The query may hold, each
    /// escaped as in any URL:
    ///
    /// - `namespace=team-a`
    /// - `dynamic=db=database/creds/app`, once for each name that is a dynamic credential
    /// - `ca=/etc/ssl/bao.pem`, see [`ca_file`](Self::ca_file)
    /// - `auth=…`, which is for [`Auth::from_url`]
    ///
    /// It is TLS that is spoken. `openbao+http://` and `vault+http://` are plain, and for a server on this machine alone: at
    /// `localhost`, or a loopback address. Configuration refuses them in production.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`] says what to write; the message repeats nothing of the URL, for who has put a token into it.
    pub fn from_url(url: &Url, auth: Auth) -> Result<Self, Error> {
        let plain = match url.scheme() {
            "openbao" | "vault" => false,
            "openbao+http" | "vault+http" => true,
            _ => return Err(malformed("must begin with openbao:// or vault://")),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| malformed("names no host"))?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(malformed("must hold no user name, no password and no fragment"));
        }
        let scheme = if plain { "http" } else { "https" };
        let address = format!("{scheme}://{host}:{}/", url.port().unwrap_or(PORT));
        let address = Url::parse(&address).map_err(|_| malformed("names a host that cannot be one"))?;
        let mut path = url.path_segments().ok_or_else(|| malformed("names no mount"))?;
        let mount = decoded(path.next().unwrap_or_default())?;
        if mount.is_empty() {
            return Err(malformed("must name the mount: openbao://host:8200/secret"));
        }
        let path = path.map(decoded).collect::<Result<Vec<_>, _>>()?.join("/");
        let mut settings = Self::new(address, &mount, auth)?;
        if !path.trim_matches('/').is_empty() {
            settings = settings.path(&path)?;
        }
        for (key, value) in url.query_pairs() {
            settings = match (&*key, &*value) {
                (_, "") => return Err(malformed("has a query parameter without a value")),
                ("namespace", value) if settings.namespace.is_none() => settings.namespace(value),
                ("ca", value) if settings.ca_file.is_none() => settings.ca_file(value),
                ("dynamic", value) => {
                    let (name, path) =
                        value.split_once('=').ok_or_else(|| malformed("needs dynamic=NAME=PATH in its query"))?;
                    settings.dynamic(name, path)?
                }
                // How to log in was read already.
                ("auth", _) => settings,
                _ => return Err(malformed("may hold namespace, ca, dynamic and auth, and nothing else, in its query")),
            };
        }
        Ok(settings)
    }

    /// The folder within the mount that the secrets are in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`]: it is no path of plain segments.
    pub fn path(mut self, path: &str) -> Result<Self, Error> {
        self.path = segments(path)?;
        Ok(self)
    }

    /// The secret `name` is read from `path`, from its mount on, each time making a credential that is lent for a while:
    /// `database/creds/ROLE`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`], or [`ErrorKind::Malformed`]: the path is no path, or the name has one already.
    pub fn dynamic(mut self, name: &str, path: &str) -> Result<Self, Error> {
        let (name, path) = (Name::new(name)?, segments(path)?);
        if self.dynamic_path(&name).is_some() {
            return Err(malformed("names the same dynamic secret twice"));
        }
        self.dynamic.push((name, path));
        Ok(self)
    }

    /// The namespace that everything is in, the login too.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// A PEM file with the certificates that the server's is trusted by, in place of those of this machine. It is read once.
    #[must_use]
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// How current secrets are kept, in place of a minute's freshness.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    pub(super) fn dynamic_path(&self, name: &Name) -> Option<&[String]> {
        self.dynamic.iter().find(|(dynamic, _)| dynamic == name).map(|(_, path)| path.as_slice())
    }
}

/// Tokens and values travel there.
fn check(address: &Url) -> Result<(), Error> {
    let is_here = match address.host() {
        // Not what is below it: a resolver may send that elsewhere.
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let has_more = !address.username().is_empty()
        || address.password().is_some()
        || address.query().is_some()
        || address.fragment().is_some()
        || address.path() != "/";
    match address.scheme() {
        _ if has_more => Err(malformed("must be https://host:port and no more")),
        "https" => Ok(()),
        "http" if is_here => Ok(()),
        "http" => Err(malformed("needs TLS; plain http is for this machine (127.0.0.1, ::1, localhost) alone")),
        _ => Err(malformed("must be https://host:port")),
    }
}

/// A path as its segments, none of which leads elsewhere.
fn segments(path: &str) -> Result<Vec<String>, Error> {
    let segments: Vec<String> = path.trim_matches('/').split('/').map(str::to_owned).collect();
    let is_plain = |segment: &String| {
        !segment.is_empty() && !matches!(segment.as_str(), "." | "..") && !segment.contains(char::is_control)
    };
    if segments.iter().all(is_plain) {
        Ok(segments)
    } else {
        Err(malformed("holds a path with an empty segment, a dot or a control character"))
    }
}

fn decoded(segment: &str) -> Result<String, Error> {
    let text = percent_encoding::percent_decode_str(segment).decode_utf8();
    text.map(String::from).map_err(|_| malformed("holds a path that is not UTF-8 text"))
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Malformed, format!("the address of the OpenBao server {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Settings, Error> {
        Settings::from_url(&Url::parse(url).expect("a URL"), Auth::token("t"))
    }

    #[test]
    fn a_url_says_where_everything_is() {
        for (url, address, mount, path) in [
            ("openbao://bao.example.com/secret", "https://bao.example.com:8200/", "secret", ""),
            ("vault://bao.example.com:8201/secret/", "https://bao.example.com:8201/", "secret", ""),
            ("openbao://BAO:443/kv/a/b/", "https://bao/", "kv", "a b"),
            ("openbao://10.0.0.1/kv%2Fteam/a%20b", "https://10.0.0.1:8200/", "kv team", "a b"),
            ("openbao://[fd00::1]:8200/kv", "https://[fd00::1]:8200/", "kv", ""),
            ("openbao+http://127.0.0.1:8300/kv", "http://127.0.0.1:8300/", "kv", ""),
            ("vault+http://localhost/kv", "http://localhost:8200/", "kv", ""),
            ("openbao+http://[::1]/kv", "http://[::1]:8200/", "kv", ""),
        ] {
            let settings = parse(url).expect(url);
            assert_eq!(settings.address.as_str(), address, "{url}");
            assert_eq!(settings.mount.join(" "), mount, "{url}");
            assert_eq!(settings.path.join(" "), path, "{url}");
        }
    }

    #[test]
    fn the_query_says_the_rest() {
        let query = "namespace=a%2Fb&auth=kubernetes:app&dynamic=db=database/creds/app&dynamic=mq=rabbitmq/creds/x&ca=/etc/ca.pem";
        let settings = parse(&format!("openbao://bao/secret/app?{query}")).expect("good");
        let db = Name::new("db").expect("a name");
        assert_eq!(settings.namespace.as_deref(), Some("a/b"));
        assert_eq!(settings.dynamic_path(&db).expect("dynamic").join("/"), "database/creds/app");
        assert_eq!(settings.dynamic.len(), 2);
        assert_eq!(settings.ca_file, Some(PathBuf::from("/etc/ca.pem")));
        assert!(settings.dynamic_path(&Name::new("app").expect("a name")).is_none());
    }

    #[test]
    fn what_would_be_ignored_or_unsafe_is_refused_and_not_repeated() {
        for url in [
            "https://hunter2/secret",
            "openbao:///secret",
            "openbao://bao",
            "openbao://bao/",
            "openbao://bao//secret",
            "openbao://hunter2@bao/secret",
            "openbao://u:hunter2@bao/secret",
            "openbao://bao/secret#hunter2",
            "openbao://bao/secret?token=hunter2",
            "openbao://bao/secret?namespace=",
            "openbao://bao/secret?namespace=a&namespace=hunter2",
            "openbao://bao/secret?dynamic=hunter2",
            "openbao://bao/secret?dynamic=hunter2/x=database/creds/app",
            "openbao://bao/secret?dynamic=db=a/../hunter2",
            "openbao://bao/secret?dynamic=db=a&dynamic=db=hunter2",
            "openbao://bao/secret/a%2F..%2Fhunter2",
            "openbao://bao/secret/a//hunter2",
            "openbao://bao/sec%00ret/hunter2",
            "openbao://bao/secret/%FFhunter2",
            "openbao+http://bao.example.com/hunter2",
            "openbao+http://10.0.0.1/hunter2",
            "openbao+http://bao.localhost/hunter2",
            "vault+http://localhost.example.com/hunter2",
        ] {
            let error = parse(url).expect_err(url);
            assert!(!format!("{error:?}").contains("hunter2"), "{url}: {error:?}");
        }
    }

    #[test]
    fn an_address_is_tls_to_a_host_and_no_more() {
        for (address, good) in [
            ("https://bao:8200", true),
            ("https://bao.localhost:8200", true),
            ("http://127.0.0.1:8200", true),
            ("http://127.255.0.9", true),
            ("http://127.1", true),
            ("http://[::1]:8200", true),
            ("http://localhost:8200", true),
            ("http://LOCALHOST", true),
            ("http://bao:8200", false),
            ("http://bao.localhost:8200", false),
            ("http://localhost.:8200", false),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://localhost@example.com", false),
            ("http://126.0.0.1", false),
            ("http://0.0.0.0:8200", false),
            ("http://[::]", false),
            ("http://[::ffff:127.0.0.1]", false),
            ("https://bao:8200/v1", false),
            ("https://u@bao:8200", false),
            ("https://bao:8200?x", false),
            ("ftp://bao", false),
        ] {
            let made = Settings::new(Url::parse(address).expect("a URL"), "secret", Auth::token("t"));
            assert_eq!(made.is_ok(), good, "{address}");
        }
    }
}
