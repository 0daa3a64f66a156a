use crate::Catalog;

const GOOD: &str = r#"
[products.parcel]
[meters.labels]
product = "parcel"
[features.labels]
product = "parcel"
meter = "labels"
[features.booking]
product = "parcel"
"#;

fn refused(text: &str) -> String {
    Catalog::parse("plans.toml", text).expect_err(text).to_string()
}

#[test]
fn each_fault_is_told_with_line_name_and_what_to_do() {
    for (tail, expected) in [
        (
            "[plans.a]\nfeatures.lables = true",
            "plans.toml:11: plans.a.features.lables: there is no feature \"lables\"; did you mean \"labels\"?",
        ),
        (
            "[plans.a]\nfeatures.labels = true",
            "plans.toml:11: plans.a.features.labels: the feature is metered and needs a limit; write { limit = 100, per = \"month\" }",
        ),
        (
            "[plans.a]\nfeatures.booking = { limit = 3, per = \"day\" }",
            "plans.toml:11: plans.a.features.booking: the feature has no meter and can have no limit; write true, or give the feature a meter",
        ),
        (
            "[plans.a]\ndefault = true\n[plans.b]\ndefault = true",
            "plans.toml:13: plans.b.default: the plan \"a\" is the default already; only one can be",
        ),
        ("[plans.a]\ndefault = 1", "plans.toml:11: plans.a.default: must be true or false, not a number"),
        (
            "[plans.a]\nfeatures.booking = \"yes\"",
            "plans.toml:11: plans.a.features.booking: must be true or false, not a text",
        ),
        (
            "[plans.a]\nfeatures.labels = { limit = -1, per = \"day\" }",
            "plans.toml:11: plans.a.features.labels.limit: must be a whole number from 0 to 9223372036854775807",
        ),
        (
            "[plans.a]\nfeatures.labels = { limit = 1.5, per = \"day\" }",
            "plans.toml:11: plans.a.features.labels.limit: must be a whole number from 0 to 9223372036854775807",
        ),
        (
            "[plans.a]\nfeatures.labels = { limit = 1, per = \"week\" }",
            "plans.toml:11: plans.a.features.labels.per: \"week\" is not a period; write \"day\", \"month\" or \"year\"",
        ),
        (
            "[plans.a]\nfeatures.labels = { limit = 1 }",
            "plans.toml:11: plans.a.features.labels: lacks \"per\"; add per = \"...\"",
        ),
        (
            "[plans.a]\nfeatures.labels = { per = \"day\" }",
            "plans.toml:11: plans.a.features.labels: lacks \"limit\"; write { limit = 100, per = \"month\" }",
        ),
        (
            "[plans.a]\nfeatures.labels = { limit = 1, per = \"day\", sofd = true }",
            "plans.toml:11: plans.a.features.labels.sofd: there is no such key; did you mean \"soft\"?",
        ),
        (
            "[plans.Big]",
            "plans.toml:10: plans.Big: not a valid name; use a lower-case letter, then up to 62 of a-z, 0-9 and '-'",
        ),
        ("[plans.a]\nfeatures = 3", "plans.toml:11: plans.a.features: must be a table, not a number"),
        (
            "[meters.m]\nproduct = \"parzel\"",
            "plans.toml:11: meters.m.product: there is no product \"parzel\"; did you mean \"parcel\"?",
        ),
        ("[meters.m]", "plans.toml:10: meters.m: lacks \"product\"; add product = \"...\""),
        (
            "[features.f]\nproduct = \"parcel\"\nmeter = \"label\"",
            "plans.toml:12: features.f.meter: there is no meter \"label\"; did you mean \"labels\"?",
        ),
        (
            "[products.clinic]\n[features.f]\nproduct = \"clinic\"\nmeter = \"labels\"",
            "plans.toml:13: features.f.meter: the meter \"labels\" counts for \"parcel\"; give clinic its own",
        ),
        ("[feature.f]", "plans.toml:10: feature: there is no such key; did you mean \"features\"?"),
        (
            "[products.clinic]\ntitel = \"x\"",
            "plans.toml:11: products.clinic.titel: there is no such key; did you mean \"title\"?",
        ),
    ] {
        assert_eq!(refused(&format!("{GOOD}{tail}\n")), expected);
    }
}

