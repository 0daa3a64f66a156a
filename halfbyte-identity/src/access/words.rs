//! What Cedar says, as findings: where it is, what is wrong, and what to do.

use std::sync::Arc;

use cedar_policy::PolicyId;
use miette::{Diagnostic, SourceSpan};

use super::rules::Origin;
use super::source::{Finding, SourceFile};
use super::statements::line_at;

/// Findings on `file`: the error and what comes with it, each with the line of its first label.
pub(super) fn all_in_file(error: &dyn Diagnostic, file: &SourceFile) -> Vec<Finding> {
    let related = error.related().into_iter().flatten().map(|error| in_file(error, file));
    std::iter::once(in_file(error, file)).chain(related).collect()
}

/// A finding on `file`, with the line of the first label.
pub(super) fn in_file(error: &dyn Diagnostic, file: &SourceFile) -> Finding {
    let mut lines = error.labels().into_iter().flatten().map(|label| line_at(&file.text, label.offset()));
    let line = lines.next().unwrap_or(0);
    let mut reason = said(error);
    for other in lines.filter(|other| *other != line) {
        reason.push_str(&format!("; see also line {other}"));
    }
    Finding { file: file.name.clone(), line, reason: reason.into() }
}

/// A finding on whichever of `files` the error shows a part of: several make one schema.
pub(super) fn in_one_of(error: &dyn Diagnostic, files: &[SourceFile]) -> Finding {
    let file = offset(error).and_then(|offset| {
        let source = error.source_code()?;
        let before = source.read_span(&SourceSpan::from((0, offset)), 0, 0).ok()?;
        // It reads whole characters of the same text: the file that begins so is the one.
        files.iter().find(|file| file.text.as_bytes().starts_with(before.data()) && file.text.len() >= offset)
    });
    match file {
        Some(file) => in_file(error, file),
        None => Finding { file: Arc::default(), line: 0, reason: said(error).into() },
    }
}

/// A finding of the validator on the policy that stands at `origin`, in the text of its file.
pub(super) fn on_policy(error: &dyn Diagnostic, id: &PolicyId, origin: Option<&Origin>, text: Option<&str>) -> Finding {
    let said = said(error);
    // The finding shows file and line, so that the policy need not be named a second time, and in front.
    let reason = said
        .strip_prefix(&format!("for policy `{id}`"))
        .map_or(&*said, |rest| rest.trim_start_matches([',', ':', ' ']));
    let reason: Box<str> = format!("{reason} (in {id})").into();
    let Some(origin) = origin else { return Finding { file: Arc::default(), line: 0, reason } };
    let line = text.zip(offset(error)).map_or(0, |(text, offset)| line_at(text, offset));
    Finding { file: origin.file.clone(), line: line.max(origin.line), reason }
}

fn offset(error: &dyn Diagnostic) -> Option<usize> {
    Some(error.labels()?.next()?.offset())
}

/// The message, what the label at the place says, and the help.
fn said(error: &dyn Diagnostic) -> String {
    let message = error.to_string();
    // The name of the file says as much.
    let mut said = message.strip_prefix("error parsing schema: ").unwrap_or(&message).to_owned();
    let label =
        error.labels().and_then(|mut labels| labels.next()).and_then(|label| label.label().map(ToOwned::to_owned));
    for more in [label, error.help().map(|help| help.to_string())].into_iter().flatten() {
        if !said.contains(&more) {
            said.push_str("; ");
            said.push_str(&more);
        }
    }
    // One finding is one line.
    said.replace(['\n', '\r'], " ")
}
