//! Policies from a folder.

use std::fs;
use std::path::Path;

use halfbyte::identity::access::{Rules, SourceFile};

use crate::Outcome;

pub fn rules(folder: &Path) -> Outcome<Rules> {
    let of = |error| format!("{}: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(of)? {
        paths.push(entry.map_err(of)?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "cedar" || kind == "cedarschema"));
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        files.push(SourceFile::new(name, text));
    }
    if files.is_empty() {
        return Err(format!("{}: there are no .cedar and .cedarschema files", folder.display()).into());
    }
    let rules = Rules::compile(&files)?;
    rules.warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
    Ok(rules)
}
