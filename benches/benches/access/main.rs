//! What it costs to decide whether a caller may do something, beside bare `cedar-policy` and `casbin` in the same run: with five
//! policies, with 1,000 and 10,000 of which few apply, and of a list.
//!
//! | what | printed as | target |
//! |---|---|---|
//! | a decision at 5 policies | `access.5.microseconds`, `access.5.over_cedar.microseconds` | at most 1 over bare cedar-policy |
//! | | `access.5.vs.cedar` | stated |
//! | at 1,000 policies | `access.1000.microseconds` | at most 12 |
//! | | `access.1000.vs.cedar` | at most 0.03 |
//! | | `access.1000.vs.casbin` | stated |
//! | at 10,000 | `access.10000.vs.access.1000` | at most 2 |
//! | a list of 1,000, beside 1,000 decisions | `access.list.vs.single` | at most 0.2 |
//!
//! A decision begins with a principal as a token makes it and a resource as the product has it, and ends with yes or no: making of
//! them what an engine takes is part of it, for ours and for the peers. Ours checks all of it against the schema as well; bare
//! cedar-policy does not, which is its faster way. casbin has as many grants as rows of a table, without attributes; it stops at the first row
//! that permits, which is the one in the middle.
//!
//! Ours answers at once, since all that it needs is there, and is polled by hand.

mod peers;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use halfbyte::core::{Principal, TenantId};
use halfbyte::identity::access::{Access, Action, Entity, EntityRef, Resource, Rules, SourceFile, name_of};
use halfbyte_benches::{Pair, count, ratio, side_by_side};
use jiff::Timestamp;

const ROUNDS: usize = 40;
const READ: Action = Action::new("ReadLabel");
const LIST: usize = 1_000;

const SCHEMA: &str = r#"
entity Folder in [Folder] = { tenant: HalfByte::Tenant };
entity Label in [Folder] = { tenant: HalfByte::Tenant, owner: HalfByte::User, sealed: Bool };
@scope("labels:read")
action ReadLabel appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: Label };
"#;

/// With the three of the base set that are about this action: five.
const POLICIES: &str = r#"
@id("clerks")
permit (principal in HalfByte::Role::"clerk", action == Action::"ReadLabel", resource is Label) when { !resource.sealed };
@id("owners")
permit (principal, action == Action::"ReadLabel", resource is Label) when { resource.owner == principal };
"#;
const FEW: usize = 5;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// What a product has of a label.
pub struct Label {
    id: String,
    tenant: TenantId,
    owner: EntityRef,
    is_sealed: bool,
}

impl Resource for Label {
    fn entity(&self) -> Entity {
        Entity::new("Label", self.id.as_str())
            .of_tenant(&self.tenant)
            .attribute("owner", self.owner.clone())
            .attribute("sealed", self.is_sealed)
    }
}

fn main() -> Outcome {
    let tenant: TenantId = "acme".parse()?;
    let ann = Principal::builder("ann", tenant.clone(), Timestamp::MAX)
        .roles(["clerk", "manager"])
        .scopes(["labels:read", "labels:write"])
        .build();
    let label = |number: usize| Label {
        id: format!("l-{number}"),
        tenant: tenant.clone(),
        owner: if number.is_multiple_of(10) {
            name_of(&ann)
        } else {
            EntityRef::new("HalfByte::User", format!("acme/u{number}"))
        },
        is_sealed: number.is_multiple_of(7),
    };
    let one = label(1);

    let few = access(&policies(FEW))?;
    let ours = || is_allowed(&few, &ann, &one);
    let pair = beside_cedar(FEW, 500, ours, &ann, &one)?;
    count("access.5.microseconds", format_args!("{:.2}", microseconds(pair.ours)));
    count(
        "access.5.over_cedar.microseconds",
        format_args!("{:.2}", microseconds(pair.ours) - microseconds(pair.theirs)),
    );
    of_list(&few, &ann, &(0..LIST).map(label).collect::<Vec<_>>());

    let (thousand, ten_thousand) = (access(&policies(1_000))?, access(&policies(10_000))?);
    let ours = || is_allowed(&thousand, &ann, &one);
    beside_cedar(1_000, 20, ours, &ann, &one)?;
    let casbin = peers::Casbin::new(1_000)?;
    assert!(casbin.is_allowed(&one), "a clerk may");
    ratio("access.1000.vs.casbin", side_by_side(ROUNDS, 100, ours, || casbin.is_allowed(&one)));
    // A peer that reads all of its policies leaves nothing in the processor's caches to the next one: these two stand by themselves.
    let pair = side_by_side(ROUNDS, 500, || is_allowed(&ten_thousand, &ann, &one), ours);
    count("access.1000.microseconds", format_args!("{:.2}", microseconds(pair.theirs)));
    ratio("access.10000.vs.access.1000", pair);
    beside_cedar(10_000, 2, || is_allowed(&ten_thousand, &ann, &one), &ann, &one)?;
    Ok(())
}

/// Prints what `ours` costs beside cedar-policy with the same policies.
fn beside_cedar(
    total: usize,
    batch: u32,
    ours: impl Fn() -> bool,
    principal: &Principal,
    label: &Label,
) -> Result<Pair, Box<dyn std::error::Error>> {
    let cedar = peers::Cedar::new(&policies(total))?;
    assert!(ours() && cedar.is_allowed(principal, label), "a clerk may");
    let pair = side_by_side(ROUNDS, batch, &ours, || cedar.is_allowed(principal, label));
    ratio(&format!("access.{total}.vs.cedar"), pair);
    Ok(pair)
}

fn of_list(access: &Access, ann: &Principal, labels: &[Label]) {
    let at_once =
        || now(access.check_all(ann, READ, labels)).map_or(0, |all| all.iter().filter(|one| one.is_allowed).count());
    let singly = || labels.iter().filter(|label| is_allowed(access, ann, label)).count();
    assert_eq!(at_once(), singly(), "the same labels");
    ratio("access.list.vs.single", side_by_side(ROUNDS / 4, 1, at_once, singly));
}

fn access(policies: &str) -> Result<Access, Box<dyn std::error::Error>> {
    Ok(Access::fixed(Rules::compile(&[
        SourceFile::new("a.cedarschema", SCHEMA),
        SourceFile::new("a.cedar", policies),
    ])?))
}

/// That many with those of the base set: of all forms of scope, and none of the rest applies.
fn policies(total: usize) -> String {
    let rest = (0..total - FEW).map(|number| match number % 4 {
        0 => format!("permit (principal == HalfByte::User::\"acme/x{number}\", action == Action::\"ReadLabel\", resource is Label);\n"),
        1 => format!(
            "permit (principal in HalfByte::Role::\"r{number}\", action == Action::\"ReadLabel\", resource is Label) \
             when {{ resource.owner == principal }};\n"
        ),
        2 => format!("permit (principal in HalfByte::Group::\"g{number}\", action, resource in Folder::\"f{number}\");\n"),
        _ => format!("forbid (principal, action, resource == Label::\"z{number}\") unless {{ resource.sealed }};\n"),
    });
    [POLICIES.to_owned()].into_iter().chain(rest).collect()
}

fn is_allowed(access: &Access, principal: &Principal, label: &Label) -> bool {
    now(access.decide(principal, READ, label)).is_ok_and(|decision| decision.is_allowed)
}

/// The outcome of what has nothing to wait for.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("it is all there"),
    }
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
