//! What a product may be called.

use crate::error::{Error, Result};

/// What cannot name a crate: words of the language, crates that come with it, and ours.
const TAKEN: [&str; 58] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "halfbyte",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
    "xtask",
];

/// The rule of `ProductId`, and what cargo and a deployment ask besides.
pub fn check(name: &str) -> Result {
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    let goes_on_well = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !starts_well || !goes_on_well || name.len() > 63 || name.ends_with('-') {
        return Err(Error::new(format!(
            "{name:?} is no name for a product: a lower-case letter, then up to 62 of a-z, 0-9 and '-', which is not the last"
        )));
    }
    if TAKEN.contains(&name) || name.starts_with("halfbyte-") {
        return Err(Error::new(format!("{name:?} cannot name a crate; take another")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use halfbyte_core::ProductId;

    use super::*;

    #[test]
    fn a_name_is_one_that_the_platform_takes() {
        let long = "x".repeat(63);
        for good in ["shop", "s", "my-shop-2", &long] {
            check(good).expect(good);
            ProductId::new(good).expect(good);
        }
    }

    #[test]
    fn what_leads_elsewhere_or_means_something_else_is_no_name() {
        let long = "x".repeat(64);
        for bad in [
            "",
            "-",
            "Shop",
            "2shop",
            "shop-",
            "a/b",
            "../shop",
            "..",
            ".",
            "/shop",
            "a b",
            "a_b",
            "shop\n",
            "shöp",
            "a\"b",
            "--help",
            "match",
            "async",
            "std",
            "test",
            "halfbyte",
            "halfbyte-core",
            "proc-macro",
            &long,
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
