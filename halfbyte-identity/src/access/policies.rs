use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halfbyte_core::client::Client;
use halfbyte_core::live::{Fetched, Policy, Source};
use halfbyte_core::{BoxError, Lifecycle, Live};
use secrecy::SecretString;
use url::Url;

use super::action::Action;
use super::checking::Checking;
use super::place::{Found, Looked, Place};
use super::remote::Remote;
use super::rules::{Rules, version};
use super::source::{Finding, Invalid, SourceFile};

/// How long a folder has to stay the same before it is believed for the first time.
const AT_REST: Duration = Duration::from_millis(50);

/// The longest wait between two attempts at policies that cannot be read.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Where the policies of a product come from.
///
/// ```no_run
/// # use halfbyte_core::{Clock, Lifecycle, Live};
/// use halfbyte_identity::access::{Access, Policies, Rules, SourceFile};
///
/// # fn example(lifecycle: &Lifecycle) {
/// // In the program itself: `include_str!("../policies/parcel.cedar")`.
/// # const SCHEMA: &str = "";
/// # const POLICIES: &str = "";
/// let built_in = [SourceFile::new("parcel.cedarschema", SCHEMA), SourceFile::new("parcel.cedar", POLICIES)];
/// let rules: Live<Rules> = Policies::files(built_in).start(lifecycle);
/// // Or in a folder that is looked at every second.
/// let rules = Policies::folder("/etc/parcel/policies").start(lifecycle);
/// let access = Access::new(rules, ());
/// # }
/// ```
///
/// # What it guarantees
///
/// - A set is put in force whole, schema and policies together, or not at all. A set that does not parse, does not fit its
///   schema, is over the [`Bounds`] or has no policy is refused: the log says so once at level error, with file, line and
///   reason, and the status and readiness show it for as long as it is there.
/// - The last good set stays in force as long as the process runs, however long the place it came from is away, unless
///   [`max_stale`](Self::max_stale) says otherwise. It is not held against a set that a newer one was refused.
/// - Without a good set since the start nothing is allowed: requests are answered `unavailable`, and the process is not ready.
/// - A folder that changes is believed once two looks in a row have found the same. So a set of many files is best put in
///   place at once (a link moved to a new folder, as Kubernetes does), or else within one interval.
#[derive(Clone)]
pub struct Policies {
    place: Place,
    every: Duration,
    max_stale: Duration,
    bounds: Bounds,
    actions: Option<&'static [Action]>,
}

/// How much is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Files. Default 256.
    pub files: usize,
    /// Bytes of all files. Default 8 MiB. The limit of a [client](halfbyte_core::client::Limits::max_body) is 1 MiB, unless it is
    /// made with another.
    pub bytes: usize,
    /// Policies of all files. Default 20,000.
    pub policies: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { files: 256, bytes: 8 << 20, policies: 20_000 }
    }
}

impl Policies {
    /// Files that are part of the program. They never change.
    pub fn files(files: impl IntoIterator<Item = SourceFile>) -> Self {
        Self::at(Place::Files(files.into_iter().collect()), Duration::MAX)
    }

    /// A folder: its `*.cedar` and `*.cedarschema` files, in which the links of a Kubernetes `ConfigMap` may lead. What is hidden is
    /// left out, as are other files; a folder in it, a pipe, a link that leads out of it or anything else that is no file refuses the
    /// set, since what is in there would not be in force. Looked at every second.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Folder(path.into()), Duration::from_secs(1))
    }

    /// A URL, https or on this machine (`localhost` or a loopback address), that answers
    /// `{"files": {"parcel.cedarschema": "...", "parcel.cedar": "..."}}` as `application/json` and not compressed, best with an
    /// `ETag`, which is sent back as `If-None-Match`. Asked every 30 seconds. A user name, a password and the query of the URL are
    /// never shown; a [token](Self::bearer) is better than any of them.
    pub fn url(url: Url, client: Client) -> Self {
        Self::at(Place::Url(Remote { url, client, token: None }), Duration::from_secs(30))
    }

    /// Asks the URL with a bearer token. `token` is asked at each look, so that a rotated one is used from then on; it is sent to
    /// that URL alone, as no redirect is followed. Files and folders need none.
    #[must_use]
    pub fn bearer(mut self, token: impl Fn() -> Result<SecretString, BoxError> + Send + Sync + 'static) -> Self {
        if let Place::Url(remote) = &mut self.place {
            remote.token = Some(Arc::new(token));
        }
        self
    }

    fn at(place: Place, every: Duration) -> Self {
        Self { place, every, max_stale: Duration::MAX, bounds: Bounds::default(), actions: None }
    }

    /// How often the place is looked at: after this time, or up to twice it.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.every = interval;
        self
    }

    /// How long the last good set stays in force when the place it came from cannot be read. Without end unless this says
    /// otherwise: a product that denies everything because a server of policies is away is no safer for it.
    #[must_use]
    pub fn max_stale(mut self, max_stale: Duration) -> Self {
        self.max_stale = max_stale;
        self
    }

    /// How much is taken at most.
    #[must_use]
    pub fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// All actions that the product asks for. What of them does not go with a set that is put in force is
    /// [logged](Rules::check_actions) at level warn.
    #[must_use]
    pub fn actions(mut self, actions: &'static [Action]) -> Self {
        self.actions = Some(actions);
        self
    }

    /// Begins to read; the first set is in force as soon as it was read and checked.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn start(self, lifecycle: &Lifecycle) -> Live<Rules> {
        let policy = Policy {
            fresh_for: self.every.saturating_mul(2),
            jitter: 0.5,
            max_stale: self.max_stale,
            backoff: self.every.min(Duration::from_secs(1)),
            max_backoff: self.every.min(LONGEST_WAIT),
            // A large set takes a while to check.
            fetch_timeout: Duration::from_secs(60),
            ..Policy::default()
        };
        Live::start("access.policies", policy, Feed::new(self), lifecycle)
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies")
            .field("place", &format_args!("{}", self.place))
            .field("every", &self.every)
            .field("max_stale", &self.max_stale)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// Reads the place again and again.
