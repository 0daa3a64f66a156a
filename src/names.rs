//! The names that telemetry has in every product, which dashboards and alerts are made of.

/// Metrics that the platform writes by itself, with their unit.
pub(crate) const METRICS: [(&str, &str); 34] = [
    ("halfbyte.access.decisions", "-"),
    ("halfbyte.access.errors", "-"),
    ("halfbyte.billing.backlog", "{event}"),
    ("halfbyte.billing.conflicts", "{event}"),
    ("halfbyte.billing.late", "{event}"),
    ("halfbyte.billing.overage", "{unit}"),
    ("halfbyte.billing.reclaimed", "{unit}"),
    ("halfbyte.billing.refused", "{event}"),
    ("halfbyte.billing.stranded", "{unit}"),
    ("halfbyte.check.age", "s"),
    ("halfbyte.check.ready", "-"),
    ("halfbyte.load_shed.in_flight", "{request}"),
    ("halfbyte.load_shed.limit", "{request}"),
    ("halfbyte.scrape.left_out", "-"),
    ("halfbyte.secrets.age", "s"),
    ("halfbyte.secrets.generation", "-"),
    ("halfbyte.secrets.reads", "-"),
    ("halfbyte.telemetry.spooled", "{item}"),
    ("http.client.request.duration", "s"),
    ("http.server.active_requests", "{request}"),
    ("http.server.request.duration", "s"),
    ("rpc.server.call.duration", "s"),
    ("otel.sdk.exporter.log.exported", "{log_record}"),
    ("otel.sdk.exporter.log.inflight", "{log_record}"),
    ("otel.sdk.exporter.metric_data_point.exported", "{data_point}"),
    ("otel.sdk.exporter.metric_data_point.inflight", "{data_point}"),
    ("otel.sdk.exporter.span.exported", "{span}"),
    ("otel.sdk.exporter.span.inflight", "{span}"),
    ("otel.sdk.processor.log.processed", "{log_record}"),
    ("otel.sdk.processor.log.queue.capacity", "{log_record}"),
    ("otel.sdk.processor.log.queue.size", "{log_record}"),
    ("otel.sdk.processor.span.processed", "{span}"),
    ("otel.sdk.processor.span.queue.capacity", "{span}"),
    ("otel.sdk.processor.span.queue.size", "{span}"),
];

/// Attributes of server spans, of the metrics above and of all telemetry.
pub(crate) const ATTRIBUTES: [(&str, &str); 40] = [
    ("client.address", "span"),
    ("client.port", "span"),
    ("enduser.pseudo.id", "span"),
    ("error.type", "span,metric"),
    ("halfbyte.access.action", "metric"),
    ("halfbyte.access.decision", "metric"),
    ("halfbyte.check.name", "metric"),
    ("halfbyte.check.state", "metric"),
    ("halfbyte.load_shed.state", "metric"),
    ("halfbyte.principal.kind", "span"),
    ("halfbyte.refusal", "span"),
    ("halfbyte.secret.name", "metric"),
    ("halfbyte.secret.outcome", "metric"),
    ("halfbyte.signal", "metric"),
    ("halfbyte.tenant", "span"),
    ("http.request.method", "span,metric"),
    ("http.request.method_original", "span"),
    ("http.response.status_code", "span,metric"),
    ("http.route", "span,metric"),
    ("network.peer.address", "span"),
    ("network.peer.port", "span"),
    ("network.protocol.name", "span"),
    ("network.protocol.version", "span,metric"),
    ("otel.component.name", "metric"),
    ("otel.component.type", "metric"),
    ("rpc.method", "span,metric"),
    ("rpc.method_original", "span"),
    ("rpc.response.status_code", "span,metric"),
    ("rpc.system.name", "span,metric"),
    ("server.address", "span,metric"),
    ("server.port", "span,metric"),
    ("url.path", "span"),
    ("url.scheme", "span,metric"),
    ("url.template", "metric"),
    ("user_agent.original", "span"),
    ("deployment.environment.name", "resource"),
    ("halfbyte.product", "resource"),
    ("service.instance.id", "resource"),
    ("service.name", "resource"),
    ("service.version", "resource"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// How names begin that telemetry has from us, in the sources.
    const OURS: [&str; 5] = ["halfbyte.", "halfbyte_scrape_", "otel.sdk.", "http.server.", "http.client."];

    /// What begins so too and is no name of telemetry: types of usage events, and ids of the base policies.
    const OTHERS: [&str; 7] = [
        "halfbyte.",
        "halfbyte.granted.",
        "halfbyte.granted.{}",
        "halfbyte.suspended-reads-only",
        "halfbyte.tenant-isolation",
        "halfbyte.usage.amended",
        "halfbyte.usage.voided",
    ];

    /// The texts of all that is built into a product, without tests.
    fn sources(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if ["tests", "testing", "conformance", "names", "corpus"].iter().any(|other| name.starts_with(other)) {
                continue;
            }
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned());
            }
        }
    }

    #[test]
    fn every_name_that_the_crates_give_telemetry_is_pinned_and_every_pinned_one_of_ours_is_given() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let crates = ["src", "halfbyte-core/src", "halfbyte-secrets/src", "halfbyte-observe/src"];
        let crates = crates.into_iter().chain(["halfbyte-identity/src", "halfbyte-billing/src"]);
        let mut texts = Vec::new();
        crates.for_each(|folder| sources(&root.join(folder), &mut texts));
        let literals =
            texts.iter().flat_map(|text| OURS.iter().map(move |begin| (text, begin))).flat_map(|(text, begin)| {
                let after = text.split(&format!("\"{begin}")[..]).skip(1).collect::<Vec<_>>();
                after.into_iter().map(move |rest| format!("{begin}{}", rest.split('"').next().unwrap_or_default()))
            });
        // As Prometheus has it, a name has no dots.
        let found: BTreeSet<String> =
            literals.map(|name| name.replace("halfbyte_scrape_", "halfbyte.scrape.")).collect();
        let pinned: BTreeSet<&str> = METRICS.iter().chain(&ATTRIBUTES).map(|(name, _)| *name).collect();
        // A name that is put together is known by how it begins.
        let is_pinned = |name: &str| match name.split_once('{') {
            Some((begin, _)) => pinned.iter().any(|pinned| pinned.starts_with(begin)),
            None => pinned.contains(name),
        };
        let unknown: Vec<_> = found.iter().filter(|name| !is_pinned(name) && !OTHERS.contains(&&***name)).collect();
        assert!(unknown.is_empty(), "the contract does not pin {unknown:?}");
        let is_ours = |name: &&&str| name.starts_with("halfbyte.");
        let unused: Vec<_> = pinned.iter().filter(is_ours).filter(|name| !found.contains(**name)).collect();
        assert!(unused.is_empty(), "nothing gives telemetry {unused:?}");
    }
}
