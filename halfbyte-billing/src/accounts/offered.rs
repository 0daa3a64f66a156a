use std::collections::HashMap;
use std::sync::Arc;

use crate::account::Offers;
use crate::{AddOn, Catalog, Error, Feature, PlanVersion};

/// Plan versions that customers have and the catalogue no longer has.
pub(super) type Versions = HashMap<(Box<str>, u32), Arc<PlanVersion>>;

/// What there is to be had, and what there was.
#[derive(Debug)]
pub(super) struct Offered {
    catalog: Catalog,
    versions: Versions,
}

impl Offered {
    pub(super) fn new(catalog: Catalog) -> Self {
        Self { catalog, versions: Versions::new() }
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// With another catalogue. What the one before it sold is kept: somebody may have bought it.
    pub(super) fn with_catalog(&self, catalog: Catalog) -> Self {
        let mut versions = self.versions.clone();
        for plan in self.catalog.plans() {
            let gone = plan.versions().filter(|version| catalog.version(&version.plan, version.number).is_none());
            versions.extend(gone.map(|version| ((version.plan.clone(), version.number), version.clone())));
        }
        Self { catalog, versions }
    }

    pub(super) fn with_versions(&self, versions: Versions) -> Self {
        let mut known = self.versions.clone();
        known.extend(versions);
        Self { catalog: self.catalog.clone(), versions: known }
    }
}

impl Offers for Offered {
    fn version(&self, plan: &str, number: u32) -> Option<Arc<PlanVersion>> {
        let known = || self.versions.get(&(plan.into(), number)).cloned();
        self.catalog.version(plan, number).or_else(known)
    }

    fn newest(&self, plan: &str) -> Result<Arc<PlanVersion>, Error> {
        self.catalog.newest(plan)
    }

    fn default_plan(&self) -> Option<Arc<PlanVersion>> {
        Offers::default_plan(&self.catalog)
    }

    fn add_on(&self, name: &str) -> Result<Arc<AddOn>, Error> {
        Offers::add_on(&self.catalog, name)
    }

    fn feature(&self, name: &str) -> Result<&Feature, Error> {
        Offers::feature(&self.catalog, name)
    }
}