#[test]
fn all_faults_are_reported_at_once_in_the_order_of_the_file() {
    let text = format!("{GOOD}[plans.a]\nfeatures.lables = true\nfeatures.bookin = true\n[plans.B]\ncolour = 3\n");
    let error = Catalog::parse("plans.toml", &text).expect_err("it has four faults");
    let lines: Vec<_> = error.faults().iter().filter_map(|fault| fault.line).collect();
    assert_eq!(lines, [11, 12, 13, 14], "{error}");
}

#[test]
fn a_wrong_meter_is_one_fault_and_not_one_for_each_plan() {
    let text = "[products.p]\n[features.f]\nproduct = \"p\"\nmeter = \"m\"\n\
                [plans.a]\nfeatures.f = { limit = 1, per = \"day\" }\n";
    assert_eq!(refused(text).lines().count(), 1, "{}", refused(text));
}

#[test]
fn faults_of_syntax_are_told_with_their_line() {
    let message = refused("[products.parcel]\ntitle = \n[meters\n");
    assert!(message.starts_with("plans.toml:2: not valid TOML: "), "{message}");
    assert!(message.contains("plans.toml:3: "), "{message}");
    assert!(refused("[products.parcel]\n[products.parcel]\n").starts_with("plans.toml:2: "));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Catalog::read("/nowhere/plans.toml").expect_err("it is not there");
    assert!(error.to_string().starts_with("/nowhere/plans.toml: the catalogue cannot be read: "), "{error}");
}

/// The faults that `tail` has after the good part, without the file: `LINE: NAME: MESSAGE`.
fn faults(tail: &str) -> Vec<String> {
    refused(&format!("{GOOD}{tail}\n")).lines().map(|line| line.trim_start_matches("plans.toml:").to_owned()).collect()
}

#[test]
fn a_meter_must_make_sense() {
    for (keys, expected) in [
        ("aggregation = \"summ\"", "aggregation: cannot be \"summ\"; did you mean \"sum\"?"),
        ("aggregation = 3", "aggregation: must be a text, not a number"),
        (
            "value = \"units\"\naggregation = \"count\"",
            "value: a count asks for no value; remove it, or write aggregation = \"sum\"",
        ),
        ("decimals = 10", "decimals: must be a whole number from 0 to 9"),
        ("decimals = \"2\"", "decimals: must be a whole number from 0 to 9"),
        ("decimals = 1\naggregation = \"count\"", "decimals: what is counted one by one has no fraction; remove it"),
        ("decimals = 1\naggregation = \"unique\"", "decimals: what is counted one by one has no fraction; remove it"),
        ("group-by = \"carrier\"", "group-by: must be a list of texts, not a text"),
        ("group-by = [\"carrier\", 3]", "group-by: must be a text, not a number"),
        ("group-by = [\"carrier\", \"carrier\"]", "group-by: names \"carrier\" twice; remove one"),
        (
            "group-by = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\"]",
            "group-by: has 9 entries; usage is kept apart by at most 8",
        ),
        ("where = \"dhl\"", "where: must be a table, not a text"),
        ("where = { carrier = 3 }", "where.carrier: must be a text, not a number"),
        ("where = { carrier = [] }", "where.carrier: lets no event through; write the texts that it may be"),
        ("where = { carrier = [\"dhl\", true] }", "where.carrier: must be a text, not true or false"),
        ("groupby = [\"carrier\"]", "groupby: there is no such key; did you mean \"group-by\"?"),
        ("event = \"\"", "event: must not be empty"),
        ("unit = \"a\\u0007b\"", "unit: must not have control characters"),
    ] {
        assert_eq!(
            faults(&format!("[meters.m]\nproduct = \"parcel\"\n{keys}")),
            [format!("12: meters.m.{expected}")],
            "{keys}"
        );
    }
}

