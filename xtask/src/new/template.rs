//! The files of a new product, with its name in them.

use std::path::Path;

use crate::error::{Error, Result};

/// Where each goes, and what is in it.
const FILES: &[(&str, &str)] = &[
    (".gitignore", include_str!("../../template/gitignore.txt")),
    ("Cargo.toml", include_str!("../../template/Cargo.toml.txt")),
    ("README.md", include_str!("../../template/README.md.txt")),
    ("catalog.toml", include_str!("../../template/catalog.toml.txt")),
    ("policies/{{product}}.cedar", include_str!("../../template/policies/product.cedar.txt")),
    ("policies/{{product}}.cedarschema", include_str!("../../template/policies/product.cedarschema.txt")),
    ("src/access.rs", include_str!("../../template/src/access.rs.txt")),
    ("src/items.rs", include_str!("../../template/src/items.rs.txt")),
    ("src/lib.rs", include_str!("../../template/src/lib.rs.txt")),
    ("src/main.rs", include_str!("../../template/src/main.rs.txt")),
    ("tests/conformance.rs", include_str!("../../template/tests/conformance.rs.txt")),
    ("tests/product.rs", include_str!("../../template/tests/product.rs.txt")),
];

/// The files of the product `name`, which has been checked, by path; `root` is where this workspace is from there, if it is to be
/// depended on by its path.
pub fn files(root: Option<&Path>, name: &str) -> Result<Vec<(String, String)>> {
    let words = [
        ("{{product}}", name.to_owned()),
        ("{{crate}}", name.replace('-', "_")),
        ("{{title}}", title(name)),
        ("{{rust}}", env!("CARGO_PKG_RUST_VERSION").to_owned()),
        ("{{halfbyte}}", dependency(root, "")?),
        ("{{tested}}", dependency(root, r#", features = ["conformance"]"#)?),
    ];
    let fill = |text: &str| words.iter().fold(text.to_owned(), |text, (word, with)| text.replace(word, with));
    Ok(FILES.iter().map(|(path, text)| (fill(path), fill(text))).collect())
}

/// What `Cargo.toml` says of the platform.
fn dependency(root: Option<&Path>, more: &str) -> Result<String> {
    let Some(root) = root else {
        return Ok(format!("{{ version = \"{}\"{more} }}", env!("CARGO_PKG_VERSION")));
    };
    match root.to_str().filter(|path| !path.contains(|c: char| c.is_control() || c == '"' || c == '\\')) {
        Some(path) => Ok(format!("{{ path = \"{path}\"{more} }}")),
        None => Err(Error::new("the path of this workspace cannot stand in a Cargo.toml; use --versions")),
    }
}

/// `my-shop` is `My shop`.
fn title(name: &str) -> String {
    let words = name.replace('-', " ");
    let (first, rest) = words.split_at(1);
    format!("{}{rest}", first.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_filled_in() {
        let files = files(Some(Path::new("../halfbyte")), "my-shop").expect("a good path");
        for (path, text) in &files {
            assert!(!path.contains("{{") && !text.contains("{{"), "{path}");
        }
        let text = |path: &str| files.iter().find(|(at, _)| at == path).map(|(_, text)| text.as_str()).expect(path);
        assert!(text("README.md").starts_with("# My shop\n"));
        assert!(text("src/main.rs").contains("use my_shop::items::Items;"));
        assert!(text("Cargo.toml").contains("halfbyte = { path = \"../halfbyte\" }\n"));
        assert!(text("Cargo.toml").contains("{ path = \"../halfbyte\", features = [\"conformance\"] }"));
    }

    #[test]
    fn published_versions_are_asked_for_by_number() {
        let files = files(None, "shop").expect("no path is needed");
        let expected = format!("halfbyte = {{ version = \"{}\" }}\n", env!("CARGO_PKG_VERSION"));
        assert!(files.iter().any(|(path, text)| path == "Cargo.toml" && text.contains(&expected)));
    }

    #[test]
    fn a_path_that_would_end_its_quotes_is_refused() {
        assert!(files(Some(Path::new("../a\"b")), "shop").is_err());
    }
}
