//! The four systems that products need, each real and each behind a proxy: an OpenID provider, an OpenBao, a PostgreSQL, and
//! a collector.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use halfbyte::TenantId;
use halfbyte::billing::{Catalog, Customers, Per, Period};
use halfbyte::core::config::BillingBackend;
use halfbyte::core::home::Home;
use halfbyte::core::{Clock, Lifecycle};
use halfbyte::observe::testing::Receiver;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::Outcome;
use crate::fault::{Fault, System};
use crate::proxy::{self, Proxy};

/// What every product is called in `aud`, behind this.
pub const AUDIENCE: &str = "urn:halfbyte:";
const START: Duration = Duration::from_secs(30);

/// All four, and their proxies.
pub struct Systems {
    pub folder: PathBuf,
    pub issuer: Provider,
    pub collector: Receiver,
    pub customers: Customers,
    _life: Lifecycle,
    openbao: (String, String),
    database: String,
    proxies: [Proxy; 4],
    clock: File,
    preload: PathBuf,
}

/// Below what systems hand out for port 0: nobody gets it while nobody listens there.
fn free_port() -> Outcome<u16> {
    let random = || 15_000 + (RandomState::new().hash_one(()) % 17_000) as u16;
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    Ok(std::iter::repeat_with(random).take(200).find(free).ok_or("no free port")?)
}

/// Where a server is, as `cargo xtask` says.
fn told(variable: &str) -> Outcome<String> {
    std::env::var(variable).map_err(|_| {
        format!("{variable} is not set: run `cargo xtask test --only faults`, or `cargo xtask backends up` and paste what it prints")
            .into()
    })
}

fn address_in(url: &str) -> Outcome<SocketAddr> {
    Ok(url.split(['@', '/']).find_map(|part| part.parse().ok()).ok_or_else(|| format!("no address in {url}"))?)
}

impl Systems {
    /// Starts or prepares all of them, in `folder`, with a database of their own that is called `name`.
    pub async fn start(folder: &Path, name: &str) -> Outcome<Self> {
        let openbao = (told("HB_TEST_OPENBAO_URL")?, told("HB_TEST_OPENBAO_TOKEN")?);
        let server = told("HB_TEST_POSTGRES_URL")?;
        let collector = Receiver::start().await?;
        let node = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let behind = [node, address_in(&openbao.0)?, address_in(&server)?, collector.address()];
        let mut proxies = Vec::new();
        for address in behind {
            proxies.push(Proxy::bind(free_port()?, address).await?);
        }
        let proxies: [Proxy; 4] = proxies.try_into().map_err(|_| "four proxies")?;
        let (clock, preload) = (folder.join("clock"), folder.join("clock.so"));
        let mut clock = File::create(&clock)?;
        clock.write_all(&0_i64.to_ne_bytes())?;
        build_clock(folder, &preload)?;
        let issuer = Provider::start(folder, node, proxies[System::Issuer as usize].address(), &preload).await?;
        let direct = database(&server, name).await?;
        let database =
            direct.replace(&behind[2].to_string(), &proxies[System::Postgres as usize].address().to_string());
        // The back office reaches the database whatever happens to the products.
        let life = Lifecycle::new(Clock::system());
        let home = Home::open(folder.join("office"))?;
        let catalog = Catalog::parse("catalog.toml", include_str!("../catalog.toml"))?;
        let customers =
            Customers::open(&BillingBackend::Postgres(direct.as_str().into()), &home, catalog, &life).await?;
        let systems = Self {
            folder: folder.to_owned(),
            issuer,
            collector,
            customers,
            _life: life,
            openbao,
            database,
            proxies,
            clock,
            preload,
        };
        systems.store_secrets().await?;
        Ok(systems)
    }

    fn proxy(&self, system: System) -> &Proxy {
        &self.proxies[system as usize]
    }

