use super::source::File;

/// Put together here, so that this file does not break its own rule.
const MARKS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

pub fn check(files: &[File]) -> Vec<String> {
    let marked = |file: &File| -> Vec<String> {
        let mark = |line: &str| MARKS.into_iter().find(|mark| words(line).any(|word| word == *mark));
        file.lines()
            .filter_map(|(number, line)| mark(line).map(|mark| (number, mark)))
            .map(|(number, mark)| format!("{}:{number}: {mark}; do it now or file an issue", file.path))
            .collect()
    };
    files.iter().flat_map(marked).collect()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[cfg(test)]
mod tests {
    use super::super::source::file;
    use super::*;

    #[test]
    fn a_mark_is_found_as_a_word() {
        let [todo, fixme] = MARKS;
        let broken = file("src/lib.rs", &format!("fn a() {{}}\n// {todo}: finish\n/* {fixme} */"));
        let fine = file("README.md", &format!("{todo}S are kept in issues"));
        let found = check(&[broken, fine]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("src/lib.rs:2: ") && found[1].starts_with("src/lib.rs:3: "), "{found:?}");
    }
}
