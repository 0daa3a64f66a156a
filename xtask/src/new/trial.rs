//! A new product as a person would make one: written, built, tested, started and stopped.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::backends::ports;
use crate::backends::ready::Ready;
use crate::cargo::Workspace;
use crate::deadline::Deadline;
use crate::error::{Context, Error, Result};
use crate::invocation::Invocation;

/// Of a name with a hyphen, which a crate has otherwise than a product.
const NAME: &str = "trial-product";
/// Start to ready takes a fraction of this.
const READY: Duration = Duration::from_secs(60);
/// So does a drain with nothing in flight.
const DRAINED: Duration = Duration::from_secs(60);

/// Does it in a folder of its own, which goes with it.
pub fn run(workspace: &Workspace, by: Deadline) -> Result {
    // The same each time, since cargo keeps what it built of one package apart by where it lies.
    let mut hasher = DefaultHasher::new();
    workspace.root.hash(&mut hasher);
    let place = env::temp_dir().join(format!("halfbyte-new-{:016x}", hasher.finish()));
    if place.exists() {
        // Of a trial that was cut short.
        fs::remove_dir_all(&place).context(format_args!("cannot remove {}", place.display()))?;
    }
    fs::create_dir(&place).context(format_args!("cannot make {}", place.display()))?;
    let outcome = try_in(workspace, &place, by);
    fs::remove_dir_all(&place).context(format_args!("cannot remove {}", place.display()))?;
    outcome
}

fn try_in(workspace: &Workspace, place: &Path, by: Deadline) -> Result {
    let folder = place.join(NAME);
    super::write(workspace, NAME, &folder, false)?;
    // In our target folder: what is built for this workspace, and for the last trial, is not built again.
    let target = workspace.target.to_string_lossy().into_owned();
    let cargo = |args: &str| Invocation::cargo(args).env("CARGO_TARGET_DIR", &target);
    cargo("test").run(&folder, by)?;
    cargo("build").run(&folder, by)?;

    let [public, admin] = ports::free()?;
    let mut product = Command::new(workspace.target.join("debug").join(NAME))
        .current_dir(&folder)
        .env("HALFBYTE_LISTEN", format!("127.0.0.1:{public}"))
        .env("HALFBYTE_ADMIN_LISTEN", format!("127.0.0.1:{admin}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start the product")?;
    let ready = Ready::Http { port: admin, path: "/readyz" };
    let ready = ready.wait(READY, || product.try_wait().ok().flatten().map(|status| status.to_string()));
    let ended = ready.and_then(|()| image(workspace, &folder, admin, by)).and_then(|()| drain(&mut product));
    // Whatever went wrong, it does not stay behind.
    _ = product.kill();
    _ = product.wait();
    match ended? {
        status if status.success() => {
            println!("{NAME} was ready at 127.0.0.1:{admin}, and drained");
            Ok(())
        }
        status => Err(Error::new(format!("{NAME} did not drain: {status}"))),
    }
}

/// Whether its Dockerfile brings all into an image that it is built from there: what that copies is laid out as it says, and
/// cargo asked whether it finds everything. The image itself takes Docker.
fn image(workspace: &Workspace, folder: &Path, admin: u16, by: Deadline) -> Result {
    // With the features of the tests, so that nothing is built twice.
    Invocation::cargo("build --workspace --all-features --example deploy").run(&workspace.root, by)?;
    let out = folder.with_file_name("deployed");
    let paths = [folder, &out].map(|path| path.to_string_lossy().into_owned());
    let deploy = || {
        Invocation::program(&workspace.target.join("debug/examples/deploy")).args([
            &*format!("http://127.0.0.1:{admin}"),
            "--for",
            "docker",
            "--source",
            &paths[0],
            "--out",
            &paths[1],
        ])
    };
    // A folder that has both, wherever they are.
    deploy().args(["--context", "/"]).run(folder, by)?;
    let dockerfile = out.join("Dockerfile");
    let text = fs::read_to_string(&dockerfile).context(format_args!("cannot read {}", dockerfile.display()))?;
    let image = folder.with_file_name("image");
    let copies: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("COPY ")?.split_once(" /build/")).collect();
    for (from, to) in &copies {
        let (from, to) = (Path::new("/").join(from), image.join(to));
        let above = to.parent().unwrap_or(&image);
        fs::create_dir_all(above).context(format_args!("cannot make {}", above.display()))?;
        symlink(&from, &to).context(format_args!("cannot lay out {}", to.display()))?;
    }
    let Some((product, _)) = copies.first() else {
        return Err(Error::new(format!("{} copies nothing", dockerfile.display())));
    };
    let manifest = image.join(product).join("Cargo.toml").to_string_lossy().into_owned();
    let resolve = || {
        let metadata = ["metadata", "--locked", "--offline", "--format-version=1", "--manifest-path", &manifest];
        by.output(Command::new("cargo").args(metadata), &"cargo metadata")
    };
    let output = resolve()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::new(format!("{} does not copy all that is needed:\n{said}", dockerfile.display())));
    }
    // Without one of them it is not found: else this has shown nothing.
    for (_, to) in copies.iter().skip(1) {
        let to = image.join(to);
        fs::remove_file(&to).context(format_args!("cannot remove {}", to.display()))?;
    }
    if copies.len() < 2 || resolve()?.status.success() {
        return Err(Error::new(format!("{} copies what is not needed", dockerfile.display())));
    }
    println!("{NAME}: its Dockerfile copies what it is built from");
    Ok(())
}

/// Tells it to end, as a supervisor does.
fn drain(product: &mut Child) -> Result<ExitStatus> {
    let told = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &product.id().to_string()]).status();
    told.context("cannot run `sh` to send a signal")?;
    let begun = Instant::now();
    loop {
        match product.try_wait().context("cannot look at the product")? {
            Some(status) => return Ok(status),
            None if begun.elapsed() > DRAINED => {
                return Err(Error::new(format!("{NAME} did not end within {} s", DRAINED.as_secs())));
            }
            None => thread::sleep(Duration::from_millis(25)),
        }
    }
}
