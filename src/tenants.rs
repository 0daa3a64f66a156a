use std::future::Future;

use halfbyte_billing::Billing;
use halfbyte_core::{BoxError, Principal, TenantId};
use halfbyte_identity::access::{Entity, EntityProvider, EntityRef, Membership};

/// What the product knows, and what billing knows of tenants: one whose subscription is paused is suspended.
pub(crate) struct WithBilling<P> {
    pub(crate) product: P,
    pub(crate) billing: Billing,
}

impl<P: EntityProvider> EntityProvider for WithBilling<P> {
    fn principal(&self, principal: &Principal) -> impl Future<Output = Result<Membership, BoxError>> + Send {
        self.product.principal(principal)
    }

    async fn is_suspended(&self, tenant: &TenantId) -> Result<bool, BoxError> {
        Ok(self.billing.is_suspended(tenant).await? || self.product.is_suspended(tenant).await?)
    }

    fn entity(&self, name: &EntityRef) -> impl Future<Output = Result<Option<Entity>, BoxError>> + Send {
        self.product.entity(name)
    }

    fn entities(&self, names: &[EntityRef]) -> impl Future<Output = Result<Vec<Entity>, BoxError>> + Send {
        self.product.entities(names)
    }
}