    /// What the products are told, but for what is each one's own.
    pub fn environment(&self, product: &str) -> Vec<(String, String)> {
        let files = [self.folder.join("role-id"), self.folder.join("secret-id")].map(|file| file.display().to_string());
        let pairs = [
            ("HALFBYTE_ENV", "staging".to_owned()),
            ("HALFBYTE_TRACE_NETWORKS", "127.0.0.0/8".to_owned()),
            ("HALFBYTE_LAME_DUCK", "0".to_owned()),
            ("HALFBYTE_IDENTITY_URL", self.issuer.id.clone()),
            ("HALFBYTE_IDENTITY_AUDIENCE", format!("{AUDIENCE}{product}")),
            ("HALFBYTE_SECRETS_URL", {
                format!(
                    "openbao+http://{}/secret/faults?auth=approle:{},{}",
                    self.proxy(System::OpenBao).address(),
                    files[0],
                    files[1]
                )
            }),
            ("HALFBYTE_BILLING_URL", self.database.clone()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", self.proxy(System::Collector).address())),
            ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1000".to_owned()),
            // A line for each request says nothing that is not looked at elsewhere.
            ("RUST_LOG", "info,halfbyte::access=warn".to_owned()),
            ("LD_PRELOAD", self.preload.display().to_string()),
            ("HB_FAULTS_CLOCK", self.folder.join("clock").display().to_string()),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value)).to_vec()
    }

    /// Begins a fault of a system.
    pub fn begin(&mut self, system: System, fault: Fault) -> Outcome {
        match fault.clock() {
            Some(seconds) => self.set_clocks(system, seconds),
            None => {
                self.proxy(system).set(fault.between(system));
                Ok(())
            }
        }
    }

    /// Ends all faults of a system.
    pub fn end(&mut self, system: System) -> Outcome {
        self.proxy(system).set(None);
        self.set_clocks(system, 0)
    }

    /// Anything at all on the way to a system, or nothing.
    pub fn between(&self, system: System, fault: Option<proxy::Fault>) {
        self.proxy(system).set(fault);
    }

    /// How often the products have met the fault.
    pub fn met(&self, system: System) -> u64 {
        self.proxy(system).met()
    }

    /// The issuer has a clock of its own; against the others it is the products' that is off.
    fn set_clocks(&mut self, system: System, seconds: i64) -> Outcome {
        use std::os::unix::fs::FileExt as _;
        let clock = if system == System::Issuer { &self.issuer.clock } else { &self.clock };
        Ok(clock.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }

    /// Puts what the products need into OpenBao, and a way in whose tokens last for seconds.
    async fn store_secrets(&self) -> Outcome {
        let policy = "path \"secret/data/faults/*\" { capabilities = [\"read\"] }";
        self.ask_openbao("sys/policies/acl/faults", json!({ "policy": policy })).await?;
        let role = json!({ "token_policies": "faults", "token_ttl": 6, "token_max_ttl": 3600 });
        self.ask_openbao("auth/approle/role/faults", role).await?;
        let role_id = self.ask_openbao("auth/approle/role/faults/role-id", Value::Null).await?;
        let secret_id = self.ask_openbao("auth/approle/role/faults/secret-id", json!({})).await?;
        for (file, id) in [("role-id", &role_id["data"]["role_id"]), ("secret-id", &secret_id["data"]["secret_id"])] {
            fs::write(self.folder.join(file), id.as_str().ok_or("OpenBao gave no way in")?)?;
        }
        self.put_secret("label-seal", "the first seal of the labels").await?;
        self.put_secret("parcel-client-secret", &secret_of("clinic")).await
    }

    pub async fn put_secret(&self, name: &str, value: &str) -> Outcome {
        let path = format!("secret/data/faults/{name}");
        self.ask_openbao(&path, json!({ "data": { "value": value } })).await?;
        Ok(())
    }

    /// Not by way of the proxy.
    async fn ask_openbao(&self, path: &str, body: Value) -> Outcome<Value> {
        let (url, token) = &self.openbao;
        let method = if body.is_null() { reqwest::Method::GET } else { reqwest::Method::POST };
        let request = reqwest::Client::new().request(method, format!("{url}/v1/{path}")).header("x-vault-token", token);
        let response = request.body(body.to_string()).send().await?;
        let status = response.status();
        let answer = response.bytes().await?;
        if !status.is_success() {
            return Err(format!("{path}: {status} {}", String::from_utf8_lossy(&answer)).into());
        }
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// Makes a customer, known to the issuer and to billing, with all that there is.
    pub async fn welcome(&self, tenant: &str) -> Outcome {
        self.issuer.register(tenant).await?;
        let tenant: TenantId = tenant.parse()?;
        self.customers.create(&tenant).await?;
        self.customers.subscribe(&tenant, "business").await?;
        Ok(())
    }

    /// Labels that a tenant has used, as the store has it.
    pub async fn counted(&self, tenant: &str) -> Outcome<u64> {
        let now = Clock::system().now();
        // Who counts may be ahead or behind.
        let off = Duration::from_secs(301);
        let mut months = [now - off, now, now + off].map(|at| Period::containing(at, Per::Month)).to_vec();
        months.dedup_by_key(|month| month.start());
        let tenant: TenantId = tenant.parse()?;
        let mut used = 0;
        for month in months {
            used += u64::try_from(self.customers.usage(&tenant, "labels", month).await?)?;
        }
        Ok(used)
    }
}

/// Makes the library that lets a process have a clock that is off.
fn build_clock(folder: &Path, library: &Path) -> Outcome {
    let source = folder.join("clock.c");
    fs::write(&source, include_str!("clock.c"))?;
    let status = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(library).arg(&source).status()?;
    if status.success() { Ok(()) } else { Err("the C compiler `cc` cannot make clock.c into a library".into()) }
}

/// An empty database on `server`; answers its URL.
async fn database(server: &str, name: &str) -> Outcome<String> {
    let mut sql = PgConnection::connect(server).await?;
    for statement in [format!("drop database if exists {name} with (force)"), format!("create database {name}")] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut sql).await?;
    }
    sql.close().await?;
    Ok(format!("{}/{name}", server.rsplit_once('/').ok_or("a URL of PostgreSQL ends with a database")?.0))
}

