//! `cargo xtask backends up | down | list`: the real servers that the tests run against.
//!
//! A server is one [`Backend`] in a file of its own and one line in [`ALL`].

mod http;
pub mod install;
mod moto;
mod nats;
mod oidc_provider;
mod openbao;
pub mod ports;
mod postgres;
pub mod process;
pub mod ready;
mod record;
mod rotel;
mod session;
pub mod watchdog;

use std::path::Path;
use std::process::Command;

use clap::Subcommand;

use self::install::Package;
use self::ready::Ready;
use self::record::Record;
pub use self::session::Session;
use crate::cargo::Workspace;
use crate::error::{Error, Result};
use crate::table;

/// Every server there is, in the order in which they start.
pub const ALL: &[Backend] =
    &[moto::BACKEND, nats::BACKEND, oidc_provider::BACKEND, openbao::BACKEND, postgres::BACKEND, rotel::BACKEND];

/// A real server: where it comes from and how it starts.
pub struct Backend {
    pub name: &'static str,
    /// What it stands for in the tests.
    role: &'static str,
    package: Package,
    /// Makes ready one start of what is installed in the directory.
    launch: fn(&Path) -> Result<Launch>,
}

/// One start of a backend.
struct Launch {
    command: Command,
    ready: Ready,
    /// What tests are told of it.
    env: Env,
    /// What it needs once it is ready, before tests may use it; tells what tests are told besides.
    set_up: Option<SetUp>,
}

type Env = Vec<(&'static str, String)>;
type SetUp = Box<dyn FnOnce() -> Result<Env>>;

#[derive(Subcommand)]
pub enum Chore {
    /// Install what is missing, start, and leave running
    Up {
        /// Only these; all when left out
        names: Vec<String>,
    },
    /// Stop what `up` started
    Down,
    /// Show what is installed and what runs
    List,
}

/// Does the chore.
pub fn run(workspace: &Workspace, chore: &Chore) -> Result {
    let dir = workspace.backends_dir();
    match chore {
        Chore::Up { names } => up(&dir, &chosen(names)?),
        Chore::Down => down(&dir),
        Chore::List => list(&dir),
    }
}

/// Installs each backend that is not installed in its pinned version yet.
pub fn install(dir: &Path) -> Result {
    ALL.iter().try_for_each(|backend| backend.package.install(dir, backend.name))
}

/// Starts these for a run of benches, installed first where they are not.
pub fn start_for_benches(dir: &Path, names: &[&str]) -> Result<Session> {
    start(Session::for_benches(dir), dir, names)
}

/// Starts these for a run of tests, installed first where they are not.
pub fn start_for_tests(dir: &Path, names: &[&str]) -> Result<Session> {
    start(Session::for_tests(dir), dir, names)
}

fn start(mut session: Session, dir: &Path, names: &[&str]) -> Result<Session> {
    for backend in ALL.iter().filter(|backend| names.contains(&backend.name)) {
        backend.package.install(dir, backend.name)?;
        session.start(backend)?;
    }
    Ok(session)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Backend>> {
    if let Some(unknown) = names.iter().find(|name| ALL.iter().all(|backend| backend.name != **name)) {
        let known: Vec<&str> = ALL.iter().map(|backend| backend.name).collect();
        return Err(Error::new(format!("no backend is called {unknown}; there are: {}", known.join(", "))));
    }
    Ok(ALL.iter().filter(|backend| names.is_empty() || names.iter().any(|name| name == backend.name)).collect())
}

fn up(dir: &Path, chosen: &[&'static Backend]) -> Result {
    let mut session = Session::resume(dir)?;
    for backend in chosen {
        if session.find(backend.name).is_none() {
            backend.package.install(dir, backend.name)?;
            session.start(backend)?;
        }
    }
    let env = session.env();
    session.leave_running();
    print_env(&env);
    Ok(())
}

fn down(dir: &Path) -> Result {
    let record = Record::load(&Session::record_path(dir))?;
    for running in &record.running {
        running.process.stop(&running.name)?;
        println!("stopped {}", running.name);
    }
    if record.running.is_empty() {
        println!("nothing runs that `cargo xtask backends up` started");
    }
    record.delete()
}

fn list(dir: &Path) -> Result {
    let session = Session::resume(dir)?;
    let rows: Vec<[String; 6]> = ALL
        .iter()
        .map(|backend| {
            let running = session.find(backend.name);
            [
                backend.name.to_owned(),
                backend.package.version(),
                backend.role.to_owned(),
                if backend.package.is_installed(dir, backend.name) { "yes" } else { "no" }.to_owned(),
                running.map_or_else(|| "-".to_owned(), |running| running.process.id().to_string()),
                running.map_or_else(|| "-".to_owned(), |running| running.log.display().to_string()),
            ]
        })
        .collect();
    print!("{}", table::render(["backend", "version", "role", "installed", "pid", "log"], &rows));
    print_env(&session.env());
    Ok(())
}

fn print_env(env: &[(String, String)]) {
    if !env.is_empty() {
        println!("\nTo paste before a test that needs them (`cargo xtask backends down` stops them):\n");
        env.iter().for_each(|(key, value)| println!("export {key}={value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_backend_is_refused_with_the_known_ones() {
        let error = chosen(&["rotle".to_owned()]).err().expect("there is no such backend");
        assert_eq!(
            error.to_string(),
            "no backend is called rotle; there are: moto, nats, oidc-provider, openbao, postgres, rotel"
        );
    }

    #[test]
    fn each_name_is_taken_once() {
        for backend in ALL {
            assert_eq!(ALL.iter().filter(|other| other.name == backend.name).count(), 1, "{}", backend.name);
        }
    }
}
