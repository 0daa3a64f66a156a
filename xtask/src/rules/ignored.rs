use super::source::File;

pub fn check(files: &[File]) -> Vec<String> {
    let ignored = |file: &File| -> Vec<String> {
        file.lines()
            .filter(|(_, line)| line.trim_start().starts_with("#[ignore"))
            .map(|(number, _)| format!("{}:{number}: an ignored test proves nothing; mend it or remove it", file.path))
            .collect()
    };
    files.iter().filter(|file| file.is_rust()).flat_map(ignored).collect()
}

#[cfg(test)]
mod tests {
    use super::super::source::file;
    use super::*;

    #[test]
    fn an_ignored_test_is_found() {
        let plain = file("tests/a.rs", "#[test]\n#[ignore]\nfn later() {}");
        let with_reason = file("src/b.rs", "mod tests {\n    #[ignore = \"slow\"]\n}");
        let fine = file("src/c.rs", "#[test]\nfn now() {}");
        let found = check(&[plain, with_reason, fine]);
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("tests/a.rs:2: "), "{found:?}");
        assert!(found[1].starts_with("src/b.rs:2: "), "{found:?}");
    }
}
