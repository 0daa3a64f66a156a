//! Requests that must be refused, for each guarded route in each way in which it can refuse.

use halfbyte_billing::{Decision, Operation, Standing};
use halfbyte_core::TenantId;
use halfbyte_core::error_chain;
use halfbyte_core::problem::Kind;
use jiff::SignedDuration;

use super::bench::{Bench, fresh, of_thing};
use super::client::Ask;
use crate::manifest::Route;

/// A request, and how it must be refused.
#[derive(Clone)]
pub(super) struct Provoked {
    pub ask: Ask,
    pub kind: Kind,
    /// What the challenge says besides what it always says.
    pub challenge: String,
}

pub(super) type Found = Result<Vec<Provoked>, String>;

fn provoked(ask: Ask, kind: Kind) -> Provoked {
    Provoked { ask, kind, challenge: String::new() }
}

/// All of the others, made once for a product.
pub(super) async fn all(bench: &mut Bench<'_>) -> Found {
    let product = bench.product;
    if let Some(all) = product.provoked.get() {
        return Ok(all.clone());
    }
    let mut all = without_credentials(bench);
    all.extend(with_a_bad_token(bench));
    all.extend(without_a_scope(bench).await?);
    all.extend(without_a_role(bench).await?);
    all.extend(at_another_tenant(bench).await?);
    all.extend(signed_in_weakly(bench).await?);
    all.extend(at_nothing(bench).await?);
    all.extend(without_the_feature(bench).await?);
    all.extend(past_due(bench).await?);
    Ok(product.provoked.get_or_init(|| all).clone())
}

pub(super) fn without_credentials(bench: &Bench<'_>) -> Vec<Provoked> {
    let routes = bench.routes(false);
    routes.iter().map(|route| provoked(bench.ask(route, "nobody"), Kind::Unauthenticated)).collect()
}

/// At public routes too.
pub(super) fn with_a_bad_token(bench: &Bench<'_>) -> Vec<Provoked> {
    let routes = bench.manifest().routes;
    routes.iter().map(|route| provoked(bench.ask(route, "nobody").bearer("a.b.c"), Kind::InvalidToken)).collect()
}

/// Each scope of a route in turn is what the caller lacks.
pub(super) async fn without_a_scope(bench: &Bench<'_>) -> Found {
    let tenant = bench.customer().await?;
    let mut found = Vec::new();
    for route in bench.routes(false) {
        let scopes: Vec<_> = route.asks.scopes.iter().map(String::as_str).collect();
        for lacking in &scopes {
            let others = scopes.iter().copied().filter(|scope| scope != lacking);
            // Names that a scope is a part of, and one that is a part of it, are not it.
            let like = [format!("{lacking}2"), format!("x{lacking}"), lacking.to_uppercase()];
            let like = like.iter().map(String::as_str).filter(|like| !scopes.contains(like));
            let persona = bench.persona(&route, &tenant).scopes(others.chain(like));
            let ask = bench.ask(&route, tenant.as_str()).bearer(&bench.token(&persona));
            let challenge = format!(",scope=\"{}\"", scopes.join(" "));
            found.push(Provoked { ask, kind: Kind::InsufficientScope, challenge });
        }
    }
    Ok(found)
}

pub(super) async fn without_a_role(bench: &Bench<'_>) -> Found {
    let tenant = bench.customer().await?;
    let mut found = Vec::new();
    for route in bench.routes(false) {
        for lacking in &route.asks.roles {
            let others = route.asks.roles.iter().filter(|role| *role != lacking).map(String::as_str);
            let persona = bench.persona(&route, &tenant).roles(others);
            let ask = bench.ask(&route, tenant.as_str()).bearer(&bench.token(&persona));
            found.push(provoked(ask, Kind::Forbidden));
        }
    }
    Ok(found)
}

/// The tenant in the path is not the caller's, but is a customer as well.
pub(super) async fn at_another_tenant(bench: &Bench<'_>) -> Found {
    let (tenant, another) = (bench.customer().await?, bench.customer().await?);
    let routes = bench.routes(false).into_iter().filter(|route| route.asks.tenant_in_path.is_some());
    let ask = |route: Route| {
        let token = bench.token(&bench.persona(&route, &tenant));
        provoked(bench.ask(&route, another.as_str()).bearer(&token), Kind::Forbidden)
    };
    Ok(routes.map(ask).collect())
}

