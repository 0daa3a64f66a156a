//! A short tour: a file, a handle, a rotation, a rejection, an end, and a start without the backend. Exits with 1 if anything goes
//! otherwise than it says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use halfbyte::core::home::Home;
use halfbyte::core::{Clock, Lifecycle, error_chain};
use halfbyte::secrets::{
    Ask, BootSnapshot, Error, ErrorKind, ExposeSecret as _, Local, Policy, Provider, Reading, Secret, Secrets, Stage,
};

use crate::Outcome;

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
pub async fn run() -> Outcome {
    let folder = tempfile::tempdir()?;
    let home = Home::open(folder.path().join("home"))?;
    let local = Local::open(&home)?;
    println!("All of this is in {} and gone in a moment.", folder.path().display());

    file(&local, &home)?;
    let secrets = Secrets::new(local.clone(), &Lifecycle::new(Clock::system()));
    let password = secrets.get::<String>("db-password");
    handle(&secrets, &password).await?;
    rotation(&local, &password).await?;
    rejection().await?;
    outage(&home).await?;
    println!("\nAll of it went as it should. Try: cargo run --example secrets -- set db-password");
    Ok(())
}

fn title(text: &str) {
    println!("\n{text}\n{}", "-".repeat(text.len()));
}

fn check(holds: bool, otherwise: &str) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn file(local: &Local, home: &Home) -> Outcome {
    title("A secret is set");
    local.set("db-password", &"correct horse".into())?;
    for name in ["secrets.age", "secrets.key"] {
        let path = home.path().join("secrets").join(name);
        let content = fs::read(&path)?;
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        println!("  {name}  mode {mode:o}  {:>4} bytes  starts {:?}", content.len(), start(&content));
        check(!content.windows(7).any(|part| part == b"correct"), "a value in clear")?;
    }
    println!("  names can be listed: {:?}", local.names()?);
    Ok(())
}

fn start(content: &[u8]) -> String {
    String::from_utf8_lossy(&content[..content.len().min(21)]).into_owned()
}

async fn handle(secrets: &Secrets, password: &Secret<String>) -> Outcome {
    title("A handle to it, which prints nothing");
    password.ready().await?;
    let now = password.load()?;
    println!("  {{:?}} of the handle    {password:?}");
    println!("  {{:?}} of its value     {now:?}");
    println!("  {{}}   of its value     {now}");
    println!("  expose_secret()       {:?}", now.expose_secret());
    check(!format!("{password:?}{now:?}{now}").contains("horse"), "a value was printed")?;

    for (what, name) in [("a name that is not there", "smtp-password"), ("a value for a name", "correct horse")] {
        let Err(error) = secrets.get::<String>(name).ready().await else {
            return Err("there is no such secret".into());
        };
        println!("  {what:<26}  {:?}: {error}", error.kind());
        check(!error_chain(&error).contains("horse"), "an error held a value")?;
    }
    // From here on, what a request says cannot choose what is read.
    secrets.seal();
    let Err(error) = secrets.get::<String>("admin-password").ready().await else {
        return Err("a name was read that was not asked for at start".into());
    };
    println!("  {:<26}  {:?}: {error}", "another name after seal()", error.kind());
    Ok(())
}

async fn rotation(local: &Local, password: &Secret<String>) -> Outcome {
    title("It is changed three times, and read all the while");
    for value in ["battery", "staple", "tr0ub4dor"] {
        let (seen, began) = (password.generation(), Instant::now());
        let (writer, next) = (local.clone(), value.to_owned());
        tokio::task::spawn_blocking(move || writer.set("db-password", &next.into())).await??;
        let mut reads = 0_u64;
        while password.generation() == seen {
            for _ in 0..1000 {
                password.load()?;
            }
            reads += 1000;
            check(began.elapsed() < PATIENCE, "a change was not seen")?;
            tokio::task::yield_now().await;
        }
        let (now, took) = (password.load()?, began.elapsed().as_millis());
        let before = password.previous().ok_or("the value before is remembered for a while")?;
        println!(
            "  generation {} is {:<12} seen after {took:>4} ms and {reads:>8} reads; previous() is {:?}",
            now.generation(),
            format!("{:?},", now.expose_secret()),
            before.expose_secret()
        );
        check(now.expose_secret() == value, "another value was seen")?;
    }
    println!("  Verify with both, call with the current one: nobody is refused while it goes round.");
    Ok(())
}

