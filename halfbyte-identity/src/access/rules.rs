use std::collections::HashMap;
use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;

use cedar_policy::{
    EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Schema, SchemaFragment, ValidationMode, Validator,
};

use super::index::Index;
use super::shape::Shapes;
use super::source::{Finding, Invalid, SourceFile};

/// The policies and the types that every product has.
const BASE_POLICIES: &str = include_str!("base.cedar");
const BASE_SCHEMA: &str = include_str!("base.cedarschema");
const NO_PROFILE: &str = "namespace HalfByte { type Profile = {}; }";

/// Where base policies and what is made of the schema are said to stand.
const BASE: &str = "halfbyte";

/// A set of policies with the schema that they were checked against: the product's and the base set. Does not change.
pub struct Rules {
    pub(super) policies: PolicySet,
    pub(super) schema: Schema,
    /// Names of types as the schema knows them, so that none is parsed for a question.
    pub(super) kinds: HashMap<Box<str>, EntityTypeName>,
    pub(super) shapes: Shapes,
    pub(super) index: Index,
    pub(super) origins: HashMap<PolicyId, Origin>,
    pub(super) warnings: Vec<Finding>,
    version: Arc<str>,
}

/// Where a policy stands.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) id: Arc<str>,
    pub(super) file: Arc<str>,
    pub(super) line: usize,
    /// It is of the base set.
    pub(super) is_base: bool,
}

impl Rules {
    /// Checks `files`, policies and schemas of a product, together with the base set.
    ///
    /// # Errors
    ///
    /// All that is wrong, each with file and line: what does not parse, does not fit the schema, or would get round the base set.
    pub fn compile(files: &[SourceFile]) -> Result<Self, Invalid> {
        let mut findings = Vec::new();
        let fragments = fragments(files, &mut findings);
        if !findings.is_empty() {
            return Err(Invalid(findings));
        }
        let schema = Schema::from_schema_fragments(fragments.iter().map(|(_, fragment)| fragment.clone()))
            .map_err(|error| Invalid(vec![of_no_line(&error)]))?;
        let mut origins = HashMap::new();
        let mut policies = PolicySet::new();
        let grants = grants(&schema, &fragments);
        let base =
            [(SourceFile::new("base.cedar", BASE_POLICIES), true), (SourceFile::new("grants.cedar", grants), true)];
        let product = files.iter().filter(|file| !file.is_schema()).map(|file| (file.clone(), false));
        for (file, is_base) in base.into_iter().chain(product) {
            add(&file, is_base, &mut policies, &mut origins, &mut findings);
        }
        let result = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
        let found = |id: &PolicyId, what: String| {
            let origin = origins.get(id);
            Finding {
                file: origin.map_or_else(Arc::default, |origin| origin.file.clone()),
                line: origin.map_or(0, |origin| origin.line),
                reason: what.into(),
            }
        };
        findings.extend(result.validation_errors().map(|error| found(error.policy_id(), error.to_string())));
        if !findings.is_empty() {
            return Err(Invalid(findings));
        }
        let warnings =
            result.validation_warnings().map(|warning| found(warning.policy_id(), warning.to_string())).collect();
        let kinds = schema.entity_types().map(|kind| (kind.to_string().into(), kind.clone())).collect();
        let shapes = Shapes::new(fragments.iter().map(|(_, fragment)| fragment));
        let index = Index::new(&policies, &schema);
        Ok(Self { policies, kinds, shapes, index, origins, warnings, version: version(files), schema })
    }

    /// Names the set: the same text, the same version.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// What is odd and yet in force.
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// How many policies there are, those of the base set too.
    pub fn len(&self) -> usize {
        self.policies.num_of_policies()
    }

    /// There is always the base set.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("version", &self.version).field("policies", &self.len()).finish_non_exhaustive()
    }
}

fn fragments(files: &[SourceFile], findings: &mut Vec<Finding>) -> Vec<(Arc<str>, SchemaFragment)> {
    let base = SourceFile::new("base.cedarschema", BASE_SCHEMA);
    let mut fragments = Vec::new();
    for file in files.iter().filter(|file| file.is_schema()).chain([&base]) {
        match SchemaFragment::from_cedarschema_str(&file.text) {
            Ok((fragment, _warnings)) => fragments.push((file.name.clone(), fragment)),
            Err(error) => findings.push(Finding { file: file.name.clone(), line: 0, reason: error.to_string().into() }),
        }
    }
    let has_profile = fragments.iter().any(|(_, fragment)| {
        let namespace = "HalfByte".parse().ok();
        namespace.is_some_and(|namespace| fragment.common_type_annotations(Some(namespace), "Profile").is_some())
    });
    if !has_profile && let Ok((fragment, _warnings)) = SchemaFragment::from_cedarschema_str(NO_PROFILE) {
        fragments.push((BASE.into(), fragment));
    }
    fragments
}