/// Node `oidc-provider`, called after the proxy in front of it. It ends with this.
pub struct Provider {
    /// What it calls itself: where the products find it.
    pub id: String,
    direct: String,
    clock: File,
    _process: Child,
}

fn secret_of(client: &str) -> String {
    format!("{client}-secret-for-tests")
}

impl Provider {
    async fn start(folder: &Path, at: SocketAddr, behind: SocketAddr, preload: &Path) -> Outcome<Self> {
        let (log, clock) = (folder.join("issuer.log"), folder.join("issuer-clock"));
        fs::write(&clock, 0_i64.to_ne_bytes())?;
        let id = format!("http://{behind}");
        let mut process = Command::new("node")
            .arg(told("HB_TEST_OIDC_SERVER")?)
            .args([&at.port().to_string(), "--issuer", &id, "--default-resource"])
            .arg(format!("{AUDIENCE}parcel"))
            .arg("--until-stdin-closes")
            .env("LD_PRELOAD", preload)
            .env("HB_FAULTS_CLOCK", &clock)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let direct = format!("http://{at}");
        let begun = Instant::now();
        while !reqwest::get(format!("{direct}/test/health")).await.is_ok_and(|answer| answer.status().is_success()) {
            if process.try_wait()?.is_some() || begun.elapsed() > START {
                return Err(format!("the issuer does not start: {}", fs::read_to_string(&log)?).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let clock = File::options().write(true).open(&clock)?;
        let provider = Self { id, direct, clock, _process: process };
        provider.register("clinic").await?;
        Ok(provider)
    }

    /// Signs with a key from now on that nobody has seen.
    pub async fn rotate(&self) -> Outcome {
        self.post("test/rotate", String::new()).await.map(drop)
    }

    async fn register(&self, client: &str) -> Outcome {
        let metadata = json!({ "client_id": client, "client_secret": secret_of(client) });
        self.post("test/client", metadata.to_string()).await.map(drop)
    }

    /// A token of a customer's program for a product.
    pub async fn token(&self, client: &str, product: &str) -> Outcome<String> {
        let scope =
            if product == "parcel" { "labels:read+labels:write" } else { "appointments:read+appointments:write" };
        let form = format!("grant_type=client_credentials&scope={scope}&resource={AUDIENCE}{product}");
        let request = reqwest::Client::new().post(format!("{}/token", self.direct));
        let request = request.basic_auth(client, Some(secret_of(client))).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer: Value = serde_json::from_slice(&request.send().await?.bytes().await?)?;
        Ok(answer["access_token"].as_str().ok_or_else(|| format!("no token: {answer}"))?.to_owned())
    }

    async fn post(&self, path: &str, body: String) -> Outcome<Value> {
        let response = reqwest::Client::new().post(format!("{}/{path}", self.direct)).body(body).send().await?;
        let status = response.status();
        let answer = response.bytes().await?;
        if !status.is_success() {
            return Err(format!("{path}: {status} {}", String::from_utf8_lossy(&answer)).into());
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}
