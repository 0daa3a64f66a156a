//! What this process shows to be let in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use halfbyte_core::config::Variables;
use halfbyte_core::fingerprint::{Fingerprint, register};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use url::Url;

use crate::provider::{Threads, read};
use crate::{Env, Error, ErrorKind};

/// Where Kubernetes mounts the token of the service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The largest credential in a file, in bytes.
const LARGEST: usize = 64 * 1024;

/// How a provider logs in. `Debug` shows no credential.
///
/// ```
/// use halfbyte_secrets::openbao::{Auth, Credential};
///
/// let in_a_pod = Auth::kubernetes("orders");
/// let elsewhere = Auth::app_role("59d6d1ca-47bb", Credential::file("/run/orders/secret-id")).mount("approle-eu");
/// assert!(!format!("{elsewhere:?}").contains("59d6d1ca"));
/// ```
#[derive(Clone, Debug)]
pub struct Auth {
    method: Method,
    mount: String,
}

#[derive(Clone, Debug)]
enum Method {
    Token(Credential),
    AppRole { role_id: Credential, secret_id: Credential },
    Kubernetes { role: String, jwt: Credential },
}

impl Auth {
    /// What the `auth` in the query of a URL says, for [`OpenBao::from_url`](super::OpenBao::from_url):
    ///
    /// - `auth=kubernetes:ROLE`
    /// - `auth=approle:/file/of/role-id,/file/of/secret-id`
    /// - `auth=token:/file/of/token`, or `auth=token` for the variable `BAO_TOKEN`, or `VAULT_TOKEN`, also if
    ///   [`Env::take`](crate::Env::take) took it
    ///
    /// `kubernetes@MOUNT:…` and `approle@MOUNT:…` say where the method is mounted. A credential itself is never in a URL.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`] says what to write, and repeats nothing.
    pub fn from_url(url: &Url, variables: &Variables) -> Result<Self, Error> {
        let malformed =
            |what: &str| Error::new(ErrorKind::Malformed, format!("the address of the OpenBao server {what}"));
        let mut said = url.query_pairs().filter(|(key, _)| key == "auth").map(|(_, value)| value);
        let (Some(text), None) = (said.next(), said.next()) else {
            return Err(malformed("must say once how to log in, such as ?auth=kubernetes:ROLE"));
        };
        let (method, rest) = text.split_once(':').unwrap_or((&text, ""));
        let (method, mount) = method.split_once('@').map_or((method, None), |(method, mount)| (method, Some(mount)));
        let auth = match (method, rest, mount) {
            (_, _, Some("")) => return Err(malformed("names an empty mount in its auth")),
            ("kubernetes", role, _) if !role.is_empty() => Self::kubernetes(role),
            ("approle", files, _) => match files.split_once(',') {
                Some((role_id, secret_id)) if !role_id.is_empty() && !secret_id.is_empty() => {
                    Self::app_role(Credential::file(role_id), Credential::file(secret_id))
                }
                _ => return Err(malformed("needs auth=approle:/file/of/role-id,/file/of/secret-id")),
            },
            ("token", "", None) => {
                let token = ["BAO_TOKEN", "VAULT_TOKEN"].into_iter().find_map(|name| variable(name, variables));
                let token = token.ok_or_else(|| malformed("says auth=token, and BAO_TOKEN is not set"))?;
                Self::token(str::from_utf8(token).map_err(|_| malformed("says auth=token, and the token is not text"))?)
            }
            ("token", file, None) => Self::token(Credential::file(file)),
            _ => {
                return Err(malformed(
                    "needs auth=kubernetes:ROLE, auth=approle:FILE,FILE, auth=token:FILE or auth=token",
                ));
            }
        };
        Ok(match mount {
            Some(mount) => auth.mount(mount),
            None => auth,
        })
    }

    /// By a token that somebody else made. It is renewed if it can be, and never revoked. When it has ended nothing can be read
    /// until there is another one: in the file, if it is in one, such as the sink of an agent.
    pub fn token(token: impl Into<Credential>) -> Self {
        Self { method: Method::Token(token.into().known()), mount: String::new() }
    }

    /// By AppRole, mounted at `approle` unless [said](Self::mount).
    pub fn app_role(role_id: impl Into<Credential>, secret_id: impl Into<Credential>) -> Self {
        let method = Method::AppRole { role_id: role_id.into(), secret_id: secret_id.into().known() };
        Self { method, mount: "approle".into() }
    }

