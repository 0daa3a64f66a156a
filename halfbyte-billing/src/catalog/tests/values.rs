//! What is in a good catalogue.

use crate::{
    Aggregation, Allowance, Catalog, Entitlement, Fallback, FeatureKind, Filter, Limit, Per, PlanVersion, Reset,
};

const TEXT: &str = r#"
[products.parcel]
title = "Shipping labels"
[products.clinic]
[meters.labels]
product = "parcel"
unit = "label"
event = "parcel.label.bought"
group-by = ["carrier", "zone"]
where = { zone = ["eu", "uk"], carrier = "dhl" }
[meters.rush]
product = "parcel"
event = "parcel.label.bought"
aggregation = "count"
[meters.distance]
product = "parcel"
decimals = 2
value = "km"
[meters.seats]
product = "clinic"
aggregation = "time-weighted"
[features.labels]
product = "parcel"
meter = "labels"
fallback = "allow"
[features.distance]
product = "parcel"
meter = "distance"
[features.tracking]
product = "parcel"
[features.seats]
product = "clinic"
value = true
[templates.basic]
features.tracking = true
features.labels = { limit = 10, per = "day" }
[templates.seated]
features.seats = 1
[plans.starter]
title = "Starter"
default = true
include = ["basic"]
features.labels = { limit = 100, per = "month" }
[plans.pro]
[plans.pro.versions.1]
features.labels = { limit = 1_000, per = "month", grace = 10, rollover = 200 }
features.distance = { limit = 2.5, per = "day", rollover = "0.25" }
[plans.pro.versions.2]
include = ["basic", "seated"]
features.labels = { soft = 0x10, per = "month", reset = "anniversary" }
features.tracking = false
features.seats = "1 to 5"
features.distance = "unlimited"
[plans.partner]
features.labels = "prepaid"
features.seats = 2.50
[plans.nothing]
[add-ons.more]
title = "500 more labels"
features.labels = { limit = 500, per = "month" }
features.tracking = true
features.seats = -7
"#;

fn catalog() -> Catalog {
    Catalog::parse("plans.toml", TEXT).unwrap_or_else(|error| panic!("{error}"))
}

fn metered(limit: Limit, per: Per, reset: Reset, rollover: u64) -> Option<Entitlement> {
    Some(Entitlement::Metered(Allowance { limit, per, reset, rollover }))
}

fn says(plan: &str, version: u32, feature: &str) -> Option<Entitlement> {
    catalog().plan(plan)?.version(version)?.entitlements.get(feature).cloned()
}

#[test]
fn a_meter_is_what_is_written_and_its_defaults() {
    let catalog = catalog();
    let labels = catalog.meter("labels").expect("it is there");
    assert_eq!((&*labels.unit, &*labels.event, &*labels.value), ("label", "parcel.label.bought", "units"));
    assert_eq!((labels.aggregation, labels.decimals), (Aggregation::Sum, 0));
    assert_eq!(labels.group_by, [Box::from("carrier"), "zone".into()].into());
    let filter = |property: &str, any_of: &[&str]| Filter {
        property: property.into(),
        any_of: any_of.iter().map(|text| Box::from(*text)).collect(),
    };
    assert_eq!(labels.filters, [filter("carrier", &["dhl"]), filter("zone", &["eu", "uk"])].into());
    let seats = catalog.meter("seats").expect("it is there");
    assert_eq!((&*seats.unit, &*seats.event, seats.product.as_str()), ("unit", "clinic.seats", "clinic"));
    assert_eq!(seats.aggregation, Aggregation::TimeWeighted);
    let distance = catalog.meter("distance").expect("it is there");
    assert_eq!((&*distance.value, distance.decimals), ("km", 2));
}

#[test]
fn a_feature_is_a_switch_or_a_value_or_metered() {
    let catalog = catalog();
    let feature = |name| catalog.feature(name).expect("it is there");
    assert_eq!(feature("labels").kind, FeatureKind::Metered("labels".into()));
    assert_eq!(feature("tracking").kind, FeatureKind::Switch);
    assert_eq!(feature("seats").kind, FeatureKind::Value);
    assert_eq!((feature("labels").fallback, feature("tracking").fallback), (Fallback::Allow, Fallback::Deny));
}

