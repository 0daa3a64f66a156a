use std::collections::{BTreeMap, BTreeSet};

/// What a manifest cannot know.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) image: Option<String>,
    pub(super) package: Option<String>,
    pub(super) binary: Option<String>,
    pub(super) features: Vec<String>,
    pub(super) build_image: String,
    pub(super) run_image: String,
    pub(super) namespace: Option<String>,
    pub(super) monitoring: String,
    pub(super) host: Option<String>,
    /// At least and at most.
    pub(super) replicas: (u32, u32),
    /// CPU and memory.
    pub(super) resources: (String, String),
    /// For clients and for operators.
    pub(super) ports: (u16, u16),
    pub(super) secret_object: Option<String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) ingress_annotations: BTreeMap<String, String>,
    pub(super) token_audience: Option<String>,
    /// The folder of the product in the context of a build, and the others that it needs.
    pub(super) sources: Option<(String, Vec<String>)>,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) secret_variables: BTreeSet<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: None,
            package: None,
            binary: None,
            features: Vec::new(),
            // The Rust that this was written for, on the Debian whose C library the image to run in has.
            build_image: concat!("docker.io/library/rust:", env!("CARGO_PKG_RUST_VERSION"), "-slim-trixie").to_owned(),
            run_image: "gcr.io/distroless/cc-debian13:nonroot".to_owned(),
            namespace: None,
            monitoring: "monitoring".to_owned(),
            host: None,
            replicas: (2, 10),
            resources: ("250m".to_owned(), "512Mi".to_owned()),
            ports: (8080, 9090),
            secret_object: None,
            annotations: BTreeMap::new(),
            ingress_annotations: BTreeMap::new(),
            token_audience: None,
            sources: None,
            variables: BTreeMap::new(),
            secret_variables: BTreeSet::new(),
        }
    }
}
