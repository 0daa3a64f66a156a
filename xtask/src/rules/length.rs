use super::source::File;

/// Longer than this, a file holds more than one idea.
const MOST_LINES: usize = 800;

pub fn check(files: &[File]) -> Vec<String> {
    let too_long = |file: &File| {
        let lines = file.text.lines().count();
        (lines > MOST_LINES).then(|| format!("{}: {lines} lines; split it, {MOST_LINES} are the most", file.path))
    };
    files.iter().filter(|file| file.is_rust()).filter_map(too_long).collect()
}

#[cfg(test)]
mod tests {
    use super::super::source::file;
    use super::*;

    #[test]
    fn a_file_of_801_lines_is_too_long() {
        let long = file("src/long.rs", &"\n".repeat(801));
        let enough = file("src/enough.rs", &"\n".repeat(800));
        let prose = file("README.md", &"\n".repeat(2000));
        assert_eq!(check(&[long, enough, prose]), ["src/long.rs: 801 lines; split it, 800 are the most"]);
    }
}
