use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;

use cedar_policy::{
    EntityTypeName, Policy, PolicyId, PolicySet, Schema, ValidationMode, ValidationResult, ValidationWarning, Validator,
};

use super::around;
use super::bases::Bases;
use super::effort::Effort;
use super::index::Index;
use super::schema::{self, Types};
use super::shape::Shapes;
use super::source::{Finding, Invalid, SourceFile};
use super::statements::{Statement, statements};
use super::strangers::asks_stranger;
use super::tokens::too_deep;
use super::words;

/// The policies that every product has.
const BASE_POLICIES: &str = include_str!("base.cedar");

/// The name of a file that is none.
const GRANTS: &str = "grants.cedar";

/// The longest id of a policy, in bytes: ids are in every decision and its log.
const LONGEST_ID: usize = 200;

/// A set of policies with the schema that they were checked against: the product's and the base set. Does not change. A clone is far
/// cheaper than to compile the set again, and yet copies it.
#[derive(Clone)]
pub struct Rules {
    pub(super) policies: PolicySet,
    pub(super) schema: Schema,
    /// Names of types as the schema knows them, so that none is parsed for a question.
    pub(super) kinds: HashMap<Box<str>, EntityTypeName>,
    /// Types of which there is no more to know than a name: neither attributes nor what they stand in.
    pub(super) names_only: HashSet<Box<str>>,
    pub(super) shapes: Arc<Shapes>,
    pub(super) index: Arc<Index>,
    pub(super) bases: Arc<Bases>,
    pub(super) origins: HashMap<PolicyId, Origin>,
    pub(super) warnings: Vec<Finding>,
    /// Actions that can be asked for, and where they are declared.
    pub(super) actions: BTreeMap<Box<str>, (Arc<str>, usize)>,
    of_product: usize,
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

impl Origin {
    fn finding(&self, reason: String) -> Finding {
        Finding { file: self.file.clone(), line: self.line, reason: reason.into() }
    }
}

impl Rules {
    /// Checks `files`, policies and schemas of a product, together with the base set.
    ///
    /// # Errors
    ///
    /// All that is wrong, each with file and line: what does not parse, does not fit the schema, or would get round the base set.
    pub fn compile(files: &[SourceFile]) -> Result<Self, Invalid> {
        let mut findings = misnamed(files);
        findings.extend(nested(files));
        if !findings.is_empty() {
            return Err(Invalid(findings));
        }
        let types = Types::of(files).map_err(Invalid)?;
        // The base policies cannot be evaluated with such a schema: Cedar would say of them what was said better.
        let names_only = around::names_only(types.fragments());
        let shapes = Arc::new(Shapes::new(types.fragments(), &names_only));
        findings.extend(types.unfit(&shapes));
        let is_fit = findings.is_empty();

        let grants = if is_fit { types.grants() } else { String::new() };
        let base = [SourceFile::new("base.cedar", BASE_POLICIES), SourceFile::new(GRANTS, grants)];
        let mut reader = Reader { policies: PolicySet::new(), origins: HashMap::new(), findings };
        for file in base.iter().filter(|_| is_fit) {
            reader.read(file, true);
        }
        for file in files.iter().filter(|file| !file.is_schema()) {
            reader.read(file, false);
        }
        let Reader { policies, origins, mut findings } = reader;

        let effort = Effort::of(&types.schema);
        // Grants are as the schema says, whatever it says, and there may be many.
        let grants = |id: &PolicyId| origins.get(id).is_some_and(|origin| &*origin.file == GRANTS);
        let checked = policies.policies().filter(|policy| !grants(policy.id())).cloned();
        let checked = PolicySet::from_policies(checked).unwrap_or_else(|_| policies.clone());
        if let Some((id, reason)) = effort.too_much(&checked) {
            findings.extend(origins.get(&id).map(|origin| origin.finding(reason)));
            return Err(Invalid(findings));
        }
        let result = Validator::new(types.schema.clone()).validate(&checked, ValidationMode::Strict);
        let texts: HashMap<&str, &str> = base.iter().chain(files).map(|file| (&*file.name, &*file.text)).collect();
        let found = |id: &PolicyId, error: &dyn miette::Diagnostic| {
            let origin = origins.get(id);
            let text = origin.filter(|origin| !origin.is_base).and_then(|origin| texts.get(&*origin.file).copied());
            words::on_policy(error, id, origin, text)
        };
        findings.extend(result.validation_errors().map(|error| found(error.policy_id(), error)));
        if findings.is_empty() {
            findings.extend(unchecked(&checked, &origins, &types.schema, &result));
            findings.extend(of_strangers(&checked, &origins, &shapes));
        }
        if !findings.is_empty() {
            findings.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
            findings.dedup();
            return Err(Invalid(findings));
        }
        let of_product = |id: &PolicyId| origins.get(id).is_some_and(|origin| !origin.is_base);
        let odd = result.validation_warnings().filter(|warning| of_product(warning.policy_id()));
        let mut warnings = types.odd();
        warnings.extend(odd.map(|warning| found(warning.policy_id(), warning)));
        // What can never apply is said of a policy once, by its more telling reason.
        warnings.dedup_by(|next, first| !next.file.is_empty() && (&next.file, next.line) == (&first.file, first.line));
        let (kinds, actions) = (types.kinds(), types.actions());
        let index = Arc::new(Index::new(&policies, &origins, &types.schema, &shapes.leads()));
        let of_product = origins.values().filter(|origin| !origin.is_base).count();
        Ok(Self {
            policies,
            kinds,
            names_only,
            shapes,
            index,
            bases: Arc::new(Bases::new()),
            origins,
            warnings,
            actions,
            of_product,
            version: version(files),
            schema: types.schema,
        })
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

    /// How many policies are the product's own.
    pub(super) fn of_product(&self) -> usize {
        self.of_product
    }

    /// Whether there is more than the base set. That one permits nothing: with it alone [`Access`](super::Access) is not ready.
    pub fn has_product_policies(&self) -> bool {
        self.of_product > 0
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("version", &self.version).field("policies", &self.len()).finish_non_exhaustive()
    }
}

/// Files that could not be told apart in findings.
fn misnamed(files: &[SourceFile]) -> Vec<Finding> {
    let mut seen = HashSet::new();
    let twice = files.iter().filter(|file| !seen.insert(&*file.name));
    let reason = "there are two files of this name: give one another name";
    twice.map(|file| Finding { file: file.name.clone(), line: 0, reason: reason.into() }).collect()
}

/// Policies that Cedar has not looked at, as it gives up without a word where the stack of its thread is short: none is an error, and
/// none can be about anything either, though nothing was said against it.
fn unchecked(
    policies: &PolicySet,
    origins: &HashMap<PolicyId, Origin>,
    schema: &Schema,
    result: &ValidationResult,
) -> Vec<Finding> {
    let warned: HashSet<_> = result.validation_warnings().map(ValidationWarning::policy_id).collect();
    let silent =
        policies.policies().filter(|policy| policy.has_non_scope_constraint() && !warned.contains(policy.id()));
    let silent = silent.filter(|policy| policy.get_valid_request_envs(schema).next().is_none());
    let reason = "it is too long to be checked against the schema: write more policies";
    silent.filter_map(|policy| origins.get(policy.id())).map(|origin| origin.finding(reason.to_owned())).collect()
}

/// Policies that ask with `has` what tenants have that are not there.
fn of_strangers(policies: &PolicySet, origins: &HashMap<PolicyId, Origin>, shapes: &Shapes) -> Vec<Finding> {
    let asking = policies.policies().filter(|policy| {
        // Most ask nothing, and it takes long to make JSON of a policy.
        let conditions =
            || policy.to_json().ok().and_then(|mut json| json.get_mut("conditions").map(serde_json::Value::take));
        policy.to_string().contains("has")
            && conditions().is_none_or(|conditions| asks_stranger(&conditions, shapes.tenants()))
    });
    let reason = "it asks with `has` for an attribute of what may be another tenant, of which nothing is known, and so it would always be \
                  false: a tenant's attributes can be looked at as principal.tenant alone, or as resource.tenant, which is the same";
    asking.filter_map(|policy| origins.get(policy.id())).map(|origin| origin.finding(reason.to_owned())).collect()
}

/// What Cedar would overflow the stack with, and end the process: it is not shown to it.
fn nested(files: &[SourceFile]) -> impl Iterator<Item = Finding> {
    files.iter().filter_map(|file| {
        let (line, reason) = too_deep(&file.text, file.is_schema())?;
        Some(Finding { file: file.name.clone(), line, reason: reason.into() })
    })
}

/// Takes in file by file.
struct Reader {
    policies: PolicySet,
    origins: HashMap<PolicyId, Origin>,
    findings: Vec<Finding>,
}

impl Reader {
    fn read(&mut self, file: &SourceFile, is_base: bool) {
        let parsed = match PolicySet::from_str(&file.text) {
            Ok(parsed) => parsed,
            Err(errors) => return self.findings.extend(errors.iter().map(|error| words::in_file(error, file))),
        };
        let statements = statements(&file.text);
        if statements.len() != parsed.num_of_policies() + parsed.num_of_templates() {
            return self.refuse(file, 0, "its policies cannot be told apart".to_owned());
        }
        let mut before = (0, 0);
        for (index, Statement { line, text }) in statements.into_iter().enumerate() {
            before = (line, if before.0 == line { before.1 + 1 } else { 1 });
            let place = match before.1 {
                1 => format!("{}:{line}", file.name),
                nth => format!("{}:{line}.{nth}", file.name),
            };
            // As Cedar numbers what it parses.
            let number = PolicyId::new(format!("policy{index}"));
            match parsed.policy(&number) {
                // A line is shown of it, and its text: both have to be of this very policy.
                Some(policy) if policy.to_string() == text => self.add(policy, place, file, line, is_base),
                Some(_) => self.refuse(file, line, "it cannot be told where this policy ends".to_owned()),
                None => {
                    let reason = "this is a template (it has ?principal or ?resource), and templates are not taken: write a policy for each";
                    self.refuse(file, line, reason.to_owned());
                }
            }
        }
    }

