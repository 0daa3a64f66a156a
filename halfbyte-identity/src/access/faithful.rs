//! Whatever is compiled: nothing ends the process, and what is taken is taken as Cedar reads it.

use std::str::FromStr as _;

use cedar_policy::{Policy, PolicySet};
use proptest::prelude::*;

use super::rules::Rules;
use super::source::SourceFile;
use super::statements::line_at;

const SCHEMA: &str = "entity Label = { tenant: HalfByte::Tenant, a: Long, b?: String, c: Set<String> };
action Get, Put in [HalfByte::Action::\"Read\"] appliesTo { principal: HalfByte::User, resource: Label };
";

/// Policies that are good.
const GOOD: &[&str] = &[
    "permit(principal, action, resource);",
    "@id(\"a;b\") permit(principal, action == Action::\"Get\", resource);",
    "@reason(\"// \\\" ;\") forbid (principal, action in [Action::\"Get\", Action::\"Put\"], resource is Label)\nwhen { resource.a < 3 }\nunless { resource has b && resource.b like \"*;\\\"*\" };",
    "permit(\n principal is HalfByte::User, action, resource is Label) when { resource has b && [\"x\", \"}\"].contains(resource[\"b\"]) };",
    "permit(principal, action, resource is Label) when { if resource.a == -1 then resource.c.contains(\";\") else !(resource.a * 2 > 7) };",
];

/// What else stands in policies and schemas, and what does not.
const TOKENS: &[&str] = &[
    "permit",
    "forbid",
    "(",
    ")",
    "principal",
    "action",
    "resource",
    "context",
    "==",
    "!=",
    "<",
    ">=",
    "in",
    "is",
    "has",
    "like",
    "when",
    "unless",
    "{",
    "}",
    "[",
    "]",
    ";",
    ",",
    ":",
    "::",
    ".",
    "@",
    "@id(\"x\")",
    "?principal",
    "Label",
    "Label::\"l\"",
    "HalfByte",
    "Action::\"Get\"",
    "true",
    "if",
    "then",
    "else",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "7",
    "9223372036854775808",
    "\"",
    "\\",
    "\"\\u{0}\"",
    "//",
    "\n",
    "\r",
    " ",
    "\t",
    "é",
    "\u{feff}",
    "\u{2028}",
    "\0",
    "ip(\"::1\")",
    "decimal(\"1.0\")",
    "entity",
    "type",
    "namespace",
    "appliesTo",
    "enum",
    "tags",
    "Set<",
    "=",
];

fn token() -> impl Strategy<Value = String> {
    prop::sample::select(TOKENS).prop_map(|token| format!("{token} "))
}

/// Mostly good, so that some of it is taken.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        8 => prop::sample::select(GOOD).prop_map(str::to_owned),
        4 => prop::sample::select(&["\n", "\r\n", " ", "// permit(\n", "\t", "\u{a0}"][..]).prop_map(str::to_owned),
        1 => token(),
        // One thing of a policy left out, or put in.
        1 => (prop::sample::select(GOOD), any::<prop::sample::Index>(), token()).prop_map(|(good, at, token)| {
            let at = good.char_indices().nth(at.index(good.chars().count())).map_or(0, |(at, _)| at);
            format!("{}{token}{}", &good[..at], &good[at..])
        }),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

/// Tokens again and again, on their own and in what is good.
fn repeated() -> impl Strategy<Value = String> {
    let part = (prop::collection::vec(token(), 1..4), prop::sample::select(&[1usize, 1, 2, 70, 20_000][..]));
    prop::collection::vec(part.prop_map(|(tokens, times)| tokens.concat().repeat(times)), 1..5)
        .prop_flat_map(|parts| {
            let frame = prop::sample::select(
                &[
                    ("", ""),
                    ("permit(principal, action, resource) when { ", " };"),
                    ("permit(principal, action, resource) ", ";"),
                ][..],
            );
            (Just(parts.concat()), frame)
        })
        .prop_map(|(text, (before, after))| format!("{before}{text}{after}"))
}

fn compiled(schema: &str, policies: &str) -> Option<Rules> {
    let files = [SourceFile::new("p.cedarschema", schema), SourceFile::new("p.cedar", policies)];
    match Rules::compile(&files) {
        Ok(rules) => Some(rules),
        Err(invalid) => {
            assert!(!invalid.0.is_empty(), "it says what is wrong");
            let lines = |file: &str| if file == "p.cedar" { policies } else { schema }.matches('\n').count() + 1;
            assert!(invalid.0.iter().all(|finding| finding.line <= lines(&finding.file)), "{invalid}");
            None
        }
    }
}

/// Of what is taken, each policy has its own text, and the line where that stands.
fn is_faithful(rules: &Rules, text: &str) {
    let theirs = PolicySet::from_str(text).expect("what is taken parses");
    let sorted = |mut texts: Vec<String>| {
        texts.sort_unstable();
        texts
    };
    let mut ours = Vec::new();
    for policy in rules.policies.policies() {
        let origin = &rules.origins[policy.id()];
        if origin.is_base {
            continue;
        }
        let text_of = policy.to_string();
        let stands = |line| text.match_indices(&text_of).any(|(at, _)| line_at(text, at) == line);
        assert!(stands(origin.line), "{}:{} is not where {text_of:?} stands", origin.file, origin.line);
        ours.push(text_of);
    }
    assert_eq!(sorted(ours), sorted(theirs.policies().map(Policy::to_string).collect()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_taken_is_taken_as_cedar_reads_it(text in text()) {
        if let Some(rules) = compiled(SCHEMA, &text) {
            is_faithful(&rules, &text);
        }
    }

    #[test]
    fn whatever_is_repeated_ends_no_process(text in repeated(), is_schema in prop::bool::weighted(0.3)) {
        let (schema, policies) = if is_schema { (&*text, "") } else { (SCHEMA, &*text) };
        if let Some(rules) = compiled(schema, policies) {
            is_faithful(&rules, policies);
        }
    }
}

#[test]
fn the_texts_that_are_good_are_taken() {
    let all = GOOD.join("\n");
    let files = [SourceFile::new("p.cedarschema", SCHEMA), SourceFile::new("p.cedar", &*all)];
    is_faithful(&Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}")), &all);
}
