//! The checks that are about leases.

use std::sync::Arc;

use super::conformance::Backend;
use super::trial::{Stop, Trial, failed};
use crate::{Ask, Error, Lease, Name, Provider, Reading};

type Outcome = Result<(), Stop>;

/// A credential that is lent, and for how long.
async fn borrow<B: Backend>(trial: &Trial<B>, provider: &B::Provider, name: &Name) -> Result<Lease, Stop> {
    match trial.read(provider, Ask::current(name)).await? {
        Ok(Reading { value: Some(_), lease: Some(lease), .. }) if !lease.ttl().is_zero() => Ok(lease),
        Ok(Reading { value: Some(_), lease: Some(_), .. }) => failed("a credential is lent for no time at all"),
        Ok(Reading { value: Some(_), .. }) => failed("a credential is lent without a lease"),
        Ok(_) => failed("\"unchanged\" was answered where a credential was to be lent"),
        Err(error) => failed(format!("no credential was lent, and the answer is {:?}: {error}", error.kind())),
    }
}

async fn renew<B: Backend>(trial: &Trial<B>, provider: &B::Provider, lease: &Lease) -> Result<Lease, Error> {
    let answer = provider.renew(lease).await;
    match &answer {
        Ok(lease) => trial.see_lease(lease),
        Err(error) => trial.see_error(error),
    }
    answer
}

pub(super) async fn lease<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let name = trial.backend.lend().await?;
    let provider = trial.backend.provider();
    let first = borrow(&trial, &provider, &name).await?;
    let second = borrow(&trial, &provider, &name).await?;
    if first.id() == second.id() {
        return failed("two credentials that were lent have one lease");
    }
    if !provider.lends(&name) {
        return failed("a credential is lent where the provider says that nothing is");
    }
    if !first.is_renewable() {
        return Ok(());
    }
    match renew(&trial, &provider, &first).await {
        Ok(lease) if lease.id() != first.id() => failed("a renewed lease is another lease"),
        Ok(lease) if lease.ttl().is_zero() => failed("a lease was renewed for no time at all"),
        Ok(_) => Ok(()),
        Err(error) => {
            failed(format!("a lease that can be renewed was not, and the answer is {:?}: {error}", error.kind()))
        }
    }
}

/// A lease that has ended is lost for good: a provider that says "later" would be asked until the credential is of no use.
pub(super) async fn expiry<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let name = trial.backend.lend().await?;
    let provider = trial.backend.provider();
    let lost = borrow(&trial, &provider, &name).await?;
    trial.backend.expire(&lost).await?;
    is_lost(&trial, &provider, &lost, "that has ended").await?;
    let next = borrow(&trial, &provider, &name).await?;
    if next.id() == lost.id() { failed("a lease that has ended was lent again") } else { Ok(()) }
}

pub(super) async fn given_back<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let name = trial.backend.lend().await?;
    let provider = trial.backend.provider();
    let lease = borrow(&trial, &provider, &name).await?;
    if let Err(error) = provider.revoke(&lease).await {
        trial.see_error(&error);
        return failed(format!("a lease could not be given back, and the answer is {:?}: {error}", error.kind()));
    }
    is_lost(&trial, &provider, &lease, "that was given back").await?;
    provider.close().await;
    Ok(())
}

async fn is_lost<B: Backend>(trial: &Trial<B>, provider: &B::Provider, lease: &Lease, which: &str) -> Outcome {
    match renew(trial, provider, lease).await {
        Ok(_) => failed(format!("a lease {which} was renewed")),
        Err(error) if error.is_temporary() => {
            failed(format!("a lease {which} is not lost but {:?}: {error}", error.kind()))
        }
        Err(_) => Ok(()),
    }
}
