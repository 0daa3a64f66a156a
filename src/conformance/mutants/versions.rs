use std::time::Duration;

use super::{Mutant, boasting, sound};
use crate::Deviation;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "a limit is another one, and nothing says so",
        clause: "HB-VER-001",
        make: |sound| boasting(sound, |manifest| _ = manifest.limits.insert("drain_in_flight_ms".into(), 1)),
    },
    Mutant {
        what: "a limit is not told",
        clause: "HB-VER-001",
        make: |sound| boasting(sound, |manifest| _ = manifest.limits.remove("warm_up_ms")),
    },
    Mutant {
        what: "a layer is missing",
        clause: "HB-VER-001",
        make: |sound| boasting(sound, |manifest| manifest.layers.retain(|layer| layer != "deadline")),
    },
    Mutant {
        what: "it is on another version",
        clause: "HB-VER-001",
        make: |sound| boasting(sound, |manifest| manifest.contract = "2025-01-01 (V0)".into()),
    },
    Mutant {
        what: "a deviation has expired",
        clause: "HB-VER-002",
        make: |_| {
            sound::built(|builder| {
                let deviation = Deviation::DrainInFlight(Duration::from_secs(20));
                builder.deviate(deviation, "soon", jiff::civil::date(2026, 1, 31))
            })
        },
    },
    Mutant {
        what: "a deviation has no reason",
        clause: "HB-VER-002",
        make: |sound| boasting(sound, |manifest| manifest.deviations[0].reason = " ".into()),
    },
    Mutant {
        what: "a deviation has no end",
        clause: "HB-VER-002",
        make: |sound| boasting(sound, |manifest| manifest.deviations[0].until = "never".into()),
    },
    Mutant {
        what: "it deviates from what nobody may depart from",
        clause: "HB-VER-002",
        make: |sound| boasting(sound, |manifest| manifest.deviations[0].clause = "HB-REF-001".into()),
    },
    Mutant {
        what: "a deviation belittles what the contract says",
        clause: "HB-VER-002",
        make: |sound| boasting(sound, |manifest| manifest.deviations[0].contract += 1),
    },
    Mutant {
        what: "a deviation is not what is in force",
        clause: "HB-VER-002",
        make: |sound| boasting(sound, |manifest| manifest.deviations[0].value += 1),
    },
];
