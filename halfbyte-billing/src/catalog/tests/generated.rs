//! Whatever text there is, it is read without a panic; whatever catalogue is written, it is read as it was meant.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::{Aggregation, Allowance, Catalog, Entitlement, FeatureKind, Limit, Per, Reset};

/// Words of catalogues, so that texts made of them go far into the parser.
const WORDS: [&str; 44] = [
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "\"",
    "'",
    "\"\"\"",
    "#",
    " ",
    "products",
    "meters",
    "features",
    "templates",
    "plans",
    "add-ons",
    "versions",
    "include",
    "where",
    "group-by",
    "product",
    "meter",
    "limit",
    "soft",
    "grace",
    "per",
    "\"month\"",
    "rollover",
    "decimals",
    "default",
    "true",
    "false",
    "1",
    "2",
    "-1",
    "0x7f",
    "2.5",
    "nan",
    "1e400",
    "p",
    "\u{e9}\\u0000",
];

#[derive(Clone, Debug)]
struct Metered {
    event: Option<String>,
    aggregation: Option<bool>,
    decimals: u8,
    group_by: Vec<String>,
    filter: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug)]
struct Says {
    limit: Limit,
    per: Per,
    reset: Reset,
    rollover: u64,
    quoted: bool,
}

#[derive(Clone, Debug)]
struct Meant {
    meters: BTreeMap<String, Metered>,
    switches: BTreeMap<String, bool>,
    values: BTreeMap<String, String>,
    /// What each version of each plan says of each meter's feature: by index, as the meters are not known yet.
    plans: BTreeMap<String, Vec<Vec<Option<Says>>>>,
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,11}"
}

fn text() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{1,20}"
}

fn metered() -> impl Strategy<Value = Metered> {
    let filter = btree_map(text(), vec(text(), 1..3), 0..3);
    let group_by = btree_map(text(), Just(()), 0..8).prop_map(|members| members.into_keys().collect());
    (option::of(text()), option::of(any::<bool>()), 0_u8..=9, group_by, filter).prop_map(
        |(event, sums, decimals, group_by, filter)| {
            let decimals = if sums == Some(false) { 0 } else { decimals };
            Metered { event, aggregation: sums, decimals, group_by, filter }
        },
    )
}

fn says() -> impl Strategy<Value = Says> {
    let units = || 0..=(i64::MAX as u64) / 4;
    let limit = prop_oneof![
        (units(), 0_u8..=100).prop_map(|(units, grace)| Limit::Hard { units, grace }),
        units().prop_map(|units| Limit::Soft { units }),
        Just(Limit::Unlimited),
        Just(Limit::Prepaid),
    ];
    let per =
        proptest::sample::select(["day", "month", "year"].into_iter().filter_map(Per::from_word).collect::<Vec<_>>());
    let reset = prop_oneof![Just(Reset::Calendar), Just(Reset::Anniversary)];
    (limit, per, reset, units(), any::<bool>()).prop_map(|(limit, per, reset, rollover, quoted)| match limit {
        Limit::Unlimited | Limit::Prepaid => {
            Says { limit, per: Per::Month, reset: Reset::Calendar, rollover: 0, quoted }
        }
        _ => Says { limit, per, reset, rollover, quoted },
    })
}

fn meant() -> impl Strategy<Value = Meant> {
    let plans = btree_map(name(), vec(vec(option::of(says()), 3), 1..4), 0..4);
    (btree_map(name(), metered(), 0..4), btree_map(name(), any::<bool>(), 0..3), btree_map(name(), text(), 0..3), plans)
        .prop_map(|(meters, switches, values, plans)| Meant { meters, switches, values, plans })
}

/// A text as TOML has it: JSON says it in the same way.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text can be written")
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

fn number(units: u64, decimals: u8, in_quotes: bool) -> String {
    let number = Decimal::from_i128_with_scale(units.into(), decimals.into()).to_string();
    if in_quotes { quoted(&number) } else { number }
}

impl Says {
    fn write(&self, decimals: u8) -> String {
        let number = |units| number(units, decimals, self.quoted);
        let limit = match self.limit {
            Limit::Unlimited => return "\"unlimited\"".into(),
            Limit::Prepaid => return "\"prepaid\"".into(),
            Limit::Hard { units, grace } => format!("limit = {}, grace = {grace}", number(units)),
            Limit::Soft { units } => format!("soft = {}", number(units)),
        };
        let reset = if self.reset == Reset::Calendar { "calendar" } else { "anniversary" };
        let (per, rollover) = (self.per.as_str(), number(self.rollover));
        format!("{{ {limit}, per = \"{per}\", reset = \"{reset}\", rollover = {rollover} }}")
    }
}

