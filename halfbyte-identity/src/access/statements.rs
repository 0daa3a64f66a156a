//! Where the policies of a file stand.

use super::tokens::{Token, Tokens};

/// One policy as it is written, with its annotations.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement<'a> {
    /// Where it begins, from 1.
    pub(super) line: usize,
    pub(super) text: &'a str,
}

/// The policies of a file that parses: each ends with a semicolon.
pub(super) fn statements(text: &str) -> Vec<Statement<'_>> {
    let (mut found, mut start) = (Vec::new(), None);
    for (token, at, line) in Tokens::of(text) {
        if token != Token::Mark(';') {
            start.get_or_insert((at, line));
        } else if let Some((start, line)) = start.take() {
            found.push(Statement { line, text: &text[start..=at] });
        }
    }
    found
}

/// The line of a place in a text, from 1; 0 if there is no such place.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    text.get(..offset).map_or(0, |before| before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use cedar_policy::{PolicyId, PolicySet};
    use proptest::prelude::*;

    use super::*;

    /// What Cedar's own parser makes of it, policy by policy; `None` if it does not parse.
    fn by_cedar(text: &str) -> Option<Vec<String>> {
        let set = PolicySet::from_str(text).ok()?;
        let count = set.num_of_policies() + set.num_of_templates();
        let text_of = |index: usize| {
            let id = PolicyId::new(format!("policy{index}"));
            set.policy(&id).map(ToString::to_string).or_else(|| set.template(&id).map(ToString::to_string))
        };
        Some((0..count).map(|index| text_of(index).expect("numbered in order")).collect())
    }

    fn texts(text: &str) -> Vec<String> {
        statements(text).into_iter().map(|statement| statement.text.to_owned()).collect()
    }

    /// A policy with strings that look like what ends one.
    fn policy() -> impl Strategy<Value = String> {
        let string = prop::collection::vec(
            prop::sample::select(vec![
                ";",
                "//",
                "\\\"",
                "\\\\",
                "a",
                " ",
                "permit",
                "é",
                "(",
                "\\n",
                "\\'",
                "\\u{1F600}",
            ]),
            0..6,
        )
        .prop_map(|parts| format!("\"{}\"", parts.concat()));
        let annotation =
            prop::option::of(string.clone()).prop_map(|text| text.map_or(String::new(), |text| format!("@id({text})")));
        (annotation, gap(), prop::bool::ANY, gap(), string.clone(), gap()).prop_map(|(annotation, one, is_permit, two, string, three)| {
            let effect = if is_permit { "permit" } else { "forbid" };
            format!("{annotation}{one}{effect}{two}(principal == User::{string}, action, resource){three}when {{ {string} == \"\" }};")
        })
    }

    /// What may stand between tokens.
    fn gap() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            " ",
            "\n",
            "\r",
            "\r\n",
            "\t",
            "\u{a0}",
            "\u{2028}",
            "// ;\n",
            "// \"\r",
            "//\r\n",
            "// permit(principal, action, resource);\n",
        ]);
        prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn policies_are_told_apart_as_cedar_does(parts in prop::collection::vec((gap(), policy()), 0..5), last in gap()) {
            let text: String = parts.into_iter().flat_map(|(gap, policy)| [gap, policy]).chain([last]).collect();
            let expected = by_cedar(&text).expect("made of what parses");
            prop_assert_eq!(texts(&text), expected);
        }

        #[test]
        fn whatever_cedar_takes_is_told_apart_as_cedar_does(
            parts in prop::collection::vec(prop::sample::select(vec![
                "permit(principal, action, resource)", ";", "//", "\n", "\r", "\"", "\\", " ", "@id(\"a\")", "@b", "when { true }", "é",
            ]), 0..12),
        ) {
            let text = parts.concat();
            if let Some(expected) = by_cedar(&text) {
                prop_assert_eq!(texts(&text), expected);
            }
        }

        #[test]
        fn any_text_is_looked_through_to_its_end(text in ".{0,80}") {
            for Statement { line, text: statement } in statements(&text) {
                prop_assert!(text.contains(statement) && line >= 1 && line <= text.matches('\n').count() + 1);
            }
        }
    }

    #[test]
    fn lines_are_those_of_the_first_token() {
        let text = "// one\n\npermit(principal, action, resource);\n// four\n@id(\"x\")\nforbid(principal,\naction, resource); permit(principal, action, resource);";
        let lines: Vec<_> = statements(text).iter().map(|statement| statement.line).collect();
        assert_eq!(lines, [3, 5, 7]);
    }
}