/// The caller has signed in by a weaker means than is asked for, or too long ago, or does not say how or when.
pub(super) async fn signed_in_weakly(bench: &Bench<'_>) -> Found {
    let tenant = bench.customer().await?;
    let mut found = Vec::new();
    for route in bench.routes(false) {
        let asks = &route.asks;
        let persona = || bench.persona(&route, &tenant);
        let mut weak = Vec::new();
        if !asks.acr.is_empty() {
            weak.push(persona().acr("conformance-weak"));
            weak.push(persona().acr(&format!("{}-x", asks.acr[0])));
        }
        if let Some(age) = asks.max_age_seconds {
            let age = i64::try_from(age).unwrap_or(i64::MAX);
            weak.push(persona().signed_in(SignedDuration::from_secs(age.saturating_add(120))));
            weak.push(bench.persona_signed_in(&route, &tenant, None));
        }
        let mut challenge = String::new();
        if !asks.acr.is_empty() {
            challenge.push_str(&format!(",acr_values=\"{}\"", asks.acr.join(" ")));
        }
        if let Some(age) = asks.max_age_seconds {
            challenge.push_str(&format!(",max_age=\"{age}\""));
        }
        for persona in weak {
            let ask = bench.ask(&route, tenant.as_str()).bearer(&bench.token(&persona));
            found.push(Provoked { ask, kind: Kind::StepUpRequired, challenge: challenge.clone() });
        }
    }
    Ok(found)
}

/// What the policies are asked for is not there.
pub(super) async fn at_nothing(bench: &Bench<'_>) -> Found {
    let tenant = bench.customer().await?;
    let mut found = Vec::new();
    for route in bench.routes(false) {
        let ask = bench.ask(&route, tenant.as_str()).bearer(&bench.token(&bench.persona(&route, &tenant)));
        found.extend(of_thing(&route, ask, "conformance").map(|ask| provoked(ask, Kind::Forbidden)));
    }
    Ok(found)
}

/// A customer, and his good requests for what asks for a feature, with the feature.
async fn entitled(bench: &mut Bench<'_>) -> Result<(TenantId, Vec<(String, Ask)>), String> {
    let tenant = bench.customer().await?;
    let mut found = Vec::new();
    for route in bench.routes(false) {
        let Some(feature) = route.asks.feature.clone() else { continue };
        found.extend(bench.good(&route, &tenant).await?.map(|ask| (feature, ask)));
    }
    Ok((tenant, found))
}

/// The plan has not what the route asks for.
pub(super) async fn without_the_feature(bench: &mut Bench<'_>) -> Found {
    let (tenant, asks) = entitled(bench).await?;
    let billing = bench.product.platform.billing();
    billing.customers().end(&tenant).await.map_err(|error| error_chain(&error).to_string())?;
    // Who has no plan of his own has the default one, and that may have the feature.
    let is_lacking = |feature: &str| billing.check(&tenant, feature) == Decision::NotEntitled;
    let lacking = asks.into_iter().filter(|(feature, _)| is_lacking(feature));
    Ok(lacking.map(|(_, ask)| provoked(ask, Kind::NotEntitled)).collect())
}

/// The customer has not paid.
pub(super) async fn past_due(bench: &mut Bench<'_>) -> Found {
    let (tenant, asks) = entitled(bench).await?;
    operate(bench, &tenant, Operation::SetStanding { standing: Standing::PastDue }).await?;
    Ok(asks.into_iter().map(|(_, ask)| provoked(ask, Kind::PaymentRequired)).collect())
}

/// Does something to the account of `tenant`.
pub(super) async fn operate(bench: &Bench<'_>, tenant: &TenantId, operation: Operation) -> Result<(), String> {
    let done = bench.product.platform.billing().customers().operate(&fresh(), tenant, operation).await;
    done.map(drop).map_err(|error| error_chain(&error).to_string())
}
