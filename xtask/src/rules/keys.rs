use std::collections::BTreeSet;

use super::source::File;

/// Where core lists every key.
const TABLE: &str = "halfbyte-core/src/config/keys.rs";
/// Where unknown keys are the subject, so that wrong names stand there on purpose.
const CONFIGURATION: &str = "halfbyte-core/src/config/";
const PREFIX: &str = "HALFBYTE_";

pub fn check(files: &[File]) -> Vec<String> {
    let table = files.iter().find(|file| file.path == TABLE);
    let known: BTreeSet<&str> =
        table.into_iter().flat_map(File::product_lines).flat_map(|(_, line)| quoted(line)).collect();
    if known.is_empty() {
        return vec![format!("{TABLE}: no key found; if the table has moved, tell xtask/src/rules/keys.rs")];
    }
    let unknown = |file: &File| -> Vec<String> {
        file.product_lines()
            .flat_map(|(number, line)| mentioned(line).map(move |key| (number, key)))
            .filter(|(_, key)| !known.contains(key))
            .map(|(number, key)| format!("{}:{number}: {key} is not in {TABLE}", file.path))
            .collect()
    };
    files.iter().filter(|file| !file.path.starts_with(CONFIGURATION)).flat_map(unknown).collect()
}

/// The keys that are whole string literals of `line`.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2).filter(|literal| literal.starts_with(PREFIX) && literal.chars().all(in_key))
}

/// The keys named anywhere in `line`; a bare prefix, as in `HALFBYTE_*`, is none.
fn mentioned(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c| !in_key(c)).filter(|word| word.starts_with(PREFIX) && !word.ends_with('_'))
}

fn in_key(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::super::source::file;
    use super::*;

    fn table() -> File {
        file(TABLE, "key(\"HALFBYTE_HOME\", \".halfbyte\", \"state\"),\nkey(\"HALFBYTE_ENV\", \"\", \"\"),")
    }

    #[test]
    fn a_key_that_core_does_not_know_is_found() {
        let readme = file("README.md", "Set `HALFBYTE_HOME`, all of HALFBYTE_* or\nHALFBYTE_HOEM=/tmp");
        assert_eq!(check(&[table(), readme]), [format!("README.md:2: HALFBYTE_HOEM is not in {TABLE}")]);
    }

    #[test]
    fn tests_may_name_keys_that_do_not_exist() {
        let module = file("src/lib.rs", "#[cfg(test)]\nmod tests { const KEY: &str = \"HALFBYTE_NO\"; }");
        assert_eq!(check(&[table(), module, file("tests/config.rs", "HALFBYTE_NO")]), [""; 0]);
    }

    #[test]
    fn a_table_that_is_gone_is_reported() {
        assert!(check(&[file("README.md", "")])[0].contains("no key found"));
    }
}
