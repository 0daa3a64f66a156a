//! Renders how a product is deployed, from its manifest: `cargo run --example deploy --features deploy -- http://127.0.0.1:9090`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use halfbyte::Manifest;
use halfbyte::deploy::{Deployment, File};
use url::Url;

use sources::Sources;

#[path = "../fleet/fetch.rs"]
mod fetch;
mod sources;

/// The largest file that is taken for a manifest, in bytes.
const LARGEST: u64 = 1 << 20;

#[derive(Parser)]
#[command(
    name = "deploy",
    about = "Renders a Dockerfile, Kubernetes manifests or systemd units from a product's manifest",
    after_help = "deploy http://127.0.0.1:9090 --host parcel.example.com --image registry.example.com/parcel:0.1.0 \\\n    \
                  --set HALFBYTE_IDENTITY_URL=https://login.example.com --set HALFBYTE_SECRETS_URL=env: \\\n    \
                  --set HALFBYTE_TRUSTED_PROXIES=10.0.0.0/8 --secret HALFBYTE_BILLING_URL --out deploy/\n\n\
                  Whom and what to trust (issuers, audience, proxies, networks, where secrets are) is never taken from a manifest."
)]
struct Cli {
    /// The admin address of a running product, or a file with its manifest
    manifest: String,
    /// What to render; all when left out
    #[arg(long = "for", value_enum, value_delimiter = ',')]
    wanted: Vec<Wanted>,
    /// The folder to write to; printed when left out
    #[arg(long)]
    out: Option<PathBuf>,
    /// The image with its tag or digest
    #[arg(long)]
    image: Option<String>,
    /// The program, in the package of the same name
    #[arg(long)]
    binary: Option<String>,
    /// The product's folder: the Dockerfile is for a context that has all that it is built from, by path too
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// The context of the build, which is the folder above the product's if it needs others
    #[arg(long, value_name = "DIR", requires = "source")]
    context: Option<PathBuf>,
    /// Whom the token of the service account is for, by which it logs in to OpenBao
    #[arg(long, value_name = "AUDIENCE")]
    token_audience: Option<String>,
    /// An annotation of the Ingress
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    ingress_annotation: Vec<(String, String)>,
    /// The Kubernetes namespace
    #[arg(long)]
    namespace: Option<String>,
    /// The host name under which clients know the product
    #[arg(long)]
    host: Option<String>,
    /// A variable of the environment
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// A variable of the environment whose value is secret
    #[arg(long, value_name = "NAME")]
    secret: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Wanted {
    Docker,
    Kubernetes,
    Systemd,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    let mut deployment = Deployment::of(&manifest(&cli.manifest).await?);
    if let Some(image) = &cli.image {
        deployment = deployment.image(image);
    }
    if let Some(binary) = &cli.binary {
        deployment = deployment.binary(binary, binary);
    }
    if let Some(namespace) = &cli.namespace {
        deployment = deployment.namespace(namespace);
    }
    if let Some(host) = &cli.host {
        deployment = deployment.host(host);
    }
    if let Some(source) = &cli.source {
        let Sources { context, product, others } = Sources::of(source, cli.context.as_deref())?;
        if !product.is_empty() {
            let others: Vec<&str> = others.iter().map(String::as_str).collect();
            deployment = deployment.sources(&product, &others);
        }
        println!("the Dockerfile is for the context {}", context.display());
    }
    if let Some(audience) = &cli.token_audience {
        deployment = deployment.token_audience(audience);
    }
    let annotations = cli.ingress_annotation.iter();
    deployment = annotations.fold(deployment, |deployment, (name, value)| deployment.ingress_annotation(name, value));
    deployment = cli.set.iter().fold(deployment, |deployment, (name, value)| deployment.set(name, value));
    deployment = cli.secret.iter().fold(deployment, |deployment, name| deployment.secret(name));
    let wants = |wanted| cli.wanted.is_empty() || cli.wanted.contains(&wanted);
    let file = |name: &str, text| File { name: name.to_owned(), text };
    let mut files = Vec::new();
    if wants(Wanted::Docker) {
        files.push(file("Dockerfile", deployment.dockerfile()?));
        files.push(file("Dockerfile.dockerignore", Deployment::dockerignore().to_owned()));
    }
    if wants(Wanted::Kubernetes) {
        files.push(file("kubernetes.yaml", deployment.kubernetes()?));
    }
    if wants(Wanted::Systemd) {
        files.extend(deployment.systemd()?);
    }
    for File { name, text } in files {
        match &cli.out {
            Some(folder) => {
                fs::create_dir_all(folder)?;
                fs::write(folder.join(&name), text)?;
                println!("{}", folder.join(&name).display());
            }
            None => println!("#### {name}\n{text}"),
        }
    }
    Ok(())
}

async fn manifest(from: &str) -> Result<Manifest, Box<dyn Error>> {
    if from.starts_with("http://") || from.starts_with("https://") {
        return Ok(fetch::manifest(&fetch::client()?, &Url::parse(from)?).await?);
    }
    let size = fs::metadata(from).map_err(|error| format!("{from}: {error}"))?.len();
    if size > LARGEST {
        return Err(format!("{from}: {size} bytes are too many for a manifest").into());
    }
    Ok(serde_json::from_str(&fs::read_to_string(from)?)?)
}
