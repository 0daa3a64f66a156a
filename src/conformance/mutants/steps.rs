use axum::middleware::from_fn;
use halfbyte_core::config::{Config, Variables};
use halfbyte_observe::testing::Received;

use super::life::edited;
use super::{Mutant, admin, arrives, configured};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "a product takes another port where its own is taken",
        clause: "HB-LIFE-004",
        make: |sound| configured(sound, |config| Config { listen: ([127, 0, 0, 1], 0).into(), ..config }),
    },
    Mutant {
        what: "the steps of a life are not shown",
        clause: "HB-LIFE-008",
        make: |sound| {
            admin(sound, |service| {
                service.layer(from_fn(async |request, next| edited(request, next, "/life/steps").await))
            })
        },
    },
    Mutant {
        what: "the log does not tell when usage is written",
        clause: "HB-LIFE-008",
        make: |sound| arrives(sound, |received| of_steps(received, |step| step != "usage", "")),
    },
    Mutant {
        what: "the log does not tell what a step has left",
        clause: "HB-LIFE-008",
        make: |sound| arrives(sound, |received| of_steps(received, |_| true, "left")),
    },
    Mutant {
        what: "a service manager is told nothing",
        clause: "HB-LIFE-012",
        make: |sound| configured(sound, |config| Config { other: Variables::default(), ..config }),
    },
    Mutant {
        what: "a product that is to speak TLS speaks without it until it has a certificate",
        clause: "HB-LIFE-013",
        make: |sound| configured(sound, |config| Config { tls_secret: None, ..config }),
    },
];

/// Keeps the records of some steps, without one of their attributes.
fn of_steps(received: &mut Received, kept: fn(&str) -> bool, without: &str) {
    received.logs.retain(|log| log.attributes.get("step").is_none_or(|step| kept(step.as_str())));
    let of_steps = received.logs.iter_mut().filter(|log| log.attributes.contains_key("step"));
    of_steps.for_each(|log| drop(log.attributes.remove(without)));
}