/// What services were granted: for each action the scope that the schema says; nothing where it says none.
fn grants(schema: &Schema, fragments: &[(Arc<str>, SchemaFragment)]) -> String {
    let mut text = String::new();
    for action in schema.actions() {
        let namespace = action.type_name().namespace().parse().ok();
        let scope = fragments.iter().find_map(|(_, fragment)| {
            fragment.action_annotation(namespace.clone(), action.id(), "scope").map(ToOwned::to_owned)
        });
        text.push_str(&format!(
            "@id(\"halfbyte.granted.{action_id}\")\n@reason(\"a service may do only what it was granted\")\n\
             forbid (principal is HalfByte::Service, action == {action}, resource)",
            action_id = action.id().escaped(),
        ));
        match scope {
            Some(scope) => text.push_str(&format!("\nunless {{ principal.scopes.contains({scope:?}) }};\n\n")),
            None => text.push_str(";\n\n"),
        }
    }
    text
}

fn add(
    file: &SourceFile,
    is_base: bool,
    policies: &mut PolicySet,
    origins: &mut HashMap<PolicyId, Origin>,
    findings: &mut Vec<Finding>,
) {
    if let Err(errors) = PolicySet::from_str(&file.text) {
        findings.extend(errors.iter().map(|error| Finding {
            file: file.name.clone(),
            line: line_of(error, &file.text),
            reason: error.to_string().into(),
        }));
        return;
    }
    for Statement { line, text } in statements(&file.text) {
        let finding = |reason: String| Finding { file: file.name.clone(), line, reason: reason.into() };
        let policy = match Policy::parse(None, text) {
            Ok(policy) => policy,
            Err(error) => {
                findings.push(finding(format!("{error}; templates are not taken: write a policy for each")));
                continue;
            }
        };
        let id: Arc<str> = policy.annotation("id").map_or_else(|| format!("{}:{line}", file.name).into(), Into::into);
        if !is_base && id.starts_with("halfbyte.") {
            findings.push(finding("ids that begin with halfbyte. are of the base set: give it another one".to_owned()));
            continue;
        }
        let known = PolicyId::new(&*id);
        if policies.add(policy.new_id(known.clone())).is_err() {
            findings.push(finding(format!("there is another policy with the id {id}")));
            continue;
        }
        origins.insert(known, Origin { id, file: file.name.clone(), line, is_base });
    }
}

/// One policy as it is written.
struct Statement<'a> {
    /// Where it begins, from 1.
    line: usize,
    text: &'a str,
}

/// The policies of a file that parses: each ends with a semicolon that is not in a string or a comment.
fn statements(text: &str) -> Vec<Statement<'_>> {
    let (mut found, mut start) = (Vec::new(), None);
    let mut rest = text.char_indices().peekable();
    while let Some((at, char)) = rest.next() {
        let is_comment = char == '/' && rest.peek().is_some_and(|(_, next)| *next == '/');
        match char {
            _ if is_comment => while rest.next_if(|(_, char)| *char != '\n').is_some() {},
            '"' => {
                while let Some((_, char)) = rest.next() {
                    match char {
                        '\\' => _ = rest.next(),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            ';' => {
                if let Some(start) = start.take() {
                    found.push(Statement { line: line_at(text, start), text: &text[start..=at] });
                }
            }
            char if !char.is_whitespace() => _ = start.get_or_insert(at),
            _ => {}
        }
    }
    found
}

fn line_at(text: &str, offset: usize) -> usize {
    text.get(..offset).map_or(0, |before| before.matches('\n').count() + 1)
}

fn line_of(error: &dyn miette::Diagnostic, text: &str) -> usize {
    let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    offset.map_or(0, |offset| line_at(text, offset))
}

fn of_no_line(error: &dyn std::error::Error) -> Finding {
    Finding { file: Arc::default(), line: 0, reason: error.to_string().into() }
}

/// A digest of what stands in `files`, whatever their order.
fn version(files: &[SourceFile]) -> Arc<str> {
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for SourceFile { name, text } in sorted {
        for part in [name, text] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
    }
    let digest = context.finish();
    let hex: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    hex.into()
}