    /// By the token of the pod's service account, mounted at `kubernetes` unless [said](Self::mount).
    pub fn kubernetes(role: impl Into<String>) -> Self {
        let method = Method::Kubernetes { role: role.into(), jwt: Credential::file(SERVICE_ACCOUNT) };
        Self { method, mount: "kubernetes".into() }
    }

    /// With the service account's token in another file, such as a projected volume with an audience of its own. Other methods
    /// have no such file.
    #[must_use]
    pub fn service_account(mut self, file: impl Into<PathBuf>) -> Self {
        if let Method::Kubernetes { jwt, .. } = &mut self.method {
            *jwt = Credential::file(file);
        }
        self
    }

    /// Where the method is mounted, without `auth/`. A token needs no mount.
    #[must_use]
    pub fn mount(mut self, mount: impl Into<String>) -> Self {
        self.mount = mount.into();
        self
    }

    /// What to show; files are read anew. The leak firewall knows what is secret of it for as long as the fingerprint is kept.
    pub(super) async fn proof(&self) -> Result<(Proof, Fingerprint), Error> {
        let (name, secret, fields) = match &self.method {
            Method::Token(token) => {
                let token = token.load().await?;
                let known = register(token.expose_secret().as_bytes());
                return Ok((Proof::Token(token), known));
            }
            // A role's id is no secret: it may be an ordinary word.
            Method::AppRole { role_id, secret_id } => {
                ("secret_id", secret_id, vec![("role_id", role_id.load().await?)])
            }
            Method::Kubernetes { role, jwt } => ("jwt", jwt, vec![("role", role.as_str().into())]),
        };
        let secret = secret.load().await?;
        let known = register(secret.expose_secret().as_bytes());
        let fields = fields.into_iter().chain([(name, secret)]).collect();
        let path = format!("auth/{}/login", self.mount.trim_matches('/'));
        Ok((Proof::Login(Login { path, fields }), known))
    }
}

/// What to be let in with.
pub(super) enum Proof {
    /// That needs no login.
    Token(SecretString),
    Login(Login),
}

/// One login; as JSON it is the body of the request.
pub(super) struct Login {
    pub(super) path: String,
    fields: Vec<(&'static str, SecretString)>,
}

impl Serialize for Login {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.fields.iter().map(|(key, value)| (key, value.expose_secret())))
    }
}

/// A credential that is given: as it is, or as a file that is read anew at each login. `Debug` does not show it.
#[derive(Clone)]
pub struct Credential {
    place: Place,
    /// For the leak firewall, if it is a secret and here.
    _known: Option<Arc<Fingerprint>>,
}

#[derive(Clone, Debug)]
enum Place {
    Here(SecretString),
    File(PathBuf, Threads),
}

impl Credential {
    /// What the file `path` holds, without white space around it; at most 64 KiB.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::File(path.into(), Threads::default()))
    }

    fn at(place: Place) -> Self {
        Self { place, _known: None }
    }

    /// The same, to be masked wherever it turns up.
    fn known(self) -> Self {
        let known = match &self.place {
            Place::Here(secret) => Some(Arc::new(register(secret.expose_secret().as_bytes()))),
            Place::File(..) => None,
        };
        Self { _known: known, ..self }
    }

    async fn load(&self) -> Result<SecretString, Error> {
        match &self.place {
            Place::Here(value) => Ok(value.clone()),
            Place::File(path, threads) => {
                let path = path.clone();
                threads.run(move || load(&path)).await
            }
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credential").field(&self.place).finish()
    }
}

/// What the process was started with.
fn variable<'a>(name: &str, variables: &'a Variables) -> Option<&'a [u8]> {
    Env::taken(name).or_else(|| variables.get(name).map(str::as_bytes))
}

fn load(path: &Path) -> Result<SecretString, Error> {
    let bytes: Zeroizing<Vec<u8>> = read(path, LARGEST)?.bytes;
    match str::from_utf8(&bytes).map(str::trim) {
        Ok("") | Err(_) => {
            let what = format!("{} is empty or not text, and should hold what to log in with", path.display());
            Err(Error::new(ErrorKind::Malformed, what))
        }
        Ok(text) => Ok(text.into()),
    }
}

impl From<SecretString> for Credential {
    fn from(value: SecretString) -> Self {
        Self::at(Place::Here(value))
    }
}