struct Feed {
    policies: Policies,
    seen: Mutex<Seen>,
    checking: Checking<Result<Rules, Invalid>>,
}

/// What earlier looks found. Sets are told apart by their [keys](key).
#[derive(Clone, Default)]
struct Seen {
    in_force: Option<Arc<str>>,
    /// The one that was checked last, and why it was refused if it was.
    judged: Option<Arc<str>>,
    refusal: Option<Arc<str>>,
    /// The one that was there at the last look.
    last: Option<Arc<str>>,
    /// What the place calls the one that was checked last.
    tag: Option<String>,
}

impl Seen {
    /// Nothing new: what was refused still is.
    fn again(&self) -> Outcome {
        self.refusal.clone().map_or(Outcome::Same, Outcome::Refused)
    }
}

/// What came of a look.
#[derive(Debug)]
enum Outcome {
    /// What is in force is what is there.
    Same,
    New(Box<Rules>),
    /// What is there is not put in force, and why.
    Refused(Arc<str>),
}

impl Source<Rules> for Feed {
    async fn fetch(&self) -> Result<Fetched<Rules>, BoxError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let outcome = self.look(&mut seen).await?;
        // Only now, with nothing left to wait for: a look that was given up has not seen anything.
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(match outcome {
            Outcome::Same => Fetched::unchanged(),
            Outcome::New(rules) => Fetched::new(*rules),
            Outcome::Refused(reason) => Fetched::refused(reason),
        })
    }
}

impl Feed {
    fn new(policies: Policies) -> Self {
        Self { policies, seen: Mutex::default(), checking: Checking::default() }
    }

    async fn look(&self, seen: &mut Seen) -> Result<Outcome, BoxError> {
        let (found, tag) = match self.policies.place.look(seen.tag.as_deref(), &self.policies.bounds).await? {
            Looked::Same => return Ok(seen.again()),
            Looked::Found { found, tag } => (found, tag),
        };
        let key = key(&found);
        let was_there = seen.last.replace(key.clone()).is_some_and(|last| last == key);
        if seen.judged.as_ref() == Some(&key) {
            seen.tag = tag;
            return Ok(seen.again());
        }
        if self.policies.place.is_written_in_place() && !was_there {
            if seen.judged.is_some() {
                return Ok(seen.again());
            }
            self.require_rest(&key).await?;
        }
        let outcome = self.judge(seen, &key, found).await?;
        seen.tag = tag;
        seen.judged = Some(key);
        Ok(outcome)
    }

    /// At the start there is nothing else to go by, and a look a moment later has to do.
    async fn require_rest(&self, before: &Arc<str>) -> Result<(), BoxError> {
        tokio::time::sleep(AT_REST).await;
        match self.policies.place.look(None, &self.policies.bounds).await? {
            Looked::Found { found, .. } if key(&found) == *before => Ok(()),
            _ => Err(format!("{}: the policies are being changed", self.policies.place).into()),
        }
    }

    /// Puts it in force, or refuses it.
    async fn judge(&self, seen: &mut Seen, key: &Arc<str>, found: Found) -> Result<Outcome, BoxError> {
        if seen.in_force.as_ref() == Some(key) {
            seen.refusal = None;
            tracing::info!(version = &**key, "the policies are again those in force");
            return Ok(Outcome::Same);
        }
        // Parsing and checking thousands of policies takes long enough to hold others up.
        let checked = self.checking.result(key, move || check(found)).await?;
        Ok(match checked {
            Ok(rules) => {
                self.announce(&rules);
                seen.in_force = Some(key.clone());
                seen.refusal = None;
                Outcome::New(Box::new(rules))
            }
            Err(invalid) => {
                let place = self.policies.place.to_string();
                let in_force = seen.in_force.as_deref().unwrap_or("none");
                tracing::error!(place, in_force, "{invalid}");
                let refusal: Arc<str> = invalid.to_string().into();
                seen.refusal = Some(refusal.clone());
                Outcome::Refused(refusal)
            }
        })
    }