#[test]
fn what_a_template_says_holds_unless_the_plan_has_another_word() {
    assert_eq!(says("starter", 1, "tracking"), Some(Entitlement::Included));
    let hundred = Limit::Hard { units: 100, grace: 0 };
    assert_eq!(says("starter", 1, "labels"), metered(hundred, Per::Month, Reset::Calendar, 0));
    assert_eq!(says("pro", 2, "tracking"), None);
    assert_eq!(says("pro", 2, "seats"), Some(Entitlement::Value("1 to 5".into())));
}

#[test]
fn allowances_are_in_the_smallest_unit() {
    let thousand = Limit::Hard { units: 1_000, grace: 10 };
    assert_eq!(says("pro", 1, "labels"), metered(thousand, Per::Month, Reset::Calendar, 200));
    assert_eq!(says("pro", 2, "labels"), metered(Limit::Soft { units: 16 }, Per::Month, Reset::Anniversary, 0));
    let distance = Limit::Hard { units: 250, grace: 0 };
    assert_eq!(says("pro", 1, "distance"), metered(distance, Per::Day, Reset::Calendar, 25));
    assert_eq!(says("pro", 2, "distance"), metered(Limit::Unlimited, Per::Month, Reset::Calendar, 0));
    assert_eq!(says("partner", 1, "labels"), metered(Limit::Prepaid, Per::Month, Reset::Calendar, 0));
    assert_eq!(says("partner", 1, "seats"), Some(Entitlement::Value("2.50".into())));
}

#[test]
fn a_plan_has_all_its_versions_and_new_customers_get_the_newest() {
    let catalog = catalog();
    let pro = catalog.plan("pro").expect("it is there");
    assert_eq!(pro.versions().map(|version| version.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((pro.newest().number, &*pro.title), (2, "pro"));
    assert_eq!(catalog.default_plan().map(|plan| &*plan.title), Some("Starter"));
    let nothing = PlanVersion { plan: "nothing".into(), number: 1, entitlements: Default::default() };
    assert_eq!(**catalog.plan("nothing").expect("it is there").newest(), nothing);
}

#[test]
fn an_add_on_adds_units_switches_and_values() {
    let catalog = catalog();
    let more = catalog.add_on("more").expect("it is there");
    assert_eq!(&*more.title, "500 more labels");
    let units = Limit::Hard { units: 500, grace: 0 };
    assert_eq!(more.entitlements.get("labels").cloned(), metered(units, Per::Month, Reset::Calendar, 0));
    assert_eq!(more.entitlements["tracking"], Entitlement::Included);
    assert_eq!(more.entitlements["seats"], Entitlement::Value("-7".into()));
}

#[test]
fn meters_are_found_by_the_type_of_an_event_and_features_by_their_meter() {
    let catalog = catalog();
    let names = |kind| catalog.meters_of_event(kind).iter().map(|meter| &*meter.name).collect::<Vec<_>>();
    assert_eq!(names("parcel.label.bought"), ["labels", "rush"]);
    assert_eq!(names("clinic.seats"), ["seats"]);
    assert!(names("parcel.labels").is_empty());
    assert_eq!(catalog.feature_of_meter("labels").map(|feature| &*feature.name), Some("labels"));
    assert!(catalog.feature_of_meter("rush").is_none());
}

#[test]
fn a_catalogue_keeps_its_text_and_where_it_is_from() {
    let catalog = catalog();
    assert_eq!((catalog.file(), catalog.text()), ("plans.toml", TEXT));
    assert!(!format!("{catalog:?}").contains("[products.parcel]"));
}

#[test]
fn the_catalogue_of_the_examples_is_good() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/catalog.toml");
    let catalog = Catalog::read(path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(catalog.plans().count(), 4);
}

#[test]
fn an_empty_text_is_an_empty_catalogue() {
    assert_eq!(Catalog::parse("plans.toml", "").map(|catalog| catalog.plans().count()), Ok(0));
}

#[test]
fn a_file_that_is_too_long_or_not_utf_8_is_told_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plans.toml");
    let message = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("written");
        Catalog::read(&path).expect_err("it is wrong").faults()[0].message.clone()
    };
    assert_eq!(message(b"\xff"), "the catalogue cannot be read: it is not UTF-8");
    let long = format!("#{}é", "x".repeat((4 << 20) - 1));
    let expected = "the catalogue cannot be read: it is longer than 4194304 bytes, the most that a catalogue can have";
    assert_eq!(message(long.as_bytes()), expected);
}
