//! The company: its state folder, its back office, its two products and their customers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use halfbyte::TenantId;
use halfbyte::billing::{Catalog, Customers, Per, Period};
use halfbyte::core::config::{ApiKeysBackend, BillingBackend, Environment};
use halfbyte::core::home::Home;
use halfbyte::core::{Clock, Lifecycle};
use halfbyte::identity::Embedded;
use halfbyte::identity::api_keys::ApiKeys;
use halfbyte::identity::embedded::ClientSpec;
use halfbyte::observe::testing::Receiver;
use halfbyte::secrets::Local;
use secrecy::{ExposeSecret as _, SecretString};

use crate::Outcome;
use crate::http::{Answer, Caller};
use crate::process::Product;
use crate::screen::Screen;

pub struct Company {
    pub folder: PathBuf,
    pub collector: Receiver,
    pub issuer: Embedded,
    pub api_keys: ApiKeys,
    pub customers: Customers,
    pub secrets: Local,
    pub parcel: Product,
    pub clinic: Product,
}

/// A customer's client: its tenant and what it may do.
const CLIENTS: [(&str, &str, &str, &[&str]); 5] = [
    ("acme-app", "acme", "parcel", &["labels:read", "labels:write"]),
    ("globex-app", "globex", "parcel", &["labels:read", "labels:write"]),
    ("globex-desk", "globex", "clinic", &["appointments:read", "appointments:write"]),
    ("hooli-app", "hooli", "parcel", &["labels:read", "labels:write"]),
    ("initech-desk", "initech", "clinic", &["appointments:read", "appointments:write"]),
];

impl Company {
    pub async fn found(screen: &mut Screen, folder: &Path) -> Outcome<Self> {
        screen.step(
            "Start two products",
            "Parcel makes shipping labels, Clinic makes appointments. They share nothing but the platform:\n\
             one issuer, one billing store, one place for secrets, one collector of telemetry.",
        );
        let collector = Receiver::start().await?;
        let endpoint = collector.endpoint();
        let telemetry = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        ];
        let (mut parcel, parcel_took) = Product::start("parcel", folder, &telemetry).await?;
        let parcel_url = parcel.url("");
        let environment: Vec<_> = telemetry.into_iter().chain([("PARCEL_URL", parcel_url.as_str())]).collect();
        let (mut clinic, clinic_took) = Product::start("clinic", folder, &environment).await?;
        parcel.wait_until_ready().await?;
        clinic.wait_until_ready().await?;
        screen.say(&format!("parcel on {parcel_url}, serving after {} ms", parcel_took.as_millis()));
        screen.say(&format!("clinic on {}, serving after {} ms", clinic.url(""), clinic_took.as_millis()));

        // The back office is a third process on the same folder: this one.
        let lifecycle = Lifecycle::new(Clock::system());
        let home = Home::open(folder.join("home"))?;
        let issuer = Embedded::open(&home, &parcel_url.parse()?, "parcel", &lifecycle).await?;
        let api_keys = ApiKeys::open(&ApiKeysBackend::Embedded, Environment::Development, &home, &lifecycle).await?;
        let api_keys = api_keys.ok_or("API keys are off")?;
        let catalog = Catalog::parse("catalog.toml", include_str!("../catalog.toml"))?;
        let customers = Customers::open(&BillingBackend::Sqlite(None), &home, catalog, &lifecycle).await?;
        for (tenant, plan) in [
            ("acme", "starter"),
            ("globex", "business"),
            ("hooli", "team"),
            ("initech", "starter"),
            ("clinic", "business"),
        ] {
            let tenant: TenantId = tenant.parse()?;
            customers.create(&tenant).await?;
            customers.subscribe(&tenant, plan).await?;
        }
        let secrets = Local::open(&home)?;
        screen.seen("both ready; four customers, and Clinic as a customer of Parcel");
        Ok(Self { folder: folder.to_owned(), collector, issuer, api_keys, customers, secrets, parcel, clinic })
    }

    /// Registers a customer's client; answers its product and its secret.
    async fn client(&self, id: &str) -> Outcome<(&Product, &'static str, SecretString)> {
        let (_, tenant, audience, scopes) = CLIENTS.iter().find(|client| client.0 == id).ok_or("no such client")?;
        let spec =
            ClientSpec::new(id, tenant.parse::<TenantId>()?).scopes(scopes.iter().copied()).audiences([*audience]);
        let secret = self.issuer.register(spec).await?;
        let product = if *audience == "parcel" { &self.parcel } else { &self.clinic };
        Ok((product, audience, secret))
    }

    /// Signs a customer's client in, over HTTP, at the token endpoint of the product that it is for.
    pub async fn sign_in(&self, id: &str, scope: &str) -> Outcome<Caller> {
        let (product, audience, secret) = self.client(id).await?;
        Caller::sign_in(&product.url("/oauth/token"), id, secret.expose_secret(), scope, audience).await
    }

    /// Has a customer's client give its token back, at the same product.
    pub async fn give_back(&self, id: &str, caller: &Caller) -> Outcome<Answer> {
        let (product, _, secret) = self.client(id).await?;
        caller.give_back(&product.url("/oauth/revoke"), id, secret.expose_secret()).await
    }

    /// Labels that a tenant has used this month, as the back office reads them from the store.
    pub async fn labels_used(&self, tenant: &str) -> Outcome<u64> {
        let month = Period::containing(Clock::system().now(), Per::Month);
        Ok(self.customers.usage(&tenant.parse::<TenantId>()?, "labels", month).await?.try_into()?)
    }

    /// As [`labels_used`](Self::labels_used), once it is what it should be, or what it still is after a moment: usage is
    /// in the journal at once and in the store a little later.
    pub async fn labels_used_once(&self, tenant: &str, expected: u64) -> Outcome<u64> {
        for _ in 0..100 {
            let used = self.labels_used(tenant).await?;
            if used == expected {
                return Ok(used);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.labels_used(tenant).await
    }
}
