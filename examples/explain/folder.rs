//! Policies from a folder.

use std::path::Path;

use halfbyte::identity::access::{Rules, SourceFile};

use crate::Outcome;

pub fn rules(folder: &Path) -> Outcome<Rules> {
    let rules = Rules::compile(&SourceFile::folder(folder)?)?;
    rules.warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
    Ok(rules)
}