#[test]
fn a_feature_must_make_sense() {
    for (keys, expected) in [
        ("fallback = \"permit\"", "fallback: cannot be \"permit\"; known: deny, allow"),
        ("value = 1", "value: must be true or false, not a number"),
        ("meter = 1", "meter: must be a text, not a number"),
        ("meter = \"spare\"\nvalue = true", "meter: a feature has a meter or a value, not both; remove one"),
        (
            "meter = \"seats\"",
            "meter: what the meter \"seats\" measures cannot be used up; name one that counts or sums",
        ),
        (
            "meter = \"labels\"",
            "meter: the meter \"labels\" belongs to the feature \"labels\" already; give rush a meter of its own, it \
             may count the same event",
        ),
    ] {
        let meters =
            "[meters.seats]\nproduct = \"parcel\"\naggregation = \"max\"\n[meters.spare]\nproduct = \"parcel\"\n";
        let text = format!("{meters}[features.rush]\nproduct = \"parcel\"\n{keys}");
        assert_eq!(faults(&text), [format!("17: features.rush.{expected}")], "{keys}");
    }
}

#[test]
fn an_entitlement_must_make_sense() {
    let features = "[features.seats]\nproduct = \"parcel\"\nvalue = true\n[meters.km]\nproduct = \"parcel\"\n\
                    decimals = 2\n[features.km]\nproduct = \"parcel\"\nmeter = \"km\"\n";
    for (line, expected) in [
        (
            "labels = \"unlimitd\"",
            "labels: cannot be \"unlimitd\"; did you mean \"unlimited\"?; or write { limit = 100, per = \"month\" }",
        ),
        ("labels = 3", "labels: the feature is metered and needs a limit; write { limit = 100, per = \"month\" }"),
        (
            "labels = { limit = 1, soft = 2, per = \"day\" }",
            "labels.soft: a limit is hard or soft; remove one of the two",
        ),
        (
            "labels = { soft = 1, grace = 3, per = \"day\" }",
            "labels.grace: a soft limit lets everything through and has no grace; remove it",
        ),
        ("labels = { limit = 1, grace = 101, per = \"day\" }", "labels.grace: must be a whole number from 0 to 100"),
        ("labels = { limit = 1, grace = -1, per = \"day\" }", "labels.grace: must be a whole number from 0 to 100"),
        ("labels = { limit = 1, grace = 300, per = \"day\" }", "labels.grace: must be a whole number from 0 to 100"),
        (
            "labels = { limit = 1, per = \"day\", reset = \"yearly\" }",
            "labels.reset: cannot be \"yearly\"; known: calendar, anniversary",
        ),
        (
            "labels = { limit = 1, per = \"day\", rollover = 1.5 }",
            "labels.rollover: must be a whole number from 0 to 9223372036854775807",
        ),
        (
            "labels = { limit = 9223372036854775808, per = \"day\" }",
            "labels.limit: must be a whole number from 0 to 9223372036854775807",
        ),
        (
            "labels = { limit = \"many\", per = \"day\" }",
            "labels.limit: must be a whole number from 0 to 9223372036854775807",
        ),
        (
            "labels = { limit = 9223372036854775807, grace = 1, per = \"day\" }",
            "labels: limit, grace and rollover together are more than can be counted; make one smaller",
        ),
        (
            "labels = { soft = 9223372036854775807, rollover = 1, per = \"day\" }",
            "labels: limit, grace and rollover together are more than can be counted; make one smaller",
        ),
        (
            "km = { limit = 2.555, per = \"day\" }",
            "km.limit: must be a number from 0 to 92233720368547758.07 with at most 2 digits after the point",
        ),
        (
            "km = { soft = nan, per = \"day\" }",
            "km.soft: must be a number from 0 to 92233720368547758.07 with at most 2 digits after the point",
        ),
        ("seats = true", "seats: the feature has a value; write a number or a text, not true or false"),
        ("seats = inf", "seats: the number cannot be kept exactly; write it in quotes"),
        ("seats = \"\"", "seats: must not be empty"),
    ] {
        let text = format!("{features}[plans.a]\nfeatures.{line}");
        assert_eq!(faults(&text), [format!("20: plans.a.features.{expected}")], "{line}");
    }
}

