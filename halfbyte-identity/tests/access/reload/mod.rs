//! Policies that change while the program runs.

mod actions;
mod evolution;
mod files;
mod folder;
mod load;
mod remote;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::{Clock, Lifecycle, Live, Principal, TenantId};
use halfbyte_identity::access::{Action, Entity, EntityRef, Policies, Rules, SourceFile};
use jiff::Timestamp;

const READ: Action = Action::new("ReadLabel");
const SCHEMA: &str = "entity Label = { tenant: HalfByte::Tenant, size: Long };\n\
    action ReadLabel in [HalfByte::Action::\"Read\"] appliesTo { principal: HalfByte::User, resource: Label };\n";

/// Labels up to that size may be read.
fn up_to(size: i64) -> String {
    format!("@id(\"up-to-{size}\")\npermit (principal, action, resource) when {{ resource.size <= {size} }};\n")
}

fn set(policies: &str) -> Vec<SourceFile> {
    vec![SourceFile::new("p.cedar", policies), SourceFile::new("p.cedarschema", SCHEMA)]
}

fn version(files: &[SourceFile]) -> Arc<str> {
    Rules::compile(files).expect("good").version().clone()
}

fn life() -> Lifecycle {
    Lifecycle::new(Clock::system())
}

fn ann() -> Principal {
    let acme: TenantId = "acme".parse().expect("a tenant");
    Principal::builder("ann", acme, Timestamp::MAX).build()
}

fn label(size: i64) -> Entity {
    let acme = "acme".parse().expect("a tenant");
    Entity::named(EntityRef::new("Label", "l")).of_tenant(&acme).attribute("size", size)
}

fn write(folder: &Path, files: &[SourceFile]) {
    for SourceFile { name, text } in files {
        // Each file whole, as an editor does: a look between the two steps of writing in place would find it empty.
        let draft = folder.join(".draft");
        fs::write(&draft, &**text).expect("written");
        fs::rename(draft, folder.join(&**name)).expect("moved");
    }
}

/// Looks every few milliseconds.
fn watch(folder: &Path) -> Policies {
    Policies::folder(folder).every(Duration::from_millis(5))
}

/// Waits until a set is in force.
async fn in_force(rules: &Live<Rules>, expected: &str) {
    let wait = async {
        while rules.load().map(|rules| rules.version().clone()).ok().as_deref() != Some(expected) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
    waited.unwrap_or_else(|_| panic!("{expected} is not in force: {:?}", rules.status()));
}

/// Waits until the status tells of something.
async fn told(rules: &Live<Rules>, expected: &str) -> String {
    let wait = async {
        loop {
            match rules.status().last_error() {
                Some(error) if error.contains(expected) => return error,
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
    waited.unwrap_or_else(|_| panic!("{expected} is not told: {:?}", rules.status()))
}

/// Waits until nothing is wrong any more.
async fn good_again(rules: &Live<Rules>) {
    let wait = async {
        while rules.status().last_error().is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it is good again");
}
