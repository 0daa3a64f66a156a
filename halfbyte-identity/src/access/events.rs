//! Decisions as events of the log: names and ids, never what an attribute says.

use std::sync::Arc;
use std::time::Duration;

use super::decision::{Decision, EvaluationError};
use super::log::{Asker, Record};
use super::question::name_of;
use super::throttle::Kind;

/// Asking for what is of another tenant is more than a missing role.
pub(super) const ISOLATION: &str = "halfbyte.tenant-isolation";

/// How many policies, and reasons of errors, one event names.
const NAMED: usize = 20;

/// The same event at one of two levels: they are constants of it.
macro_rules! event {
    ($is_warning:expr, $($event:tt)+) => {
        if $is_warning {
            tracing::warn!(target: "halfbyte::decisions", $($event)+)
        } else {
            tracing::info!(target: "halfbyte::decisions", $($event)+)
        }
    };
}

pub(super) fn is_severe(decision: &Decision) -> bool {
    !decision.errors.is_empty() || (!decision.is_allowed && decision.policies.iter().any(|id| **id == *ISOLATION))
}

/// One decision; the reasons of errors too, which hold no value.
pub(super) fn trace(record: &Record, decision: &Decision) {
    let Record { principal, tenant, action, resource, is_allowed, version, took, .. } = record;
    let (policies, errors) = (ids(&decision.policies), reasons(&decision.errors));
    let took_us = micros(*took);
    let outcome = if *is_allowed { "allowed" } else { "denied" };
    if record.is_unclear() {
        tracing::info!(
            target: "halfbyte::decisions",
            outcome, %principal, %tenant, %action, resource = "", policies, errors, %version, took_us,
            "{outcome}: {action}, and the request does not say on what"
        );
        return;
    }
    event!(
        is_severe(decision),
        outcome, %principal, %tenant, %action, %resource, policies, errors, %version, took_us,
        "{outcome}: {action} on {resource}"
    );
}

/// One event for all of a list.
pub(super) fn trace_list(asker: &Asker<'_>, decisions: &[Decision]) {
    let (principal, tenant, action) = (name_of(asker.principal), asker.principal.tenant(), asker.action);
    let hidden: Vec<_> = decisions.iter().filter(|decision| !decision.is_allowed).collect();
    let policies = ids(distinct(hidden.iter().flat_map(|decision| &decision.policies)));
    let errors = reasons(distinct(hidden.iter().flat_map(|decision| &decision.errors)));
    let version = decisions.first().map_or("", |decision| &decision.version);
    let took_us = micros(asker.took.saturating_mul(u32::try_from(decisions.len()).unwrap_or(u32::MAX)));
    let (rows, is_severe) = (decisions.len(), hidden.iter().any(|decision| is_severe(decision)));
    let hidden = hidden.len();
    event!(
        is_severe,
        outcome = "listed", %principal, %tenant, action, rows, hidden, policies, errors, version, took_us,
        "listed: {action}, {hidden} of {rows} hidden"
    );
}

/// One row that a list does not show.
pub(super) fn trace_row(record: &Record, decision: &Decision) {
    let Record { principal, tenant, action, resource, version, .. } = record;
    let (policies, errors) = (ids(&decision.policies), reasons(&decision.errors));
    tracing::debug!(
        target: "halfbyte::decisions",
        outcome = "hidden", %principal, %tenant, %action, %resource, policies, errors, %version,
        "hidden: {action} on {resource}"
    );
}

pub(super) fn trace_suppressed(kind: &Kind, suppressed: u64) {
    let Kind { tenant, principal, action, is_severe } = kind;
    let tenant = tenant.as_ref().map_or("others", |tenant| tenant.as_str());
    let principal = principal.as_ref().map_or_else(|| "others".to_owned(), ToString::to_string);
    event!(
        *is_severe,
        outcome = "suppressed",
        %principal,
        tenant,
        action,
        suppressed,
        "suppressed: {suppressed} more denials of {principal} of tenant {tenant} were not logged"
    );
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for item in items {
        // One more than is named shows that there are more.
        if found.len() > NAMED {
            break;
        }
        if !found.contains(&item) {
            found.push(item);
        }
    }
    found
}

fn ids<'a>(ids: impl IntoIterator<Item = &'a Arc<str>>) -> String {
    joined(ids.into_iter().map(|id| (**id).to_owned()), " ")
}

fn reasons<'a>(errors: impl IntoIterator<Item = &'a EvaluationError>) -> String {
    joined(errors.into_iter().map(ToString::to_string), "; ")
}

fn joined(mut items: impl Iterator<Item = String>, with: &str) -> String {
    let mut shown: Vec<_> = items.by_ref().take(NAMED).collect();
    shown.extend(items.next().map(|_| "...".to_owned()));
    shown.join(with)
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
