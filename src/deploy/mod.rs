#![doc = include_str!("../docs/deploy.md")]

mod dockerfile;
mod error;
mod kubernetes;
mod plan;
mod settings;
mod systemd;
mod variables;
mod words;
mod yaml;

use std::fmt;

pub use self::error::Undeployable;
use self::plan::Plan;
use self::settings::Settings;
use crate::manifest::Manifest;

/// How one product is deployed: what its [`Manifest`] says, and what a manifest cannot know.
///
/// All that comes from the manifest is checked before it lands in a file, so that the manifest may be one that was fetched.
#[must_use = "nothing is rendered before it is asked for"]
#[derive(Clone)]
pub struct Deployment {
    manifest: Manifest,
    settings: Settings,
}

/// One file of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, which is no path.
    pub name: String,
    /// What is in it.
    pub text: String,
}

impl Deployment {
    /// The deployment of the product that `manifest` is of.
    ///
    /// Whom and what a process trusts (issuers, audience, proxies, networks, where its secrets are) and how strict it is are not taken from
    /// it: they are [set](Self::set), and rendering says which of them are missing.
    ///
    /// Of a product that runs in development the configuration is left aside, as it is that of a laptop: what production needs is
    /// [set](Self::set), or rendering says that it is missing.
    pub fn of(manifest: &Manifest) -> Self {
        Self { manifest: manifest.clone(), settings: Settings::default() }
    }

    /// The image with its tag or digest; `PRODUCT:VERSION` unless set.
    pub fn image(mut self, image: &str) -> Self {
        self.settings.image = Some(image.to_owned());
        self
    }

    /// The cargo package and the program in it; both the product's name unless set.
    pub fn binary(mut self, package: &str, binary: &str) -> Self {
        self.settings.package = Some(package.to_owned());
        self.settings.binary = Some(binary.to_owned());
        self
    }

    /// The features to build with, besides the defaults.
    pub fn features(mut self, features: &[&str]) -> Self {
        self.settings.features = features.iter().map(|feature| (*feature).to_owned()).collect();
        self
    }

    /// The images to build in and to run in, with tag or digest: a company's own mirror, say. They need the same C library.
    pub fn base_images(mut self, build: &str, run: &str) -> Self {
        self.settings.build_image = build.to_owned();
        self.settings.run_image = run.to_owned();
        self
    }

    /// The Kubernetes namespace; the current one of whoever applies it, unless set.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.settings.namespace = Some(namespace.to_owned());
        self
    }

    /// The Kubernetes namespace that may reach the admin listener; `monitoring` unless set.
    pub fn monitoring_namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.settings.monitoring);
        self
    }

    /// The host name under which clients know the product: it becomes `HALFBYTE_PUBLIC_URL`, and in Kubernetes an Ingress with the
    /// certificate in the Secret `PRODUCT-tls`.
    pub fn host(mut self, host: &str) -> Self {
        self.settings.host = Some(host.to_owned());
        self
    }

    /// How many processes there are at least and at most; 2 and 10 unless set.
    pub fn replicas(mut self, min: u32, max: u32) -> Self {
        self.settings.replicas = (min, max);
        self
    }

    /// What a process gets: CPU it is sure of and memory it may have, as Kubernetes writes quantities; `250m` and `512Mi` unless set.
    pub fn resources(mut self, cpu: &str, memory: &str) -> Self {
        self.settings.resources = (cpu.to_owned(), memory.to_owned());
        self
    }

    /// The ports for clients and for operators; 8080 and 9090 unless set.
    pub fn ports(mut self, public: u16, admin: u16) -> Self {
        self.settings.ports = (public, admin);
        self
    }

    /// The Kubernetes Secret with the product's secrets, each under its name; `PRODUCT-secrets` unless set.
    pub fn secret_object(mut self, name: &str) -> Self {
        self.settings.secret_object = Some(name.to_owned());
        self
    }

    /// An annotation of the service account, such as the role that a cloud gives it: `eks.amazonaws.com/role-arn`.
    pub fn service_account_annotation(mut self, name: &str, value: &str) -> Self {
        self.settings.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// An annotation of the Ingress, by which a controller is told what it does not see by itself: that the product speaks TLS
    /// (`nginx.ingress.kubernetes.io/backend-protocol`), say.
    pub fn ingress_annotation(mut self, name: &str, value: &str) -> Self {
        self.settings.ingress_annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Whom the token of the service account is for, by which the process logs in to OpenBao with `?auth=kubernetes:ROLE`: the role
    /// there must ask for the same `audience`. The scheme of `HALFBYTE_SECRETS_URL`, `openbao` or `vault`, unless set.
    pub fn token_audience(mut self, audience: &str) -> Self {
        self.settings.token_audience = Some(audience.to_owned());
        self
    }

    /// The folders of the context of a build that it needs: that of the product's workspace, and those that it depends on by path,
    /// each as it is called in the context. Unless set, the context is the workspace's own folder, which must then have everything.
    pub fn sources(mut self, product: &str, others: &[&str]) -> Self {
        self.settings.sources = Some((product.to_owned(), others.iter().map(|other| (*other).to_owned()).collect()));
        self
    }

    /// A variable of the environment: one of [`KEYS`](halfbyte_core::config::KEYS), `OTEL_*`, or the product's own. It goes before what
    /// the manifest says. Nothing secret: that is [`secret`](Self::secret).
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A variable of the environment whose value is secret, such as the `postgres://` address in `HALFBYTE_BILLING_URL`: only its
    /// name stands in files, its value is kept with the product's secrets.
    pub fn secret(mut self, name: &str) -> Self {
        self.settings.secret_variables.insert(name.to_owned());
        self
    }

    /// The Dockerfile, which says at its head in which context it is to be used: the folder of the workspace, or the one that holds
    /// the [sources](Self::sources).
    ///
    /// # Errors
    ///
    /// Everything about the manifest or the settings that does not do.
    pub fn dockerfile(&self) -> Result<String, Undeployable> {
        Ok(dockerfile::render(&Plan::of_build(&self.manifest, &self.settings)?))
    }

    /// What stays out of a build, as `Dockerfile.dockerignore` beside the Dockerfile: what was built, and the state and the secrets of
    /// whoever builds.
    pub fn dockerignore() -> &'static str {
        dockerfile::IGNORED
    }

    /// What `kubectl apply --filename` takes, in one file.
    ///
    /// # Errors
    ///
    /// Everything about the manifest or the settings that does not do, and all that production refuses: embedded defaults, and what
    /// keeps its state on one machine.
    pub fn kubernetes(&self) -> Result<String, Undeployable> {
        kubernetes::render(&Plan::of_kubernetes(&self.manifest, &self.settings)?)
    }

    /// The units of one host: `PRODUCT.service`, a socket unit for clients and one for operators, which stay open while the
    /// service is started anew, and `PRODUCT@.service`, which stands in for it meanwhile.
    ///
    /// # Errors
    ///
    /// Everything about the manifest or the settings that does not do, and all that production refuses.
    pub fn systemd(&self) -> Result<Vec<File>, Undeployable> {
        Ok(systemd::render(&Plan::of_host(&self.manifest, &self.settings)?))
    }
}

/// Without the variables: one may hold a secret by mistake.
impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment").field("product", &self.manifest.product).finish_non_exhaustive()
    }
}