impl From<&str> for Credential {
    fn from(value: &str) -> Self {
        Self::at(Place::Here(value.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Path and body of a login.
    async fn login(auth: &Auth) -> (String, String) {
        let Ok((Proof::Login(login), _known)) = auth.proof().await else { panic!("no login") };
        (serde_json::to_string(&login).expect("JSON"), login.path)
    }

    #[tokio::test]
    async fn each_method_shows_its_own_proof_at_its_own_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("jwt");
        std::fs::write(&file, "ey.one\n").expect("written");
        let (body, path) = login(&Auth::app_role("r", "s")).await;
        assert_eq!((body.as_str(), path.as_str()), (r#"{"role_id":"r","secret_id":"s"}"#, "auth/approle/login"));
        let pod = Auth::kubernetes("app").service_account(&file).mount("k8s/eu/");
        let (body, path) = login(&pod).await;
        assert_eq!((body.as_str(), path.as_str()), (r#"{"role":"app","jwt":"ey.one"}"#, "auth/k8s/eu/login"));

        std::fs::write(&file, "ey.two").expect("written");
        assert!(login(&pod).await.0.contains("ey.two"), "the file is read anew");
        let (token, _known) = Auth::token(Credential::file(&file)).proof().await.expect("a proof");
        assert!(matches!(token, Proof::Token(token) if token.expose_secret() == "ey.two"));
    }

    fn said(auth: &str, variables: &[(&str, &str)]) -> Result<Auth, Error> {
        let config = halfbyte_core::config::Config::parse(variables.iter().copied()).expect("a configuration");
        let url = format!("openbao://bao/secret?namespace=a{auth}");
        Auth::from_url(&Url::parse(&url).expect("a URL"), &config.other)
    }

    #[tokio::test]
    async fn a_url_says_the_method_its_mount_and_its_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| {
            std::fs::write(folder.path().join(name), name).expect("written");
            folder.path().join(name).display().to_string()
        };
        let (one, two) = (file("one"), file("two"));
        let app_role = said(&format!("&auth=approle@eu:{one},{two}"), &[]).expect("good");
        let expected = (r#"{"role_id":"one","secret_id":"two"}"#.to_owned(), "auth/eu/login".to_owned());
        assert_eq!(login(&app_role).await, expected);
        let pod = said("&auth=kubernetes:app", &[]).expect("good").service_account(&one);
        let expected = (r#"{"role":"app","jwt":"one"}"#.to_owned(), "auth/kubernetes/login".to_owned());
        assert_eq!(login(&pod).await, expected);
        for (auth, variables, token) in [
            (format!("&auth=token:{one}"), &[][..], "one"),
            ("&auth=token".into(), &[("BAO_TOKEN", "b"), ("VAULT_TOKEN", "v")], "b"),
            ("&auth=token".into(), &[("VAULT_TOKEN", "v")], "v"),
        ] {
            let (proof, _known) = said(&auth, variables).expect("good").proof().await.expect("a proof");
            assert!(matches!(proof, Proof::Token(proof) if proof.expose_secret() == token), "{auth}");
        }
    }

    #[test]
    fn a_url_that_does_not_say_how_to_log_in_is_refused_and_not_repeated() {
        for auth in [
            "",
            "&auth=",
            "&auth=token",
            "&auth=token@hunter2:x",
            "&auth=kubernetes:",
            "&auth=kubernetes@:hunter2",
            "&auth=approle:hunter2",
            "&auth=approle:hunter2,",
            "&auth=userpass:hunter2",
            "&auth=kubernetes:a&auth=kubernetes:hunter2",
        ] {
            let error = said(auth, &[]).expect_err(auth);
            assert!(error.is_malformed() && !format!("{error:?}").contains("hunter2"), "{auth}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_holds_nothing_is_named_and_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("id");
        for (content, kind) in [(&b" \n"[..], ErrorKind::Malformed), (b"\xffhunter2", ErrorKind::Malformed)] {
            std::fs::write(&file, content).expect("written");
            let error = Credential::file(&file).load().await.expect_err("unusable");
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains("/id is") && !format!("{error:?}").contains("hunter2"), "{error}");
        }
        let missing = Credential::file(folder.path().join("none")).load().await.expect_err("missing");
        assert!(missing.is_not_found() && missing.to_string().contains("/none"));
    }

    #[test]
    fn no_method_shows_what_it_was_given() {
        for auth in [Auth::token("hunter2"), Auth::app_role("hunter2", "hunter2")] {
            assert!(!format!("{auth:?}").contains("hunter2"));
        }
    }
}