    fn announce(&self, rules: &Rules) {
        let (version, place) = (&**rules.version(), self.policies.place.to_string());
        tracing::info!(version, place, policies = rules.len(), "the policies are put in force");
        let unmatched = self.policies.actions.map_or_else(Vec::new, |actions| rules.check_actions(actions));
        for finding in rules.warnings().iter().chain(&unmatched) {
            tracing::warn!(version, "{finding}");
        }
    }
}

/// Tells what was found from anything else that may be found: a set's version, or all that is wrong with it.
fn key(found: &Found) -> Arc<str> {
    match found {
        Ok(files) => version(files),
        Err(findings) => Invalid(findings.clone()).to_string().into(),
    }
}

pub(super) fn check(found: Found) -> Result<Rules, Invalid> {
    let rules = Rules::compile(&found.map_err(Invalid)?)?;
    if rules.of_product() == 0 {
        let reason = "there is no policy: add a .cedar file that permits something, or nobody may do anything";
        return Err(Invalid(vec![Finding { file: Arc::default(), line: 0, reason: reason.into() }]));
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What looks at a folder, and what it has seen.
    struct Looker(Feed, Seen);

    impl Looker {
        fn at(folder: &Path) -> Self {
            Self(Feed::new(Policies::folder(folder)), Seen::default())
        }

        async fn look(&mut self) -> String {
            match self.0.look(&mut self.1).await {
                Ok(Outcome::Same) => "same".to_owned(),
                Ok(Outcome::New(rules)) => format!("new: {}", rules.of_product()),
                Ok(Outcome::Refused(reason)) => format!("refused: {reason}"),
                Err(error) => format!("error: {error}"),
            }
        }
    }

    const PERMIT: &str = "permit (principal, action, resource);";
    const FORBID: &str = "forbid (principal, action, resource) when { principal.tenant.suspended };";

    fn write(folder: &Path, text: &str) {
        fs::write(folder.join("p.cedar"), text).expect("written");
    }

    #[tokio::test]
    async fn what_is_half_written_is_not_put_in_force() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut looker = Looker::at(folder.path());
        write(folder.path(), &[PERMIT, FORBID].concat());
        assert_eq!(looker.look().await, "new: 2");
        // Half of the new set is a whole set, and permits more than either.
        write(folder.path(), PERMIT);
        assert_eq!(looker.look().await, "same");
        write(folder.path(), &[PERMIT, FORBID, FORBID].concat());
        assert_eq!(looker.look().await, "same");
        assert_eq!(looker.look().await, "new: 3");
        assert_eq!(looker.look().await, "same");
    }

    #[tokio::test]
    async fn a_change_that_is_taken_back_before_it_was_believed_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut looker = Looker::at(folder.path());
        write(folder.path(), PERMIT);
        assert_eq!(looker.look().await, "new: 1");
        for _ in 0..3 {
            write(folder.path(), FORBID);
            assert_eq!(looker.look().await, "same");
            write(folder.path(), PERMIT);
            assert_eq!(looker.look().await, "same");
        }
    }

    #[tokio::test]
    async fn a_refused_set_is_refused_until_another_one_is_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut looker = Looker::at(folder.path());
        write(folder.path(), PERMIT);
        assert_eq!(looker.look().await, "new: 1");
        write(folder.path(), "permit(");
        assert_eq!(looker.look().await, "same");
        for _ in 0..3 {
            assert!(looker.look().await.starts_with("refused: "));
        }
        write(folder.path(), PERMIT);
        assert!(looker.look().await.starts_with("refused: "), "not believed yet");
        assert_eq!(looker.look().await, "same", "what is in force");
        assert_eq!(looker.look().await, "same");
    }

    #[tokio::test]
    async fn a_look_that_was_given_up_while_a_set_is_checked_leaves_its_result_to_the_next_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut looker = Looker::at(folder.path());
        write(folder.path(), PERMIT);
        let found = [SourceFile::new("p.cedar", PERMIT)];
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let slow = move || {
            let _go = gone.recv();
            Err(Invalid(vec![Finding { file: "p.cedar".into(), line: 0, reason: "of the first check".into() }]))
        };
        let key = key(&Ok(found.to_vec()));
        tokio::select! { biased;
            _ = looker.0.checking.result(&key, slow) => unreachable!("it waits"),
            () = std::future::ready(()) => {}
        }
        go.send(()).expect("it waits");
        let looked = looker.look().await;
        assert!(looked.starts_with("refused: ") && looked.contains("of the first check"), "{looked}");
        assert_eq!(looker.look().await, looked, "it is not checked again");
    }

    #[tokio::test]
    async fn a_folder_that_is_written_to_at_the_start_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut looker = Looker::at(folder.path());
        write(folder.path(), PERMIT);
        let writing = async {
            for count in 1.. {
                // Moved into place: each look finds a whole set, and another one.
                let draft = folder.path().join("draft");
                fs::write(&draft, PERMIT.repeat(count)).expect("written");
                fs::rename(draft, folder.path().join("p.cedar")).expect("moved");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let looked = tokio::select! { looked = looker.look() => looked, () = writing => unreachable!("it goes on") };
        assert!(looked.starts_with("error: ") && looked.ends_with(": the policies are being changed"), "{looked}");
        assert!(looker.look().await.starts_with("new: "));
    }
}
