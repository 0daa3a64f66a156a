//! The pods.

use super::super::plan::{Plan, Secrets};
use super::super::yaml::{Node, list, map};
use super::{labels, object, scheme, selector, with_spec};

/// The uid and gid of `nonroot` in distroless images.
const NOBODY: u64 = 65532;
/// Where the state folder is mounted; the state is below it, in a folder of the process's own.
const STATE: &str = "/var/lib";
/// What the state folder may take: telemetry and usage that wait for their backends.
const STATE_SIZE: &str = "2Gi";
/// Where products look for the token of their service account.
const TOKEN_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN_SECONDS: u64 = 3600;
/// How much longer than its warm-up a start may take, at the least, before it is tried anew.
const SLOW_START_SECONDS: u64 = 50;

pub(super) fn deployment(plan: &Plan) -> Node {
    let spec = map([
        ("revisionHistoryLimit", 5.into()),
        ("progressDeadlineSeconds", 600.into()),
        ("selector", selector(plan)),
        // A new one is ready before an old one goes.
        (
            "strategy",
            map([
                ("type", "RollingUpdate".into()),
                ("rollingUpdate", map([("maxSurge", 1.into()), ("maxUnavailable", 0.into())])),
            ]),
        ),
        ("template", map([("metadata", pod_metadata(plan)), ("spec", pod(plan))])),
    ]);
    with_spec(object(plan, "apps/v1", "Deployment", map([])), spec)
}

fn pod_metadata(plan: &Plan) -> Node {
    let annotations = map([
        ("halfbyte/contract", plan.contract.as_str().into()),
        ("halfbyte/fingerprint", plan.fingerprint.as_str().into()),
        ("prometheus.io/scrape", "true".into()),
        ("prometheus.io/port", plan.ports.1.to_string().into()),
        ("prometheus.io/path", "/metrics".into()),
    ]);
    map([("labels", labels(plan)), ("annotations", annotations)])
}

fn pod(plan: &Plan) -> Node {
    let security = map([
        ("runAsNonRoot", true.into()),
        ("runAsUser", NOBODY.into()),
        ("runAsGroup", NOBODY.into()),
        ("fsGroup", NOBODY.into()),
        ("fsGroupChangePolicy", "OnRootMismatch".into()),
        ("seccompProfile", map([("type", "RuntimeDefault".into())])),
    ]);
    let (mounts, volumes) = volumes(plan);
    map([
        ("serviceAccountName", plan.name.as_str().into()),
        // Where one is needed, the token alone is mounted below.
        ("automountServiceAccountToken", false.into()),
        ("enableServiceLinks", false.into()),
        ("terminationGracePeriodSeconds", plan.stop_seconds.into()),
        ("securityContext", security),
        (
            "topologySpreadConstraints",
            list(["topology.kubernetes.io/zone", "kubernetes.io/hostname"].map(|key| spread(plan, key))),
        ),
        ("containers", list([container(plan, mounts)])),
        ("volumes", volumes),
    ])
}

fn spread(plan: &Plan, key: &str) -> Node {
    map([
        ("maxSkew", 1.into()),
        ("topologyKey", key.into()),
        ("whenUnsatisfiable", "ScheduleAnyway".into()),
        ("labelSelector", selector(plan)),
        ("matchLabelKeys", list(["pod-template-hash".into()])),
    ])
}

fn container(plan: &Plan, mounts: Node) -> Node {
    let port = |name: &str, port: u16| {
        map([("name", name.into()), ("containerPort", u64::from(port).into()), ("protocol", "TCP".into())])
    };
    let (cpu, memory) = (plan.resources.0.as_str(), plan.resources.1.as_str());
    let security = map([
        ("allowPrivilegeEscalation", false.into()),
        ("readOnlyRootFilesystem", true.into()),
        ("capabilities", map([("drop", list(["ALL".into()]))])),
    ]);
    let starts_in = plan.warm_up_seconds + SLOW_START_SECONDS;
    map([
        ("name", plan.name.as_str().into()),
        ("image", plan.image.as_str().into()),
        ("imagePullPolicy", "IfNotPresent".into()),
        ("ports", list([port(scheme(plan), plan.ports.0), port("admin", plan.ports.1)])),
        ("env", environment(plan)),
        // CPU is not limited: a process that is held back answers late. Memory is: what is asked for is what there is.
        (
            "resources",
            map([
                ("requests", map([("cpu", cpu.into()), ("memory", memory.into())])),
                ("limits", map([("memory", memory.into())])),
            ]),
        ),
        ("startupProbe", probe("/startupz", 1, starts_in)),
        ("readinessProbe", probe("/readyz", 5, 2)),
        ("livenessProbe", probe("/livez", 10, 3)),
        ("securityContext", security),
        ("volumeMounts", mounts),
    ])
}

/// By the listener for operators, which is plain HTTP whatever the one for clients speaks.
fn probe(path: &str, period: u64, failures: u64) -> Node {
    map([
        ("httpGet", map([("path", path.into()), ("port", "admin".into())])),
        ("periodSeconds", period.into()),
        ("timeoutSeconds", 3.into()),
        ("failureThreshold", failures.into()),
    ])
}

fn environment(plan: &Plan) -> Node {
    let open = plan.open_variables(("0.0.0.0", "0.0.0.0"), &format!("{STATE}/{}/home", plan.name));
    let open = open.iter().map(|(name, value)| {
        // What looks like a reference to another variable is text.
        map([("name", name.as_str().into()), ("value", value.replace('$', "$$").into())])
    });
    let secret = plan.variables.secret.iter().map(|name| {
        let key = plan.secrets.key_of(name);
        let reference = map([("name", plan.secret_object.as_str().into()), ("key", key.into())]);
        map([("name", name.as_str().into()), ("valueFrom", map([("secretKeyRef", reference)]))])
    });
    list(open.chain(secret))
}

/// What is mounted where, and what that is.
fn volumes(plan: &Plan) -> (Node, Node) {
    let mount = |name: &str, path: &str, is_read_only: bool| {
        map([("name", name.into()), ("mountPath", path.into()), ("readOnly", is_read_only.into())])
    };
    let volume = |name: &str, kind: &str, what: Node| map([("name", name.into()), (kind, what)]);
    // It outlives a process that dies and not its pod, which has written out everything when it ends in order.
    let mut mounts = vec![mount("state", &format!("{STATE}/{}", plan.name), false)];
    let mut volumes = vec![volume("state", "emptyDir", map([("sizeLimit", STATE_SIZE.into())]))];
    match &plan.secrets {
        // An empty list of items would mean all that the object has.
        Secrets::Files { folder, names } if !names.is_empty() => {
            let item = |name: &String| map([("key", name.as_str().into()), ("path", name.as_str().into())]);
            let what = map([
                ("secretName", plan.secret_object.as_str().into()),
                ("defaultMode", 0o440.into()),
                ("items", list(names.iter().map(item))),
            ]);
            mounts.push(mount("secrets", folder, true));
            volumes.push(volume("secrets", "secret", what));
        }
        Secrets::ServiceAccount(audience) => {
            let token = map([
                ("path", "token".into()),
                ("audience", audience.as_str().into()),
                ("expirationSeconds", TOKEN_SECONDS.into()),
            ]);
            let sources = list([map([("serviceAccountToken", token)])]);
            mounts.push(mount("service-account", TOKEN_FOLDER, true));
            volumes.push(volume(
                "service-account",
                "projected",
                map([("defaultMode", 0o440.into()), ("sources", sources)]),
            ));
        }
        _ => {}
    }
    (list(mounts), list(volumes))
}
