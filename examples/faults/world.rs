//! Both products on all four systems, with a customer, and what is known of what they did.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::Outcome;
use crate::fault::{Fault, Random, System};
use crate::load::{Asker, Customer, Product};
use crate::process;
use crate::systems::Systems;
use crate::telemetry::Telemetry;

/// The customer whom the products know from the start.
pub const KNOWN: &str = "acme";
/// HB-LIFE-007, and what a busy machine with a slow build adds.
const SERVING: Duration = Duration::from_secs(13);
/// What a drain may take in all, by the budgets of HB-LIFE-002.
const DRAIN: Duration = Duration::from_secs(50);

pub struct World {
    pub systems: Systems,
    pub products: [process::Product; 2],
    pub asker: Asker,
    pub telemetry: Telemetry,
    pub known: Customer,
    /// What went wrong with the processes.
    pub incidents: Vec<String>,
    /// Asks for readiness: often, so it is made once.
    http: reqwest::Client,
    /// How many panics were told of.
    panics: usize,
}

impl World {
    /// Starts all of it in `folder`, for the customers that are named; with `away`, the products while that system is down.
    pub async fn start(folder: &Path, name: &str, customers: &[String], away: Option<System>) -> Outcome<Self> {
        let mut systems = Systems::start(folder, name).await?;
        for tenant in [KNOWN, "clinic"].into_iter().chain(customers.iter().map(String::as_str)) {
            systems.welcome(tenant).await?;
        }
        let known = customer(&systems, KNOWN).await?;
        if let Some(away) = away {
            systems.begin(away, Fault::DownAtStart)?;
        }
        let mut incidents = Vec::new();
        let parcel = start(&systems, Product::Parcel, None, &mut incidents).await?;
        let clinic = start(&systems, Product::Clinic, Some(&parcel), &mut incidents).await?;
        let run = Random(u64::from(std::process::id()) << 32 | u64::from(parcel.public.port())).next().unwrap_or(1);
        let products = [parcel, clinic];
        let asker = Asker::new(addresses(&products), run);
        let (telemetry, http) = (Telemetry::new(run), reqwest::Client::new());
        Ok(Self { systems, products, asker, telemetry, known, incidents, http, panics: 0 })
    }

    /// A customer with tokens that are issued now.
    pub async fn customer(&self, tenant: &str) -> Outcome<Customer> {
        customer(&self.systems, tenant).await
    }

    /// Ends a product as a deployment does, and starts it again.
    pub async fn restart(&mut self, product: Product) -> Outcome {
        self.stop(product).await?;
        let parcel = (product == Product::Clinic).then_some(&self.products[0]);
        self.products[product as usize] = start(&self.systems, product, parcel, &mut self.incidents).await?;
        self.asker.moved(addresses(&self.products));
        Ok(())
    }

    /// Ends a product; it must do so well, whatever is away.
    pub async fn stop(&mut self, product: Product) -> Outcome {
        let process = &mut self.products[product as usize];
        process.terminate()?;
        let code = process.ended(DRAIN).await?;
        if code != Some(0) {
            self.incidents.push(format!("{} ended with {code:?} and not with 0", product.name()));
        }
        Ok(())
    }

    /// What of the products is not as it should be, by their own account; nothing if all is well.
    pub async fn ailing(&self) -> Vec<String> {
        let mut ailing = Vec::new();
        for process in &self.products {
            let answer = async {
                let response = self.http.get(process.admin_url("/readyz")).send().await.ok()?;
                serde_json::from_slice::<Value>(&response.bytes().await.ok()?).ok()
            };
            let Some(report) = answer.await else {
                ailing.push(format!("{} does not answer /readyz", process.name));
                continue;
            };
            let checks = report["checks"].as_array().cloned().unwrap_or_default();
            let sick: Vec<_> =
                checks.iter().filter(|check| check["ready"] != true || !check["detail"].is_null()).collect();
            if report["ready"] != true && sick.is_empty() {
                ailing.push(format!("{} is not ready", process.name));
            }
            for check in sick {
                let word = |member: &str| check[member].as_str().unwrap_or_default().to_owned();
                ailing.push(format!("{}: {} is {} ({})", process.name, word("name"), word("state"), word("detail")));
            }
        }
        ailing
    }