#[test]
fn the_versions_of_a_plan_are_numbered_from_1_without_a_gap() {
    for (tail, expected) in [
        ("[plans.a]\nversions = {}", "11: plans.a.versions: has no version; write [plans.a.versions.1]"),
        ("[plans.a]\nversions = 2", "11: plans.a.versions: must be a table, not a number"),
        (
            "[plans.a.versions.2]",
            "10: plans.a.versions.2: there is no version 1 before it; keep what was published, and leave no gap",
        ),
        (
            "[plans.a.versions.1]\n[plans.a.versions.4]\n[plans.a.versions.3]",
            "12: plans.a.versions.3: there is no version 2 before it; keep what was published, and leave no gap",
        ),
        ("[plans.a.versions.01]", "10: plans.a.versions.01: not a version; number them from 1 to 10000"),
        ("[plans.a.versions.0]", "10: plans.a.versions.0: not a version; number them from 1 to 10000"),
        ("[plans.a.versions.10001]", "10: plans.a.versions.10001: not a version; number them from 1 to 10000"),
        (
            "[plans.a]\nfeatures.booking = true\n[plans.a.versions.1]",
            "11: plans.a.features: stands beside versions; move it into the version that it belongs to",
        ),
        (
            "[templates.t]\n[plans.a]\ninclude = [\"t\"]\n[plans.a.versions.1]",
            "12: plans.a.include: stands beside versions; move it into the version that it belongs to",
        ),
        (
            "[plans.a.versions.1]\ntitle = \"x\"",
            "11: plans.a.versions.1.title: there is no such key; known: include, features",
        ),
        (
            "[plans.a.versions.1]\nfeatures.lables = true",
            "11: plans.a.versions.1.features.lables: there is no feature \"lables\"; did you mean \"labels\"?",
        ),
    ] {
        assert_eq!(faults(tail), [expected], "{tail}");
    }
}

#[test]
fn templates_and_add_ons_must_make_sense() {
    for (tail, expected) in [
        (
            "[templates.basic]\n[plans.a]\ninclude = [\"basik\"]",
            "12: plans.a.include: there is no template \"basik\"; did you mean \"basic\"?",
        ),
        ("[templates.t]\n[plans.a]\ninclude = [\"t\", \"t\"]", "12: plans.a.include: names \"t\" twice; remove one"),
        ("[templates.t]\n[plans.a]\ninclude = \"t\"", "12: plans.a.include: must be a list of texts, not a text"),
        ("[templates.t]\ntitle = \"T\"", "11: templates.t.title: there is no such key; known: features"),
        (
            "[templates.t]\nfeatures.booking = 3",
            "11: templates.t.features.booking: must be true or false, not a number",
        ),
        (
            "[add-ons.x]\nfeatures.booking = false",
            "11: add-ons.x.features.booking: an add-on takes nothing away; remove it",
        ),
        (
            "[add-ons.x]\nfeatures.labels = \"unlimited\"",
            "11: add-ons.x.features.labels: an add-on adds so much; write { limit = 100, per = \"month\" }",
        ),
        (
            "[add-ons.x]\nfeatures.labels = { soft = 3, per = \"day\" }",
            "11: add-ons.x.features.labels.soft: an add-on adds to what its plan lets through; write limit",
        ),
        (
            "[add-ons.x]\nfeatures.labels = { limit = 3, grace = 3, per = \"day\" }",
            "11: add-ons.x.features.labels.grace: an add-on has no grace; give it to the limit of the plan",
        ),
        (
            "[add-ons.x]\nfeature.labels = true",
            "11: add-ons.x.feature: there is no such key; did you mean \"features\"?",
        ),
        ("[addons.x]", "10: addons: there is no such key; did you mean \"add-ons\"?"),
    ] {
        assert_eq!(faults(tail), [expected], "{tail}");
    }
}

