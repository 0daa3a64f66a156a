//! The rules of this repository that no compiler checks, each a pure function over the text of the files.

mod ignored;
mod keys;
mod length;
mod problems;
mod source;
mod unfinished;

use std::path::Path;

use self::source::File;
use crate::error::{Error, Result};

/// What a rule finds wrong with the files, one line each.
type Rule = fn(&[File]) -> Vec<String>;

const RULES: &[(&str, Rule)] = &[
    ("no Rust file is too long", length::check),
    ("no test is ignored", ignored::check),
    ("nothing is left unfinished", unfinished::check),
    ("each HALFBYTE_ key is one that core knows", keys::check),
    ("CONTRACT.md has each problem type", problems::check),
];

/// Checks all rules over the files below `root`.
pub fn check(root: &Path) -> Result {
    let files = source::read(root)?;
    let mut broken = Vec::new();
    for (rule, check) in RULES {
        let found = check(&files);
        println!("{rule}: {}", if found.is_empty() { "holds" } else { "BROKEN" });
        broken.extend(found);
    }
    if broken.is_empty() { Ok(()) } else { Err(Error::new(format!("\n  {}", broken.join("\n  ")))) }
}
