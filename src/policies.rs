//! Whether the policies are about what the product asks of them.

use halfbyte_core::Live;
use halfbyte_identity::access::{Action, Rules};

use crate::error::{Error, ErrorKind};

/// The product's policies, and whether they are part of the program.
#[derive(Clone)]
pub(crate) struct InForce {
    pub(crate) rules: Live<Rules>,
    pub(crate) are_built_in: bool,
}

impl InForce {
    /// Policies that are part of the program must know what it asks of them: otherwise nobody would ever be let in.
    pub(crate) fn check(&self, asked: &[Action]) -> Result<(), Error> {
        let Some(rules) = self.rules.load().ok().filter(|_| self.are_built_in && !asked.is_empty()) else {
            return Ok(());
        };
        if !rules.has_product_policies() {
            let message = format!(
                "routes ask policies for {}, and there are none: give the product's by Builder::policies, or say by \
                 Builder::policies_from where they are",
                names(asked.iter().map(|action| action.name()))
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        let is_declared = |action: &Action| rules.declared_actions().any(|declared| declared == action.name());
        let unknown: Vec<_> = asked.iter().filter(|action| !is_declared(action)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the product asks policies for {}, which no schema declares for a principal and a resource; declared are: {}",
            names(unknown.iter().map(|action| action.name())),
            names(rules.declared_actions())
        );
        Err(Error::new(ErrorKind::Configuration, message))
    }

    /// Logs what of each set that comes in force does not go with what the product asks; runs until it is dropped.
    pub(crate) async fn watch(self, asked: Vec<Action>) {
        let mut seen = 0;
        loop {
            seen = self.rules.changed(seen).await;
            if let Ok(rules) = self.rules.load() {
                for finding in rules.check_actions(&asked) {
                    tracing::warn!(target: "halfbyte::decisions", "{finding}");
                }
            }
        }
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use halfbyte_core::{Clock, Lifecycle};
    use halfbyte_identity::access::{Policies, SourceFile};
    use halfbyte_observe::testing::capture;

    use super::*;

    const PRINT: Action = Action::new("PrintLabel");
    const SCHEMA: &str = r#"
entity Label = { tenant: HalfByte::Tenant };
action PrintLabel appliesTo { principal: [HalfByte::User], resource: Label };
action VoidLabel appliesTo { principal: [HalfByte::User], resource: Label };
"#;
    const PERMIT: &str = r#"permit (principal, action == Action::"PrintLabel", resource);"#;

    fn files(policies: &str) -> Vec<SourceFile> {
        vec![SourceFile::new("parcel.cedarschema", SCHEMA), SourceFile::new("parcel.cedar", policies)]
    }

    fn built_in(files: &[SourceFile]) -> InForce {
        let rules = Rules::compile(files).expect("the policies are good");
        InForce { rules: Live::fixed("access.policies", rules), are_built_in: true }
    }

    #[test]
    fn policies_that_are_built_in_must_be_there_and_know_what_is_asked() {
        for (files, asked, lacking) in [
            (files(PERMIT), vec![PRINT], &[][..]),
            (files(PERMIT), vec![PRINT, Action::new("VoidLabel")], &[]),
            (files(PERMIT), vec![], &[]),
            (vec![], vec![], &[]),
            (vec![], vec![PRINT], &["PrintLabel", "Builder::policies"]),
            (files("// To be written."), vec![PRINT], &["PrintLabel", "Builder::policies"]),
            (files(PERMIT), vec![PRINT, Action::new("PrintLable")], &["PrintLable", "PrintLabel, VoidLabel"]),
        ] {
            let said = built_in(&files).check(&asked).map_err(|error| (error.exit_code(), error.to_string()));
            match said {
                Ok(()) => assert!(lacking.is_empty(), "{asked:?} is let through"),
                Err((code, said)) => {
                    assert!(code == 78 && !lacking.is_empty(), "{said}");
                    assert!(lacking.iter().all(|part| said.contains(part)), "{said}");
                }
            }
        }
    }

    #[test]
    fn policies_that_come_from_elsewhere_may_come_later() {
        let nothing = Rules::compile(&[]).expect("the base set is good");
        let later = InForce { rules: Live::fixed("access.policies", nothing), are_built_in: false };
        assert!(later.check(&[PRINT]).is_ok());
    }

    #[tokio::test]
    async fn what_does_not_go_together_is_logged_once_for_each_set_that_comes_in_force() {
        let (capture, folder) = (capture(), tempfile::tempdir().expect("a folder"));
        let _here = capture.enter();
        let said = || capture.logs().iter().map(|log| format!("{} {}", log.severity, log.body)).collect::<Vec<_>>();

        let watching = built_in(&files(PERMIT)).watch(vec![PRINT]);
        assert_eq!(watching.now_or_never(), None, "it goes on");
        let [never_asked] = &said()[..] else { panic!("{:?}", said()) };
        assert!(never_asked.starts_with("WARN parcel.cedarschema:4: the action VoidLabel"), "{never_asked}");

        let write = |policies: &str| {
            for file in files(policies) {
                std::fs::write(folder.path().join(&*file.name), &*file.text).expect("written");
            }
        };
        write(PERMIT);
        let life = Lifecycle::new(Clock::system());
        let every = std::time::Duration::from_millis(10);
        let rules = Policies::folder(folder.path()).every(every).start(&life);
        let in_force = InForce { rules, are_built_in: false };
        let count = |part: &str| said().iter().filter(|line| line.contains(part)).count();
        let watching = in_force.watch(vec![PRINT, Action::new("Unknown")]);
        let seen = async {
            while count("Unknown") < 1 {
                tokio::time::sleep(every).await;
            }
            assert_eq!(count("no policy can permit the action PrintLabel"), 0);
            write(&PERMIT.replace("PrintLabel", "VoidLabel"));
            while count("no policy can permit the action PrintLabel") < 1 {
                tokio::time::sleep(every).await;
            }
        };
        tokio::select! {
            () = watching => panic!("it ends"),
            () = seen => assert_eq!(count("Unknown"), 2, "{:?}", said()),
            () = tokio::time::sleep(std::time::Duration::from_secs(10)) => panic!("{:?}", said()),
        }
    }
}
