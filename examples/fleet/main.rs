//! Compares running products by their manifests: `cargo run --example fleet -- http://127.0.0.1:9090 http://127.0.0.1:9091`.
//!
//! Answers 0 when those on the same version of the contract have the same fingerprint, 1 when not, 2 when one cannot be asked.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use url::Url;

#[path = "compare.rs"]
pub(crate) mod compare;
#[path = "fetch.rs"]
pub(crate) mod fetch;
#[path = "table.rs"]
pub(crate) mod table;
use compare::Report;

/// As many as a person would look at, and no more connections at once.
const MOST: usize = 64;

#[derive(Parser)]
#[command(
    name = "fleet",
    about = "Compares running products by what they say of themselves at GET /manifest",
    after_help = "0: all that must be alike is. 1: fingerprints on the same contract differ. 2: a product cannot be asked."
)]
struct Cli {
    /// The admin addresses of products, such as http://127.0.0.1:9090
    #[arg(required = true, num_args = 1..=MOST)]
    urls: Vec<Url>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main]
pub(crate) async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let cli = Cli::parse();
    let report = report(&cli.urls).await?;
    let text = if cli.json { format!("{:#}\n", serde_json::to_value(&report)?) } else { table::render(&report) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::from(report.exit_code()))
}

/// Asks all of them at once.
pub(crate) async fn report(urls: &[Url]) -> Result<Report, Box<dyn Error>> {
    let client = fetch::client()?;
    let asked = urls.iter().map(|url| fetch::manifest(&client, url));
    let answers = futures_util::future::join_all(asked).await;
    let answers = urls.iter().map(shown).zip(answers).collect();
    let today = halfbyte::core::Clock::system().now().to_zoned(jiff::tz::TimeZone::UTC).date();
    Ok(Report::new(answers, today))
}

/// Without what may be secret in it.
fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path().trim_end_matches('/'))
}
