//! A short tour on policies of its own. Exits with 1 if anything goes otherwise than it says.

use std::fs;
use std::io::BufReader;

use halfbyte::core::{BoxError, Live, Principal, PrincipalKind, TenantId};
use halfbyte::identity::access::{
    Access, Action, Asked, DecisionLog, Entity, EntityProvider, EntityRef, Membership, Recorder, Rules, SourceFile,
    name_of,
};
use jiff::Timestamp;

use crate::Outcome;

const SCHEMA: &str = include_str!("policies/parcel.cedarschema");
const POLICIES: &str = include_str!("policies/parcel.cedar");

#[tokio::main(flavor = "current_thread")]
pub async fn run() -> Outcome {
    println!("The policies are those of examples/explain/policies.");
    let rules = rules(POLICIES)?;
    let ann = person("ann", "acme", &["clerk"])?;
    let bob = person("bob", "acme", &["driver"])?;
    let own = label("l-1", &ann);

    why(&rules, "Ann edits a label of hers", &Asked::new(&ann, "EditLabel", &own), true)?;
    let sealed = own.clone().attribute("sealed", true);
    why(&rules, "It is sealed", &Asked::new(&ann, "EditLabel", &sealed), false)?;
    why(&rules, "Bob has not the role", &Asked::new(&bob, "CreateLabel", bob.tenant()), false)?;
    why(&rules, "Bob reads what is ann's", &Asked::new(&bob, "ReadLabel", &sealed), false)?;
    let theirs = own.clone().of_tenant(&TenantId::new("globex")?);
    why(&rules, "Ann reaches into another tenant", &Asked::new(&ann, "ReadLabel", &theirs), false)?;
    let asked = Asked::new(&ann, "CreateLabel", ann.tenant()).suspended();
    why(&rules, "Her tenant is suspended", &asked, false)?;
    let billing = Principal::builder("billing", TenantId::new("acme")?, Timestamp::MAX);
    let billing = billing.kind(PrincipalKind::Service).scopes(["labels:read"]).build();
    why(&rules, "A service lacks a scope", &Asked::new(&billing, "CreateLabel", billing.tenant()), false)?;

    running(&rules, &bob, &own).await?;

    title("Who can read a label");
    print!("{}", rules.who_can("ReadLabel", "Label").map_err(|error| error.to_string())?);

    dry_run(rules, &[ann, bob], &sealed).await?;
    println!("\nAll of it went as it should. Try: cargo run --example explain -- --help");
    Ok(())
}

fn rules(policies: &str) -> Outcome<Rules> {
    let files = [SourceFile::new("parcel.cedarschema", SCHEMA), SourceFile::new("parcel.cedar", policies)];
    Ok(Rules::compile(&files)?)
}

fn person(subject: &str, tenant: &str, roles: &[&str]) -> Outcome<Principal> {
    Ok(Principal::builder(subject, TenantId::new(tenant)?, Timestamp::MAX).roles(roles.iter().copied()).build())
}

fn label(id: &str, owner: &Principal) -> Entity {
    let label = Entity::new("Label", id).of_tenant(owner.tenant());
    label.attribute("owner", name_of(owner)).attribute("sealed", false).parent(EntityRef::new("Folder", "open"))
}

fn title(text: &str) {
    println!("\n{text}\n{}", "-".repeat(text.len()));
}

fn why(rules: &Rules, what: &str, asked: &Asked, is_allowed: bool) -> Outcome {
    title(what);
    let explanation = rules.explain(asked);
    print!("{explanation}");
    check(explanation.decision.is_allowed == is_allowed, "another decision was expected")
}

fn check(holds: bool, otherwise: &str) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

/// What the product's database would know: bob is of the desk.
struct Staff;

impl EntityProvider for Staff {
    async fn principal(&self, principal: &Principal) -> Result<Membership, BoxError> {
        let desk = (principal.subject() == "bob").then(|| EntityRef::new("HalfByte::Group", "desk"));
        Ok(Membership { groups: desk.into_iter().collect(), ..Membership::default() })
    }
}

/// A running product asks its provider; what is asked by hand knows what it is told.
async fn running(rules: &Rules, bob: &Principal, of_ann: &Entity) -> Outcome {
    why(rules, "Bob reads one that is not sealed, asked by hand", &Asked::new(bob, "ReadLabel", of_ann), false)?;
    title("The same, asked of a running product, which knows that he is of the desk");
    let access = Access::new(Live::fixed("access", rules.clone()), Staff);
    let explanation = access.explain(bob, Action::new("ReadLabel"), of_ann).await?;
    print!("{explanation}");
    check(explanation.decision.is_allowed, "another decision was expected")
}

async fn dry_run(rules: Rules, people: &[Principal], sealed: &Entity) -> Outcome {
    title("Other policies are tried on what was decided");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("decisions.jsonl");
    let recorder = Recorder::create(&path, 1 << 20)?;
    let access = Access::fixed(rules).log(DecisionLog::new().record(recorder.clone()));
    for person in people {
        let _recorded = access.decide(person, Action::new("CreateLabel"), person.tenant()).await?;
        for action in [Action::new("ReadLabel"), Action::new("EditLabel")] {
            let _recorded = access.decide(person, action, sealed).await?;
        }
    }
    recorder.flush();
    println!(
        "  recorded: {} decisions, {} bytes, with the attributes that policies saw",
        recorder.written(),
        fs::metadata(&path)?.len()
    );
    println!("  tried:    drivers create labels, and what is sealed may be edited\n");
    let others = POLICIES.replace("\"clerk\"", "\"driver\"").replace("when { resource.sealed };", "when { false };");
    let replay = self::rules(&others)?.replay(BufReader::new(fs::File::open(&path)?), 10)?;
    print!("{replay}");
    check((replay.newly_denied, replay.newly_allowed) == (1, 2), "other changes were expected")
}
