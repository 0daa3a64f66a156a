//! The text exposition format 0.0.4 of Prometheus, read strictly: what a scraper might forgive is an error here.

use std::collections::{BTreeMap, BTreeSet};

/// A page of metrics.
#[derive(Debug)]
pub(super) struct Page {
    /// The type of each family that is described.
    pub types: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

/// One series, as it stands now.
#[derive(Debug)]
pub(super) struct Sample {
    pub name: String,
    /// The family that it is of.
    pub family: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// The page that `text` is; else which line is none, and why.
pub(super) fn parse(text: &str) -> Result<Page, String> {
    if !text.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    let mut page = Page { types: BTreeMap::new(), samples: Vec::new() };
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let fault = |what: &str| format!("{what}: {line}");
        if let Some(comment) = line.strip_prefix('#') {
            let mut words = comment.split_whitespace();
            if words.next() == Some("TYPE") {
                let (Some(name), Some(kind), None) = (words.next(), words.next(), words.next()) else {
                    return Err(fault("not a name and a type"));
                };
                let is_kind = ["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind);
                if !is_kind || !is_name(name, true) || page.types.insert(name.to_owned(), kind.to_owned()).is_some() {
                    return Err(fault("not a type, not a name, or there before"));
                }
            }
            continue;
        }
        let sample = sample(line, &page.types).map_err(fault)?;
        if !seen.insert((sample.name.clone(), sample.labels.clone())) {
            return Err(fault("a series that was there before"));
        }
        page.samples.push(sample);
    }
    Ok(page)
}

fn is_name(name: &str, colons: bool) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || (colons && letter == ':');
    name.starts_with(is_letter) && name.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
}

fn sample(line: &str, types: &BTreeMap<String, String>) -> Result<Sample, &'static str> {
    let end = line.find(['{', ' ', '\t']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    if !is_name(name, true) {
        return Err("not a name");
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let value: f64 = words.next().and_then(|word| word.parse().ok()).ok_or("no number")?;
    let is_time = words.next().is_none_or(|time| time.parse::<i64>().is_ok());
    if !is_time || words.next().is_some() {
        return Err("something after its value");
    }
    let of_parts = |name: &str| {
        let ends = [("_bucket", "histogram"), ("_sum", "histogram"), ("_count", "histogram")];
        let stem = ends.iter().find_map(|(end, kind)| {
            let stem = name.strip_suffix(end)?;
            types.get(stem).filter(|is| *is == kind || (*is == "summary" && *end != "_bucket")).map(|_| stem)
        });
        stem.map(str::to_owned)
    };
    let family = if types.contains_key(name) { Some(name.to_owned()) } else { of_parts(name) };
    let family = family.ok_or("a sample of no type")?;
    Ok(Sample { name: name.to_owned(), family, labels, value })
}

/// The labels, and what follows on their brace.
fn labels(text: &str) -> Result<(BTreeMap<String, String>, &str), &'static str> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !is_name(name, false) {
            return Err("not the name of a label");
        }
        let (mut value, mut letters) = (String::new(), after.char_indices());
        let end = loop {
            match letters.next().ok_or("a value that does not end")? {
                (end, '"') => break end,
                (_, '\\') => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, letter @ ('\\' | '"'))) => value.push(letter),
                    _ => return Err("an escape that there is not"),
                },
                (_, letter) => value.push(letter),
            }
        };
        if labels.insert(name.to_owned(), value).is_some() {
            return Err("a label twice");
        }
        rest = after[end + 1..].trim_start();
        rest = match rest.strip_prefix(',') {
            Some(more) => more,
            None if rest.starts_with('}') => rest,
            None => return Err("labels that are not separated"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_its_types_and_its_series() {
        let page = parse(
            "# HELP a_seconds How long.\n# TYPE a_seconds histogram\na_seconds_bucket{le=\"+Inf\",x=\"1,}\\\"\\n\"} 2\na_seconds_sum 0.5\n\
             a_seconds_count 2 1700000000000\n\n# TYPE b gauge\n# said by the way\nb{x=\"y\",} -Inf\n",
        )
        .unwrap();
        let shown: Vec<_> = page.samples.iter().map(|sample| (&*sample.name, &*sample.family, sample.value)).collect();
        assert_eq!(
            shown,
            [
                ("a_seconds_bucket", "a_seconds", 2.0),
                ("a_seconds_sum", "a_seconds", 0.5),
                ("a_seconds_count", "a_seconds", 2.0),
                ("b", "b", f64::NEG_INFINITY)
            ]
        );
        assert_eq!(page.samples[0].labels["x"], "1,}\"\n");
        assert_eq!((page.types["b"].as_str(), page.types.len()), ("gauge", 2));
    }

    #[test]
    fn what_is_no_page_is_told_by_its_line() {
        for bad in [
            "# TYPE a gauge\na 1",
            "a 1\n",
            "# TYPE a gauge\na\n",
            "# TYPE a gauge\na one\n",
            "# TYPE a gauge\na 1 2 3\n",
            "# TYPE a gauge\na{x=\"y\"} 1\na{x=\"y\"} 2\n",
            "# TYPE a gauge\na{x=\"y\",x=\"z\"} 1\n",
            "# TYPE a gauge\na{x.y=\"z\"} 1\n",
            "# TYPE a gauge\na{x=\"y} 1\n",
            "# TYPE a gauge\na{x=\"\\y\"} 1\n",
            "# TYPE a gauge\na{x=\"y\"z=\"y\"} 1\n",
            "# TYPE a gauge\na_sum 1\n",
            "# TYPE a.b gauge\n",
            "# TYPE a number\n",
            "# TYPE a gauge\n# TYPE a gauge\n",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
