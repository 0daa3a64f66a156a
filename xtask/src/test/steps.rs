//! The steps of a test run, one function each.

use std::time::Duration;

use super::{alone, deploy, fuzz};
use crate::backends::watchdog::Watchdog;
use crate::backends::{self, Session};
use crate::bench;
use crate::cargo::Workspace;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::invocation::Invocation;
use crate::new::trial;
use crate::{rules, soak, tools};

/// One step of a test run.
pub struct Step {
    pub name: &'static str,
    pub what: &'static str,
    /// Many times what it takes on a slow machine: who reaches it hangs.
    pub limit: Duration,
    pub run: fn(&mut Run<'_>) -> Result,
}

/// The step that also comes after one that failed.
pub const STOP: &str = "stop";

/// For a step that builds and looks.
const USUAL: Duration = Duration::from_secs(15 * 60);
/// For one that builds everything or runs what takes its time.
const LONG: Duration = Duration::from_secs(30 * 60);
/// For one that builds each crate in each way.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// All steps, in their order: what fails fast comes first, what needs the servers sits between their start and stop.
pub const STEPS: &[Step] = &[
    step("prerequisites", "the tools that the others call", USUAL, |_| tools::require(tools::ALL)),
    step("install", "the real servers, in their pinned versions", USUAL, |run| run.install()),
    step("fmt", "the source is formatted", USUAL, |run| run.cargo("fmt --all --check")),
    step("clippy", "no warnings", LONG, |run| run.clippy()),
    step("start", "the real servers, on free ports", USUAL, |run| run.session().map(drop)),
    step("tests", "all tests and doctests", LONG, |run| run.cargo("test --workspace --all-features")),
    step("backend-tests", "tests against the real servers", LONG, |run| run.backend_tests()),
    step("deploy", "what is rendered is taken", USUAL, |run| deploy::run(run.workspace, run.by)),
    step("faults", "both products under load while a system is away, slow or talks nonsense", LONG, |run| run.faults()),
    step("doc", "the documentation builds without warnings", USUAL, |run| run.doc()),
    step("alone", "each crate by itself", LONGEST, |run| alone::run(run.workspace, run.by)),
    step("new", "a new product builds and runs", LONG, |run| trial::run(run.workspace, run.by)),
    step("fuzz", "no input breaks what reads untrusted bytes", LONG, |run| fuzz::run(run.workspace, run.by)),
    step("benches", "the benches compile", USUAL, |run| run.benches()),
    step("tour", "billing, telemetry, secrets and policies alone, and the platform, end to end", LONG, |run| {
        run.tour()
    }),
    step("rules", "the rules of this repository", USUAL, |run| rules::check(&run.workspace.root)),
    step(STOP, "the real servers", USUAL, |run| run.stop()),
];

const fn step(name: &'static str, what: &'static str, limit: Duration, run: fn(&mut Run<'_>) -> Result) -> Step {
    Step { name, what, limit, run }
}

/// What the steps of one run share.
pub struct Run<'a> {
    pub workspace: &'a Workspace,
    /// Until when the commands of this step must have ended.
    pub by: Deadline,
    session: Option<Session>,
    /// After the session, so that it is dropped once the session has stopped its backends itself.
    _watchdog: Watchdog,
}

impl<'a> Run<'a> {
    pub fn new(workspace: &'a Workspace) -> Result<Self> {
        // Started first: a later step may build this program anew and take its file away.
        let watchdog = Watchdog::start(&Session::run_record_path(&workspace.backends_dir()))?;
        Ok(Self { workspace, by: Deadline::within(USUAL), session: None, _watchdog: watchdog })
    }

    fn cargo(&self, args: &str) -> Result {
        Invocation::cargo(args).run(&self.workspace.root, self.by)
    }

    fn install(&self) -> Result {
        backends::install(&self.workspace.backends_dir())
    }

    fn clippy(&self) -> Result {
        self.cargo("clippy --workspace --all-targets --all-features -- -D warnings")
    }

    fn doc(&self) -> Result {
        Invocation::cargo("doc --workspace --no-deps --all-features")
            .env("RUSTDOCFLAGS", "-D warnings")
            .run(&self.workspace.root, self.by)
    }

    fn benches(&self) -> Result {
        Invocation::cargo("check --benches").args(["-p", bench::PACKAGE]).run(&self.workspace.root, self.by)
    }

    fn tour(&mut self) -> Result {
        self.cargo("run --example billing")?;
        self.cargo("run --example observe")?;
        self.cargo("run --example secrets")?;
        self.cargo("run --example explain")?;
        let (root, by) = (&self.workspace.root, self.by);
        let session = self.session()?;
        // It rotates a password in a real database, which it leaves out where there is none.
        told_of(session, Invocation::cargo("run --example tour --features conformance -- --with-postgres"))
            .run(root, by)
    }

    /// The servers, started unless they run already, so that `--only backend-tests` works too.
    fn session(&mut self) -> Result<&Session> {
        if self.session.is_none() {
            self.install()?;
            let mut session = Session::for_tests(&self.workspace.backends_dir());
            backends::ALL.iter().try_for_each(|backend| session.start(backend))?;
            self.session = Some(session);
        }
        self.session.as_ref().ok_or_else(|| Error::new("the servers do not run"))
    }

    fn backend_tests(&mut self) -> Result {
        let (root, by) = (&self.workspace.root, self.by);
        let session = self.session()?;
        // All of the workspace, as for the other tests: with the same features, nothing is built twice.
        let test = Invocation::cargo("test --workspace --all-features --test backends");
        told_of(session, test).run(root, by).map_err(|error| {
            print!("{}", session.log_tails());
            Error::new(format!("{error}\n  (`cargo xtask backends up` starts servers to try it by hand)"))
        })
    }

    fn faults(&mut self) -> Result {
        let program = soak::program(self.workspace, self.by)?;
        let (root, by) = (&self.workspace.root, self.by);
        let session = self.session()?;
        told_of(session, program).run(root, by)
    }

    fn stop(&mut self) -> Result {
        self.session.take().map_or(Ok(()), |mut session| session.stop())
    }
}

/// The same, with the variables that say where the servers are.
fn told_of(session: &Session, command: Invocation) -> Invocation {
    session.env().iter().fold(command, |command, (key, value)| command.env(key, value))
}
