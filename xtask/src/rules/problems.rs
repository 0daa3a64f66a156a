use super::source::File;

/// Where core lists every refusal.
const TABLE: &str = "halfbyte-core/src/problem/kind.rs";
const CONTRACT: &str = "CONTRACT.md";
const PREFIX: &str = "urn:halfbyte:problem:";

pub fn check(files: &[File]) -> Vec<String> {
    let types_in = |path: &'static str| -> Vec<&str> {
        let file = files.iter().filter(move |file| file.path == path);
        file.flat_map(File::product_lines).flat_map(|(_, line)| types(line)).collect()
    };
    let known = types_in(TABLE);
    if known.is_empty() {
        return vec![format!(
            "{TABLE}: no problem type found; if the table has moved, tell xtask/src/rules/problems.rs"
        )];
    }
    let documented = types_in(CONTRACT);
    let missing = known.iter().filter(|problem| !documented.contains(problem));
    missing.map(|problem| format!("{CONTRACT}: says nothing of {problem}")).collect()
}

/// The problem types named in `line`; the bare prefix is none.
fn types(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_lowercase() && c != '-' && c != ':')
        .filter(|word| word.starts_with(PREFIX) && word.len() > PREFIX.len())
}

#[cfg(test)]
mod tests {
    use super::super::source::file;
    use super::*;

    fn table() -> File {
        file(
            TABLE,
            "const PREFIX: &str = \"urn:halfbyte:problem:\";\n\
             row(\"urn:halfbyte:problem:not-entitled\"),\nrow(\"urn:halfbyte:problem:internal\"),",
        )
    }

    #[test]
    fn a_problem_type_that_the_contract_forgets_is_found() {
        let contract =
            file(CONTRACT, "| 500 | `urn:halfbyte:problem:internal` |\n`urn:halfbyte:problem:not-entitled-yet`");
        assert_eq!(check(&[table(), contract]), ["CONTRACT.md: says nothing of urn:halfbyte:problem:not-entitled"]);
    }

    #[test]
    fn a_complete_contract_passes() {
        let contract = file(CONTRACT, "`urn:halfbyte:problem:internal`, `urn:halfbyte:problem:not-entitled`");
        assert_eq!(check(&[table(), contract]), [""; 0]);
    }

    #[test]
    fn a_table_that_is_gone_is_reported() {
        assert!(check(&[file(CONTRACT, "")])[0].contains("no problem type found"));
    }
}
