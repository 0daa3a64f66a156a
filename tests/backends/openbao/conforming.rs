//! The suite that every provider passes.

use halfbyte::secrets::openbao::{Auth, OpenBao};
use halfbyte::secrets::testing::conformance::{self, Backend, Hindrance, Outcome};
use halfbyte::secrets::{Lease, Name};
use serde_json::json;

use super::Bao;
use super::lent::database;
use crate::database::Database;
use crate::proxy::{Fault, Proxy};

const ROLE: &str = "conforming";
const PATHS: [&str; 2] = ["secret/data/*", "database/creds/conforming"];

/// The server that all tests share, with bad days of its own; what it denies and what has ended is the server's own word.
struct Behind {
    bao: Bao,
    proxy: Proxy,
    auth: Auth,
    _database: Database,
}

impl Behind {
    async fn a_proxy() -> Self {
        let bao = Bao::shared();
        let proxy = Proxy::start(bao.url.clone()).await;
        let (database, auth) = database(&bao, ROLE, 600, 1200, (1200, 1200)).await;
        bao.allow(ROLE, &PATHS).await;
        Self { bao, proxy, auth, _database: database }
    }
}

impl Backend for Behind {
    type Provider = OpenBao;

    fn provider(&self) -> OpenBao {
        let settings = Bao::at(self.proxy.url(), String::new()).settings("secret", self.auth.clone());
        OpenBao::new(settings.dynamic("lent", "database/creds/conforming").unwrap()).unwrap()
    }

    async fn put(&self, name: &Name, value: &[u8]) -> Outcome {
        let Ok(value) = std::str::from_utf8(value) else {
            return Err(Hindrance::Cannot("its values are JSON"));
        };
        self.bao.put(&format!("secret/data/{name}"), json!({ "value": value })).await;
        Ok(())
    }

    fn keeps_previous(&self) -> bool {
        true
    }

    async fn deny(&self, name: &Name) -> Outcome {
        self.bao.allow_all_but(ROLE, &PATHS, &format!("secret/data/{name}")).await;
        Ok(())
    }

    async fn outage(&self) -> Outcome {
        self.proxy.fault(Some(Fault::HangsUp));
        Ok(())
    }

    async fn slow(&self) -> Outcome {
        self.proxy.fault(Some(Fault::IsSilent));
        Ok(())
    }

    async fn malform(&self, _: &Name) -> Outcome {
        self.proxy.fault(Some(Fault::Garbles));
        Ok(())
    }

    async fn restore(&self) -> Outcome {
        self.proxy.fault(None);
        self.bao.allow(ROLE, &PATHS).await;
        Ok(())
    }

    async fn lend(&self) -> Outcome<Name> {
        Ok(Name::new("lent")?)
    }

    async fn expire(&self, lease: &Lease) -> Outcome {
        self.bao.post("sys/leases/revoke", json!({ "lease_id": lease.id(), "sync": true })).await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    let report = conformance::run(Behind::a_proxy().await).await;
    println!("{report}");
    report.assert();
    assert_eq!(report.not_run(), ["value that is not text", "pending"], "{report}");
}