/// A backend in the middle of a rotation: the database knows the new password already, and its current one is the old.
#[derive(Clone, Default)]
struct Rotating(Arc<Mutex<Vec<String>>>);

impl Rotating {
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Provider for Rotating {
    const NAME: &'static str = "rotating";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ask.stage().as_str().to_owned());
        match ask.stage() {
            Stage::Current => Ok(Reading::new("old")),
            Stage::Pending => Ok(Reading::new("new")),
            Stage::Previous => Err(Error::new(ErrorKind::NotFound, "there was none before")),
        }
    }
}

async fn rejection() -> Outcome {
    title("The database does not accept it any more");
    let backend = Rotating::default();
    let password = Secrets::new(backend.clone(), &Lifecycle::new(Clock::system())).get::<String>("db-password");
    password.ready().await?;
    let refused = password.load()?.generation();
    backend.asked();
    println!(
        "  generation {refused} is {:?}, and ten callers are refused with it at once",
        password.load()?.expose_secret()
    );
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let password = password.clone();
        callers.spawn(async move {
            let next = password.reject(refused).await?;
            Ok::<_, Error>((next.generation(), next.expose_secret().clone()))
        });
    }
    for answer in callers.join_all().await {
        check(answer? == (2, "new".to_owned()), "a caller was given another value")?;
    }
    println!(
        "  the backend was asked for {:?}; all ten go on with {:?}",
        backend.asked(),
        password.load()?.expose_secret()
    );
    Ok(())
}

/// A backend on a network that may be cut.
struct Remote {
    is_up: bool,
}

impl Provider for Remote {
    const NAME: &'static str = "remote";

    async fn read(&self, _ask: Ask<'_>) -> Result<Reading, Error> {
        if self.is_up {
            Ok(Reading::new("correct horse"))
        } else {
            Err(Error::new(ErrorKind::Unavailable, "the backend does not answer"))
        }
    }
}

async fn outage(home: &Home) -> Outcome {
    title("The product is started again while its backend is down");
    let start = |is_up, snapshot: Option<BootSnapshot>| {
        let lifecycle = Lifecycle::new(Clock::system());
        let secrets = Secrets::builder(Remote { is_up }).policy(Policy::default()).snapshot(snapshot);
        (secrets.build(&lifecycle).get::<String>("db-password"), lifecycle)
    };
    let snapshot = || BootSnapshot::open(home, "https://vault.example.com");

    let (password, lifecycle) = start(true, Some(snapshot()?));
    password.ready().await?;
    check(lifecycle.stop_tasks(PATIENCE).await, "the end took too long")?;
    let file = kept_in(&home.path().join("secrets"))?;
    println!("  at its end        {} bytes were kept, encrypted: {:?}", fs::metadata(&file)?.len(), start_of(&file)?);

    let (password, _life) = start(false, None);
    let Err(error) = password.ready().await else { return Err("there is nothing to start with".into()) };
    println!("  without a copy    {}", error_chain(&error));
    let (password, _life) = start(false, Some(snapshot()?));
    password.ready().await?;
    println!("  with the copy     {:?}, and the backend is asked again soon", password.load()?.expose_secret());
    check(password.load()?.expose_secret() == "correct horse", "another value was restored")
}

fn start_of(file: &Path) -> Outcome<String> {
    Ok(start(&fs::read(file)?))
}

/// The copy; beside it is the file of `local:`.
fn kept_in(folder: &Path) -> Outcome<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("boot-") && name.ends_with(".age")) {
            return Ok(entry.path());
        }
    }
    Err("nothing was kept".into())
}
