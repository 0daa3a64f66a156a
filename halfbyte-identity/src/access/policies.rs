use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halfbyte_core::client::Client;
use halfbyte_core::live::{Fetched, Policy, Source};
use halfbyte_core::{BoxError, Lifecycle, Live};
use url::Url;

use super::action::Action;
use super::place::{Found, Looked, Place};
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

    /// A folder: its `*.cedar` and `*.cedarschema` files, not those of folders in it. Looked at every second.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Folder(path.into()), Duration::from_secs(1))
    }

    /// A URL, https or on this machine, that answers `{"files": {"parcel.cedarschema": "...", "parcel.cedar": "..."}}`, best with
    /// an `ETag`, which is sent back as `If-None-Match`. Asked every 30 seconds.
    pub fn url(url: Url, client: Client) -> Self {
        Self::at(Place::Url(url, client), Duration::from_secs(30))
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
        Live::start("access.policies", policy, Feed { policies: self, seen: Mutex::default() }, lifecycle)
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
    fn again<T>(&self) -> Fetched<T> {
        self.refusal.clone().map_or_else(Fetched::unchanged, Fetched::refused)
    }
}

impl Source<Rules> for Feed {
    async fn fetch(&self) -> Result<Fetched<Rules>, BoxError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fetched = self.look(&mut seen).await?;
        // Only now, with nothing left to wait for: a look that was given up has not seen anything.
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(fetched)
    }
}

impl Feed {
    async fn look(&self, seen: &mut Seen) -> Result<Fetched<Rules>, BoxError> {
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
    async fn judge(&self, seen: &mut Seen, key: &Arc<str>, found: Found) -> Result<Fetched<Rules>, BoxError> {
        if seen.in_force.as_ref() == Some(key) {
            seen.refusal = None;
            tracing::info!(version = &**key, "the policies are again those in force");
            return Ok(Fetched::unchanged());
        }
        // Parsing and checking thousands of policies takes long enough to hold others up.
        let checked = tokio::task::spawn_blocking(move || check(found)).await?;
        Ok(match checked {
            Ok(rules) => {
                self.announce(&rules);
                seen.in_force = Some(key.clone());
                seen.refusal = None;
                Fetched::new(rules)
            }
            Err(invalid) => {
                let place = self.policies.place.to_string();
                let in_force = seen.in_force.as_deref().unwrap_or("none");
                tracing::error!(place, in_force, "{invalid}");
                let refusal: Arc<str> = invalid.to_string().into();
                seen.refusal = Some(refusal.clone());
                Fetched::refused(refusal)
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

fn check(found: Found) -> Result<Rules, Invalid> {
    let rules = Rules::compile(&found.map_err(Invalid)?)?;
    if rules.of_product() == 0 {
        let reason = "there is no policy: add a .cedar file that permits something, or nobody may do anything";
        return Err(Invalid(vec![Finding { file: Arc::default(), line: 0, reason: reason.into() }]));
    }
    Ok(rules)
}
