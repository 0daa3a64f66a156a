//! The steps of a test run, one function each.

use super::{alone, deploy, fuzz};
use crate::backends::watchdog::Watchdog;
use crate::backends::{self, Session};
use crate::bench;
use crate::cargo::Workspace;
use crate::error::{Error, Result};
use crate::invocation::Invocation;
use crate::new::trial;
use crate::{rules, soak, tools};

/// One step of a test run.
pub struct Step {
    pub name: &'static str,
    pub what: &'static str,
    pub run: fn(&mut Run<'_>) -> Result,
}

/// The step that also comes after one that failed.
pub const STOP: &str = "stop";

/// All steps, in their order: what fails fast comes first, what needs the servers sits between their start and stop.
pub const STEPS: &[Step] = &[
    Step { name: "prerequisites", what: "the tools that the others call", run: |_| tools::require(tools::ALL) },
    Step { name: "install", what: "the real servers, in their pinned versions", run: |run| run.install() },
    Step { name: "fmt", what: "the source is formatted", run: |run| run.cargo("fmt --all --check") },
    Step { name: "clippy", what: "no warnings", run: |run| run.clippy() },
    Step { name: "start", what: "the real servers, on free ports", run: |run| run.session().map(drop) },
    Step { name: "tests", what: "all tests and doctests", run: |run| run.cargo("test --workspace --all-features") },
    Step { name: "backend-tests", what: "tests against the real servers", run: |run| run.backend_tests() },
    Step { name: "deploy", what: "what is rendered is taken", run: |run| deploy::run(run.workspace) },
    Step {
        name: "faults",
        what: "both products under load while a system is away, slow or talks nonsense",
        run: |run| run.faults(),
    },
    Step { name: "doc", what: "the documentation builds without warnings", run: |run| run.doc() },
    Step { name: "alone", what: "each crate by itself", run: |run| alone::run(run.workspace) },
    Step { name: "new", what: "a new product builds and runs", run: |run| trial::run(run.workspace) },
    Step { name: "fuzz", what: "no input breaks what reads untrusted bytes", run: |run| fuzz::run(run.workspace) },
    Step { name: "benches", what: "the benches compile", run: |run| run.benches() },
    Step {
        name: "tour",
        what: "billing, telemetry, secrets and policies alone, and the platform, end to end",
        run: |run| run.tour(),
    },
    Step { name: "rules", what: "the rules of this repository", run: |run| rules::check(&run.workspace.root) },
    Step { name: STOP, what: "the real servers", run: |run| run.stop() },
];

/// What the steps of one run share.
pub struct Run<'a> {
    pub workspace: &'a Workspace,
    session: Option<Session>,
    /// After the session, so that it is dropped once the session has stopped its backends itself.
    _watchdog: Watchdog,
}

impl<'a> Run<'a> {
    pub fn new(workspace: &'a Workspace) -> Result<Self> {
        // Started first: a later step may build this program anew and take its file away.
        let watchdog = Watchdog::start(&Session::run_record_path(&workspace.backends_dir()))?;
        Ok(Self { workspace, session: None, _watchdog: watchdog })
    }

    fn cargo(&self, args: &str) -> Result {
        Invocation::cargo(args).run(&self.workspace.root)
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
            .run(&self.workspace.root)
    }

    fn benches(&self) -> Result {
        Invocation::cargo("check --benches").args(["-p", bench::PACKAGE]).run(&self.workspace.root)
    }

    fn tour(&mut self) -> Result {
        self.cargo("run --example billing")?;
        self.cargo("run --example observe")?;
        self.cargo("run --example secrets")?;
        self.cargo("run --example explain")?;
        let root = &self.workspace.root;
        let session = self.session()?;
        // It rotates a password in a real database, which it leaves out where there is none.
        told_of(session, Invocation::cargo("run --example tour --features conformance -- --with-postgres")).run(root)
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
        let root = &self.workspace.root;
        let session = self.session()?;
        // All of the workspace, as for the other tests: with the same features, nothing is built twice.
        let test = Invocation::cargo("test --workspace --all-features --test backends");
        told_of(session, test).run(root).map_err(|error| {
            print!("{}", session.log_tails());
            Error::new(format!("{error}\n  (`cargo xtask backends up` starts servers to try it by hand)"))
        })
    }

    fn faults(&mut self) -> Result {
        let program = soak::program(self.workspace)?;
        let root = &self.workspace.root;
        let session = self.session()?;
        told_of(session, program).run(root)
    }

    fn stop(&mut self) -> Result {
        self.session.take().map_or(Ok(()), |mut session| session.stop())
    }
}

/// The same, with the variables that say where the servers are.
fn told_of(session: &Session, command: Invocation) -> Invocation {
    session.env().iter().fold(command, |command, (key, value)| command.env(key, value))
}