impl Meant {
    /// Kinds of features in sections of their own, so that no two have one name.
    fn write(&self) -> Result<String, std::fmt::Error> {
        let mut toml = "[products.p]\n".to_owned();
        for (name, meter) in &self.meters {
            writeln!(toml, "[features.m-{name}]\nproduct = \"p\"\nmeter = \"{name}\"")?;
            writeln!(toml, "[meters.{name}]\nproduct = \"p\"\ndecimals = {}", meter.decimals)?;
            if let Some(event) = &meter.event {
                writeln!(toml, "event = {}", quoted(event))?;
            }
            if let Some(sums) = meter.aggregation {
                writeln!(toml, "aggregation = \"{}\"", if sums { "sum" } else { "count" })?;
            }
            writeln!(toml, "group-by = {}", list(&meter.group_by))?;
            for (property, any_of) in &meter.filter {
                writeln!(toml, "where.{} = {}", quoted(property), list(any_of))?;
            }
        }
        for name in self.switches.keys() {
            writeln!(toml, "[features.s-{name}]\nproduct = \"p\"")?;
        }
        for name in self.values.keys() {
            writeln!(toml, "[features.v-{name}]\nproduct = \"p\"\nvalue = true")?;
        }
        writeln!(toml, "[templates.all]")?;
        for (name, on) in &self.switches {
            writeln!(toml, "features.s-{name} = {on}")?;
        }
        for (name, value) in &self.values {
            writeln!(toml, "features.v-{name} = {}", quoted(value))?;
        }
        for (plan, versions) in &self.plans {
            for (index, version) in versions.iter().enumerate() {
                writeln!(toml, "[plans.{plan}.versions.{}]\ninclude = [\"all\"]", index + 1)?;
                for ((name, meter), says) in self.meters.iter().zip(version) {
                    if let Some(says) = says {
                        writeln!(toml, "features.m-{name} = {}", says.write(meter.decimals))?;
                    }
                }
            }
        }
        Ok(toml)
    }

    fn entitlements(&self, version: &[Option<Says>]) -> BTreeMap<Box<str>, Entitlement> {
        let metered = self.meters.keys().zip(version).filter_map(|(name, says)| {
            let Says { limit, per, reset, rollover, .. } = says.clone()?;
            Some((format!("m-{name}"), Entitlement::Metered(Allowance { limit, per, reset, rollover })))
        });
        let on = self.switches.iter().filter(|(_, on)| **on);
        let switches = on.map(|(name, _)| (format!("s-{name}"), Entitlement::Included));
        let values =
            self.values.iter().map(|(name, value)| (format!("v-{name}"), Entitlement::Value((**value).into())));
        metered.chain(switches).chain(values).map(|(name, says)| (name.into(), says)).collect()
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_faults(text in "\\PC*") {
        prop_assert!(Catalog::parse("c.toml", &text).map_or_else(|error| !error.faults().is_empty(), |_| true));
    }

    #[test]
    fn words_of_catalogues_in_any_order_are_read_or_refused_with_faults(
        words in vec(proptest::sample::select(&WORDS[..]), 0..60),
    ) {
        let text = words.concat();
        prop_assert!(Catalog::parse("c.toml", &text).map_or_else(|error| !error.faults().is_empty(), |_| true));
    }

    #[test]
    fn a_good_catalogue_with_a_byte_changed_is_read_or_refused_with_faults(
        meant in meant(),
        place in any::<prop::sample::Index>(),
        word in proptest::sample::select(&WORDS[..]),
    ) {
        let mut text: Vec<char> = meant.write().expect("writing to memory").chars().collect();
        let at = place.index(text.len());
        text.splice(at..=at, word.chars());
        let text: String = text.into_iter().collect();
        prop_assert!(Catalog::parse("c.toml", &text).map_or_else(|error| !error.faults().is_empty(), |_| true));
    }

    #[test]
    fn a_good_catalogue_is_read_as_it_was_meant(meant in meant()) {
        let text = meant.write().expect("writing to memory");
        let catalog = Catalog::parse("c.toml", &text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(catalog.meters().count(), meant.meters.len());
        for (name, written) in &meant.meters {
            let meter = catalog.meter(name).expect("it was written");
            let aggregation = if written.aggregation == Some(false) { Aggregation::Count } else { Aggregation::Sum };
            prop_assert_eq!((meter.aggregation, meter.decimals), (aggregation, written.decimals));
            let event = written.event.clone().unwrap_or_else(|| format!("p.{name}"));
            prop_assert!(catalog.meters_of_event(&event).iter().any(|found| *found.name == **name));
            prop_assert_eq!(meter.group_by.iter().map(|member| &**member).collect::<Vec<_>>(), &written.group_by[..]);
            let filters: BTreeMap<_, _> =
                meter.filters.iter().map(|filter| (filter.property.to_string(), filter.any_of.to_vec())).collect();
            let expected: BTreeMap<_, Vec<Box<str>>> = written
                .filter
                .iter()
                .map(|(property, any_of)| (property.clone(), any_of.iter().map(|text| (**text).into()).collect()))
                .collect();
            prop_assert_eq!(filters, expected);
            let feature = catalog.feature_of_meter(name).expect("it was written");
            prop_assert_eq!(&feature.kind, &FeatureKind::Metered(name.as_str().into()));
        }
        prop_assert_eq!(catalog.plans().count(), meant.plans.len());
        for (name, versions) in &meant.plans {
            let plan = catalog.plan(name).expect("it was written");
            prop_assert_eq!(plan.versions().count(), versions.len());
            for (found, written) in plan.versions().zip(versions) {
                prop_assert_eq!(&found.entitlements, &meant.entitlements(written));
                let json = serde_json::to_string(&**found).expect("it can be written");
                prop_assert_eq!(serde_json::from_str::<crate::PlanVersion>(&json).expect("it can be read"), (**found).clone());
            }
        }
    }
}
