use std::sync::Arc;

use crate::catalog::suggestion;
use crate::{AddOn, Catalog, Error, ErrorKind, Feature, PlanVersion};

/// What an account needs of a catalogue.
pub(crate) trait Offers: Send + Sync {
    fn version(&self, plan: &str, number: u32) -> Option<Arc<PlanVersion>>;

    /// The version of a plan that new customers get.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Catalog`]: there is no such plan.
    fn newest(&self, plan: &str) -> Result<Arc<PlanVersion>, Error>;

    /// What those have who have subscribed to nothing.
    fn default_plan(&self) -> Option<Arc<PlanVersion>>;

    /// # Errors
    ///
    /// [`ErrorKind::Catalog`]: there is no such add-on.
    fn add_on(&self, name: &str) -> Result<Arc<AddOn>, Error>;

    /// # Errors
    ///
    /// [`ErrorKind::Catalog`]: there is no such feature.
    fn feature(&self, name: &str) -> Result<&Feature, Error>;
}

impl Offers for Catalog {
    fn version(&self, plan: &str, number: u32) -> Option<Arc<PlanVersion>> {
        self.plan(plan)?.version(number).cloned()
    }

    fn newest(&self, plan: &str) -> Result<Arc<PlanVersion>, Error> {
        let found = self.plan(plan).map(|plan| plan.newest().clone());
        found.ok_or_else(|| unknown("plan", plan, self.plans().map(|plan| &*plan.name)))
    }

    fn default_plan(&self) -> Option<Arc<PlanVersion>> {
        self.default_plan().map(|plan| plan.newest().clone())
    }

    fn add_on(&self, name: &str) -> Result<Arc<AddOn>, Error> {
        let found = self.add_on(name).cloned();
        found.ok_or_else(|| unknown("add-on", name, self.add_ons().map(|add_on| &*add_on.name)))
    }

    fn feature(&self, name: &str) -> Result<&Feature, Error> {
        self.feature(name).ok_or_else(|| unknown("feature", name, self.features().map(|feature| &*feature.name)))
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    let hint = suggestion(name, known);
    Error::new(ErrorKind::Catalog, format!("there is no {what} \"{}\"{hint}", name.escape_debug()))
}