    /// Labels that are counted now, by tenant.
    pub async fn counted(&self, tenants: &[&str]) -> Outcome<BTreeMap<String, u64>> {
        let mut counted = BTreeMap::new();
        for tenant in tenants {
            counted.insert((*tenant).to_owned(), self.systems.counted(tenant).await?);
        }
        Ok(counted)
    }

    /// Panics of the products that were not told of yet are incidents: one in a task that nobody waits for is seen nowhere else.
    pub fn note_panics(&mut self) {
        let panics: Vec<_> = self.logs().iter().flat_map(|(_, text)| panics_in(text)).collect();
        self.incidents.extend(panics.iter().skip(self.panics).cloned());
        self.panics = panics.len();
    }

    /// What each process wrote, in the order of their files' names.
    fn logs(&self) -> Vec<(PathBuf, String)> {
        let folders = Product::ALL.map(|product| self.systems.folder.join(product.name()));
        let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(is_log).collect();
        paths.sort();
        let read = |path: PathBuf| {
            let text = std::fs::read(&path).unwrap_or_default();
            (path, String::from_utf8_lossy(&text).into_owned())
        };
        paths.into_iter().map(read).collect()
    }

    /// What the products complained of last, for a run that went wrong.
    pub fn show_logs(&self) {
        const SHOWN: usize = 25;
        for (path, text) in self.logs() {
            let complaints: Vec<_> = text.lines().filter(|line| !line.contains("\"INFO\"")).collect();
            println!("\n── {} ──", path.file_name().unwrap_or_default().to_string_lossy());
            for line in &complaints[complaints.len().saturating_sub(SHOWN)..] {
                println!("{}", line.chars().take(400).collect::<String>());
            }
        }
    }
}

/// The panics that a log tells of, each by its first words.
fn panics_in(log: &str) -> impl Iterator<Item = String> {
    log.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\"message\":\"panicked at ")?;
        Some(format!("panicked at {}", rest.split('"').next()?))
    })
}

async fn customer(systems: &Systems, tenant: &str) -> Outcome<Customer> {
    let parcel = systems.issuer.token(tenant, "parcel").await?;
    let clinic = systems.issuer.token(tenant, "clinic").await?;
    Ok(Customer { tenant: tenant.into(), tokens: [parcel, clinic].map(Arc::from) })
}

fn addresses(products: &[process::Product; 2]) -> [SocketAddr; 2] {
    [products[0].public, products[1].public]
}

async fn start(
    systems: &Systems,
    product: Product,
    parcel: Option<&process::Product>,
    incidents: &mut Vec<String>,
) -> Outcome<process::Product> {
    let folder = systems.folder.join(product.name());
    std::fs::create_dir_all(&folder)?;
    let mut environment = systems.environment(product.name());
    environment.extend(parcel.map(|parcel| ("PARCEL_URL".to_owned(), parcel.url(""))));
    let environment: Vec<_> = environment.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let begun = Instant::now();
    let (process, took) = loop {
        match process::Product::start(product.name(), &folder, &environment).await {
            Ok(started) => break started,
            Err(error) if begun.elapsed() > Duration::from_secs(60) => return Err(error),
            Err(error) => {
                incidents.push(error.to_string());
                sleep(Duration::from_millis(500)).await;
            }
        }
    };
    if took > SERVING {
        incidents.push(format!("{} answers only {:.1} s after its start", product.name(), took.as_secs_f64()));
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_log_is_found() {
        let log = r#"{"level":"INFO","message":"ready"}
{"level":"ERROR","target":"halfbyte::panic","message":"panicked at src/x.rs:7: out of bounds","fields":{}}"#;
        assert_eq!(panics_in(log).collect::<Vec<_>>(), ["panicked at src/x.rs:7: out of bounds"]);
    }
}
