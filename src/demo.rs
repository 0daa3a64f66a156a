use std::io::Write as _;

use halfbyte_core::config::Environment;
use halfbyte_core::{BoxError, TenantId};
use halfbyte_identity::embedded::ClientSpec;
use secrecy::ExposeSecret as _;

use crate::error::{Error, ErrorKind};
use crate::platform::Platform;

/// A customer to try a product with on a laptop: a tenant with a plan, and a client that acts for it.
///
/// In development the customer is made at start, and two lines ready to paste are printed: one that gets a token (where
/// the issuer is embedded), and one that uses it. Anywhere else it does nothing.
#[derive(Clone, Debug)]
pub struct Demo {
    tenant: String,
    plan: String,
    scopes: Vec<String>,
    secrets: Vec<String>,
    request: String,
}

impl Demo {
    /// A customer called `tenant` with `plan` of the catalogue.
    pub fn new(tenant: &str, plan: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            plan: plan.to_owned(),
            scopes: Vec::new(),
            secrets: Vec::new(),
            request: "/".to_owned(),
        }
    }

    /// The scopes that the client may have.
    #[must_use]
    pub fn scopes(mut self, scopes: &[&str]) -> Self {
        self.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self
    }

    /// A secret that the product needs: where secrets are local and it is not there yet, it is made up.
    #[must_use]
    pub fn secret(mut self, name: &str) -> Self {
        self.secrets.push(name.to_owned());
        self
    }

    /// The request to show: a path, and whatever else `curl` is to be given.
    #[must_use]
    pub fn request(mut self, path_and_arguments: &str) -> Self {
        path_and_arguments.clone_into(&mut self.request);
        self
    }

    pub(crate) async fn set_up(&self, platform: &Platform) -> Result<(), Error> {
        if platform.config().environment != Environment::Development {
            return Ok(());
        }
        let tenant = TenantId::new(&self.tenant).map_err(|error| {
            Error::new(ErrorKind::Configuration, "the demo customer").caused_by(Box::new(error) as BoxError)
        })?;
        for name in &self.secrets {
            platform.store_local_secret(name, None).await?;
        }
        let customers = platform.billing().customers();
        customers.create(&tenant).await?;
        customers.subscribe(&tenant, &self.plan).await?;
        // For the terminal of a developer, not for a log: a secret in it is of a throw-away customer on this machine.
        let invitation = self.invitation(platform, tenant).await?;
        let _told = writeln!(std::io::stdout(), "{invitation}");
        Ok(())
    }

    async fn invitation(&self, platform: &Platform, tenant: TenantId) -> Result<String, Error> {
        let (product, request) = (platform.product().as_str(), &self.request);
        let base = platform.public_url().as_str().trim_end_matches('/');
        let token = match platform.identity().embedded() {
            Some(issuer) => {
                let id = format!("{tenant}-{product}");
                let client = ClientSpec::new(&id, tenant.clone()).scopes(self.scopes.iter()).audiences([product]);
                let secret = issuer.register(client).await?;
                let secret = secret.expose_secret();
                format!(
                    "TOKEN=$(curl -s -u {id}:{secret} -d grant_type=client_credentials {base}/oauth/token \
                     | sed 's/.*\"access_token\":\"\\([^\"]*\\).*/\\1/')"
                )
            }
            None => {
                let audience = platform.config().audience.as_deref().unwrap_or(product);
                format!("TOKEN=...   # of your issuer, for the audience {audience}, with the claim tenant={tenant}")
            }
        };
        Ok(format!(
            "\n{product} is on {base}. Try it as the customer {tenant}:\n\n\
             {token}\n\
             curl -i -H \"Authorization: Bearer $TOKEN\" {base}{request}\n"
        ))
    }
}