    /// `place` is the id of a policy that says none.
    fn add(&mut self, policy: &Policy, place: String, file: &SourceFile, line: usize, is_base: bool) {
        let id: Arc<str> = policy.annotation("id").map_or_else(|| place.into(), Into::into);
        if id.is_empty() || id.len() > LONGEST_ID || id.chars().any(char::is_control) {
            return self.refuse(
                file,
                line,
                format!("its @id is empty, over {LONGEST_ID} bytes, or has control characters: give it another one"),
            );
        }
        if !is_base && id.starts_with("halfbyte.") {
            return self.refuse(
                file,
                line,
                format!("the id {id} begins as those of the base set do (halfbyte.): give it another one"),
            );
        }
        let known = PolicyId::new(&*id);
        if let Some(other) = self.origins.get(&known) {
            let reason =
                format!("the id {id} is taken by the policy at {}:{}: give it another one", other.file, other.line);
            return self.refuse(file, line, reason);
        }
        match self.policies.add(policy.new_id(known.clone())) {
            Ok(()) => _ = self.origins.insert(known, Origin { id, file: file.name.clone(), line, is_base }),
            Err(error) => self.refuse(file, line, error.to_string()),
        }
    }

    fn refuse(&mut self, file: &SourceFile, line: usize, reason: String) {
        self.findings.push(Finding { file: file.name.clone(), line, reason: reason.into() });
    }
}

/// A digest of what stands in `files`, whatever their order, and in the base set.
pub(super) fn version(files: &[SourceFile]) -> Arc<str> {
    let mut parts: Vec<[&str; 2]> = files.iter().map(|file| [&*file.name, &*file.text]).collect();
    parts.sort_unstable();
    parts.push([BASE_POLICIES, schema::base()]);
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts.as_flattened() {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    let hex: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    hex.into()
}
