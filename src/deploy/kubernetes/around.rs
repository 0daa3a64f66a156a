//! What stands around the pods.

use std::collections::BTreeMap;

use super::super::plan::Plan;
use super::super::yaml::{Node, list, map};
use super::{object, scheme, selector, with_spec};

/// The share of the CPU that was asked for, in percent, from which on there are to be more.
const BUSY: u64 = 70;
/// How long it must have been quiet before there are fewer, in seconds.
const QUIET: u64 = 300;

pub(super) fn service_account(plan: &Plan) -> Node {
    let metadata = map([]).and("annotations", annotations(&plan.annotations));
    let mut account = object(plan, "v1", "ServiceAccount", metadata);
    account.push(("automountServiceAccountToken".to_owned(), false.into()));
    Node::Map(account)
}

fn annotations(all: &BTreeMap<String, String>) -> Option<Node> {
    let entries = all.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    Some(Node::Map(entries)).filter(|_| !all.is_empty())
}

pub(super) fn service(plan: &Plan) -> Node {
    let scheme = scheme(plan);
    let port = map([
        ("name", scheme.into()),
        ("port", if plan.tls { 443 } else { 80 }.into()),
        ("targetPort", scheme.into()),
        ("protocol", "TCP".into()),
        // By this, an Ingress and a mesh know what to speak.
        ("appProtocol", scheme.into()),
    ]);
    let selector = map([("app.kubernetes.io/name", plan.name.as_str().into())]);
    let spec = map([("type", "ClusterIP".into()), ("selector", selector), ("ports", list([port]))]);
    with_spec(object(plan, "v1", "Service", map([])), spec)
}

pub(super) fn disruption_budget(plan: &Plan) -> Node {
    let spec = map([
        ("maxUnavailable", 1.into()),
        ("unhealthyPodEvictionPolicy", "AlwaysAllow".into()),
        ("selector", selector(plan)),
    ]);
    with_spec(object(plan, "policy/v1", "PodDisruptionBudget", map([])), spec)
}

pub(super) fn autoscaler(plan: &Plan) -> Node {
    let (min, max) = plan.replicas;
    let target =
        map([("apiVersion", "apps/v1".into()), ("kind", "Deployment".into()), ("name", plan.name.as_str().into())]);
    let cpu = map([
        ("name", "cpu".into()),
        ("target", map([("type", "Utilization".into()), ("averageUtilization", BUSY.into())])),
    ]);
    let spec = map([
        ("scaleTargetRef", target),
        ("minReplicas", u64::from(min).into()),
        ("maxReplicas", u64::from(max).into()),
        ("metrics", list([map([("type", "Resource".into()), ("resource", cpu)])])),
        ("behavior", map([("scaleDown", map([("stabilizationWindowSeconds", QUIET.into())]))])),
    ]);
    with_spec(object(plan, "autoscaling/v2", "HorizontalPodAutoscaler", map([])), spec)
}

pub(super) fn network_policy(plan: &Plan) -> Node {
    let ports = |name: &str| list([map([("protocol", "TCP".into()), ("port", name.into())])]);
    let namespace = map([("kubernetes.io/metadata.name", plan.monitoring.as_str().into())]);
    let monitoring = map([("namespaceSelector", map([("matchLabels", namespace)]))]);
    let spec = map([
        ("podSelector", selector(plan)),
        ("policyTypes", list(["Ingress".into()])),
        (
            "ingress",
            list([
                map([("ports", ports(scheme(plan)))]),
                map([("from", list([monitoring])), ("ports", ports("admin"))]),
            ]),
        ),
    ]);
    with_spec(object(plan, "networking.k8s.io/v1", "NetworkPolicy", map([])), spec)
}

pub(super) fn ingress(plan: &Plan, host: &str) -> Node {
    let backend =
        map([("service", map([("name", plan.name.as_str().into()), ("port", map([("name", scheme(plan).into())]))]))]);
    let path = map([("path", "/".into()), ("pathType", "Prefix".into()), ("backend", backend)]);
    let rule = map([("host", host.into()), ("http", map([("paths", list([path]))]))]);
    let tls = map([("hosts", list([host.into()])), ("secretName", format!("{}-tls", plan.name).into())]);
    let spec = map([("tls", list([tls])), ("rules", list([rule]))]);
    let metadata = map([]).and("annotations", annotations(&plan.ingress_annotations));
    with_spec(object(plan, "networking.k8s.io/v1", "Ingress", metadata), spec)
}