#[test]
fn who_refers_to_what_is_wrong_is_not_blamed_but_still_checked() {
    let text = "[products.p]\ntitle = 3\n[meters.m]\nproduct = \"p\"\ndecimals = 77\n\
                [features.f]\nproduct = \"p\"\nmeter = \"m\"\n[features.g]\nproduct = \"p\"\nvalue = 3\n\
                [templates.t]\nfeatures.f = { limit = 1.123, per = \"day\" }\n\
                [plans.a]\ninclude = [\"t\"]\nfeatures.g = 7\nfeatures.f = { limit = 1, pre = \"day\" }\n";
    let error = Catalog::parse("plans.toml", text).expect_err("it has five faults");
    let names: Vec<_> = error.faults().iter().map(|fault| (fault.line.unwrap_or(0), fault.name.as_str())).collect();
    let expected = [
        (2, "products.p.title"),
        (5, "meters.m.decimals"),
        (11, "features.g.value"),
        (17, "plans.a.features.f"),
        (17, "plans.a.features.f.pre"),
    ];
    assert_eq!(names, expected, "{error}");
}

#[test]
fn names_that_are_no_names_are_shown_on_one_line_and_cut() {
    let long = "x".repeat(500);
    let shown = faults(&format!("[plans.\"two\\nlines\"]\n[plans.{long}]\n"));
    assert!(shown[0].starts_with("10: plans.\"two\\nlines\": not a valid name"), "{shown:?}");
    assert!(shown[1].starts_with(&format!("11: plans.\"{}...\": not a valid name", "x".repeat(64))), "{shown:?}");
}

#[test]
fn everything_has_a_bound() {
    let text = format!("[products.parcel]\ntitle = \"{}\"\n", "x".repeat(257));
    assert_eq!(refused(&text), "plans.toml:2: products.parcel.title: is 257 bytes long; it can be at most 256");

    let text = format!("[products.p]\n# {}", "x".repeat(4 << 20));
    assert_eq!(refused(&text), "plans.toml: it is longer than 4194304 bytes, the most that a catalogue can have");

    let text: String = (0..10_001).map(|number| format!("[products.p{number}]\n")).collect();
    assert_eq!(refused(&text), "plans.toml:1: products: has 10001 entries; there can be at most 10000");

    let text = format!("{}a = 1\n", "a.".repeat(1_000_000));
    assert_eq!(refused(&text), "plans.toml:1: a key here has more parts than any of a catalogue; is a quote missing?");
}

#[test]
fn templates_cannot_make_more_than_can_be_kept() {
    let features: String = (0..1_000).map(|number| format!("[features.f{number}]\nproduct = \"p\"\n")).collect();
    let grants: String = (0..1_000).map(|number| format!("features.f{number} = true\n")).collect();
    let plans =
        |count| (0..count).map(|number| format!("[plans.p{number:03}]\ninclude = [\"all\"]\n")).collect::<String>();
    let text = |count| format!("[products.p]\n{features}[templates.all]\n{grants}{}", plans(count));
    assert!(Catalog::parse("plans.toml", &text(250)).is_ok());
    let message = "plans.toml:3504: plans.p250: the plans say more than 250000 things of features in all; say fewer";
    assert_eq!(refused(&text(252)), message);
}

#[test]
fn of_many_faults_the_first_thousand_are_listed_and_the_others_counted() {
    let keys: String = (0..5_000).map(|number| format!("wrong{number} = 1\n")).collect();
    let error = Catalog::parse("plans.toml", &format!("[products.p]\n{keys}")).expect_err("it is all wrong");
    assert_eq!(error.faults().len(), 1_001);
    let last = error.to_string().lines().last().map(str::to_owned);
    assert_eq!(last.as_deref(), Some("plans.toml: 4000 more faults are not listed; mend these first"));
}
