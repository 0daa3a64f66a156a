//! The report as JUnit's XML.

use std::fmt::Write as _;

use super::report::{Exchange, NotAsked, Outcome, Report, Verdict};

pub(super) fn write(report: &Report) -> String {
    let counts = report.counts();
    let overlooked = report.overlooked().count();
    let (tests, failures) = (report.outcomes.len() + report.not_asked.len(), counts.failed + overlooked);
    let skipped = counts.not_applicable + counts.unseen + report.not_asked.len() - overlooked;
    let took: f64 = report.outcomes.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
    let name = escaped(&format!("{} on {}", report.product, report.contract));
    let counts =
        format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{took:.3}\"");
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n<testsuite name=\"{name}\" {counts}>\n"
    );
    report.outcomes.iter().for_each(|outcome| case(&mut xml, &report.product, outcome));
    report.not_asked.iter().for_each(|not_asked| gap(&mut xml, &report.product, not_asked));
    xml.push_str("</testsuite>\n</testsuites>\n");
    xml
}

fn case(xml: &mut String, product: &str, Outcome { clause, what, verdict, took, exchanges }: &Outcome) {
    let (class, name) = (escaped(&format!("{product}.{clause}")), escaped(what));
    // Writing to a string does not fail.
    _ = write!(xml, "<testcase classname=\"{class}\" name=\"{name}\" time=\"{:.3}\"", took.as_secs_f64());
    match verdict {
        Verdict::Passed => xml.push_str("/>\n"),
        Verdict::NotApplicable(why) | Verdict::Unseen(why) => {
            _ = writeln!(xml, "><skipped message=\"{}\"/></testcase>", escaped(why));
        }
        Verdict::Failed(how) => {
            let said: Vec<_> =
                exchanges.iter().map(|Exchange { sent, received }| format!("> {sent}\n< {received}\n")).collect();
            let (how, said) = (escaped(how), escaped(&said.concat()));
            _ = writeln!(xml, "><failure message=\"{how}\">{said}</failure></testcase>");
        }
    }
}

/// What was not asked is a case that is skipped, or has failed.
fn gap(xml: &mut String, product: &str, NotAsked { of, why, is_in_order, checks }: &NotAsked) {
    let (class, name) = (escaped(&format!("{product}.not asked")), escaped(of));
    let (why, checks) = (escaped(why), escaped(&checks.join("\n")));
    let told = if *is_in_order {
        format!("<skipped message=\"{why}\">{checks}</skipped>")
    } else {
        format!("<failure message=\"{why}\">{checks}</failure>")
    };
    // Writing to a string does not fail.
    _ = writeln!(xml, "<testcase classname=\"{class}\" name=\"{name}\" time=\"0.000\">{told}</testcase>");
}

/// As it may stand in an attribute or between tags. What no XML can hold is shown as a replacement character.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // As they are, readers take them for spaces in attributes.
            '\n' | '\r' | '\t' => _ = write!(escaped, "&#{};", u32::from(letter)),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;

    /// Its name, its attributes and its text.
    type Element = (String, Vec<(String, String)>, String);

    /// Elements, by a reader that knows no more XML than is written here, and takes nothing that is not well-formed.
    fn read(mut xml: &str) -> Vec<Element> {
        let mut open: Vec<Element> = Vec::new();
        let mut all = Vec::new();
        xml = xml.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>").expect("a declaration").trim_start();
        while !xml.is_empty() {
            let text;
            (text, xml) = xml.split_once('<').map_or((xml, ""), |(text, rest)| (text, rest));
            match open.last_mut() {
                Some((_, _, inside)) => inside.push_str(&unescaped(text)),
                None => assert!(text.trim().is_empty(), "{text:?} is in no element"),
            }
            if xml.is_empty() {
                break;
            }
            let tag;
            (tag, xml) = xml.split_once('>').expect("a tag ends");
            if let Some(name) = tag.strip_prefix('/') {
                let element = open.pop().expect("it was opened");
                assert_eq!(element.0, name);
                all.push(element);
                continue;
            }
            let (tag, is_whole) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
            let mut attributes = Vec::new();
            while !rest.is_empty() {
                let (key, value) = rest.trim_start().split_once("=\"").expect("an attribute");
                let (value, after) = value.split_once('"').expect("a value ends");
                attributes.push((key.to_owned(), unescaped(value)));
                rest = after;
            }
            let element = (name.to_owned(), attributes, String::new());
            if is_whole { all.push(element) } else { open.push(element) }
        }
        assert!(open.is_empty(), "{open:?} is not closed");
        all
    }

    fn unescaped(text: &str) -> String {
        let mut parts = text.split('&');
        let mut plain = parts.next().unwrap_or_default().to_owned();
        assert!(!plain.contains('>') && !plain.chars().any(|letter| letter.is_control() && letter != '\n'));
        for part in parts {
            let (entity, rest) = part.split_once(';').expect("an entity ends");
            plain.push_str(match entity {
                "lt" => "<",
                "gt" => ">",
                "amp" => "&",
                "quot" => "\"",
                "apos" => "'",
                "#10" => "\n",
                "#13" => "\r",
                "#9" => "\t",
                other => panic!("&{other}; is no entity"),
            });
            plain.push_str(rest);
        }
        plain
    }

    #[test]
    fn what_is_written_can_be_read_whatever_a_product_says() {
        let how = "a <b> & 'c' said \"d]]>\"\n\tand \u{0}\u{1b}[31m\u{85}\u{ffff} é 🦀";
        let elements = read(&report(how).to_junit());
        let names: Vec<_> = elements.iter().map(|(name, ..)| name.as_str()).collect();
        let expected = [
            "testcase",
            "failure",
            "testcase",
            "skipped",
            "testcase",
            "skipped",
            "testcase",
            "failure",
            "testcase",
            "skipped",
            "testcase",
            "testsuite",
            "testsuites",
        ];
        assert_eq!(names, expected);
        let of = |at: usize, key: &str| {
            elements[at].1.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone()).unwrap()
        };
        let readable = "a <b> & 'c' said \"d]]>\"\n\tand \u{fffd}\u{fffd}[31m\u{fffd}\u{fffd} é 🦀";
        assert_eq!(of(1, "message"), readable);
        assert_eq!(elements[1].2, "> GET /\na: b\n< 200 OK\n");
        assert_eq!((of(2, "classname"), of(2, "name")), ("parcel.HB-REQ-001".to_owned(), "ids".to_owned()));
        assert_eq!((of(0, "time"), of(3, "message")), ("1.500".to_owned(), "no meter".to_owned()));
        assert_eq!((of(7, "message"), of(8, "name")), ("no sample".to_owned(), "GET /a".to_owned()));
        assert_eq!((of(9, "message"), of(10, "name")), ("a bank".to_owned(), "GET /b".to_owned()));
        assert_eq!(elements[7].2, "HB-USE-009 more");
        let suite = ["name", "tests", "failures", "skipped", "time"].map(|key| of(11, key));
        assert_eq!(suite, ["parcel on V1", "6", "2", "3", "6.000"]);
    }
}
