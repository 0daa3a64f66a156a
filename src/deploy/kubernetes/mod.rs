//! Kubernetes manifests, one document for each object.

mod around;
mod workload;

use super::error::Undeployable;
use super::plan::Plan;
use super::yaml::{self, Node, map};

pub(super) fn render(plan: &Plan) -> Result<String, Undeployable> {
    let mut documents = vec![
        ("Who the product is in the cluster. What it may do there: nothing.", around::service_account(plan)),
        (
            "The product. Its secrets are named here, and are elsewhere.\n\
             How many there are says the autoscaler, so that applying this anew does not change it.",
            workload::deployment(plan),
        ),
        ("Where clients reach it. Operators do not come this way.", around::service(plan)),
        (
            "A drained node takes one of them at a time; one that is not ready anyhow does not hold it up.",
            around::disruption_budget(plan),
        ),
        ("More of them early, fewer of them late.", around::autoscaler(plan)),
        (
            "Everybody reaches the listener for clients, monitoring alone the one for operators (and the node, for its probes).",
            around::network_policy(plan),
        ),
    ];
    if let Some(host) = &plan.host {
        let comment = if plan.tls {
            "TLS ends here, with the certificate in the Secret named, and begins anew to the pod, which speaks it too: a controller that does \
             not\ngo by the Service's appProtocol must be told by an annotation of its own."
        } else {
            "TLS ends here; the certificate is in the Secret named."
        };
        documents.push((comment, around::ingress(plan, host)));
    }
    yaml::documents(&documents)
}

/// The head of an object of the product.
fn object(plan: &Plan, api_version: &str, kind: &str, metadata: Node) -> Vec<(String, Node)> {
    let entry = |key: &str, value: Node| (key.to_owned(), value);
    vec![entry("apiVersion", api_version.into()), entry("kind", kind.into()), entry("metadata", named(plan, metadata))]
}

/// `more` below what the metadata of each object has.
fn named(plan: &Plan, more: Node) -> Node {
    let head = map([("name", plan.name.as_str().into())]).and("namespace", plan.namespace.as_deref().map(Node::from));
    let head = head.and("labels", Some(labels(plan)));
    match (head, more) {
        (Node::Map(mut head), Node::Map(more)) => {
            head.extend(more);
            Node::Map(head)
        }
        (head, _) => head,
    }
}

fn labels(plan: &Plan) -> Node {
    map([
        ("app.kubernetes.io/name", plan.name.as_str().into()),
        // `+` is of semver and not of labels.
        ("app.kubernetes.io/version", plan.version.replace('+', "_").into()),
        ("app.kubernetes.io/managed-by", "halfbyte".into()),
    ])
}

/// What does not change from one version to the next: by it objects find their pods.
fn selector(plan: &Plan) -> Node {
    map([("matchLabels", map([("app.kubernetes.io/name", plan.name.as_str().into())]))])
}

/// What the listener for clients speaks; its port is called so everywhere.
fn scheme(plan: &Plan) -> &'static str {
    if plan.tls { "https" } else { "http" }
}

fn with_spec(mut head: Vec<(String, Node)>, spec: Node) -> Node {
    head.push(("spec".to_owned(), spec));
    Node::Map(head)
}
