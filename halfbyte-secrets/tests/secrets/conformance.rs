//! The suite of [`conformance`], which our providers pass, and which finds what is wrong with those that do not.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use halfbyte_core::config::Config;
use halfbyte_core::home::Home;
use halfbyte_secrets::testing::conformance::{self, Backend, Hindrance, Outcome, Report};
use halfbyte_secrets::{Env, Files, Local, Name, SecretString};
use tempfile::TempDir;

use super::memory::{Flaw, Memory};

fn all_but(report: &Report, not_run: &[&str]) {
    report.assert();
    assert_eq!(report.not_run(), not_run, "{report}");
    println!("{report}");
}

#[tokio::test(start_paused = true)]
async fn a_provider_without_a_flaw_passes_all_of_it() {
    let report = conformance::run(Memory::new(None)).await;
    all_but(&report, &[]);
    assert_eq!(report.checks().len(), 22);
    assert!(
        report.to_string().starts_with("conformance of memory\n  missing name                    passed\n"),
        "{report}"
    );
}

/// Table: what is wrong, and which checks say so.
const FLAWS: &[(Flaw, &[&str])] = &[
    (Flaw::MissingIsUnavailable, &["missing name", "names"]),
    (Flaw::MissingPanics, &["missing name", "names"]),
    (Flaw::MissingHangs, &["missing name", "names"]),
    (Flaw::Trims, &["value as it was put"]),
    (Flaw::KnowsOnlyText, &["value that is not text"]),
    (Flaw::CutsLargeValues, &["sizes to 64 KiB"]),
    (Flaw::MatchesBeginnings, &["names"]),
    (Flaw::BelievesInAnyVersion, &["never unchanged at first", "rotation"]),
    (Flaw::NeverUnchanged, &["unchanged"]),
    (Flaw::OneVersionForAll, &["rotation", "rotation under readers"]),
    (Flaw::ReadsInTwoParts, &["rotation under readers"]),
    (Flaw::IsBehind, &["rotation", "rotation under readers", "previous", "pending", "denied"]),
    (Flaw::MixesReadersUp, &["many readers"]),
    (Flaw::IgnoresStages, &["no other stages", "previous", "pending"]),
    (Flaw::PreviousIsTheFirst, &["previous"]),
    (Flaw::PendingIsCurrent, &["pending"]),
    (Flaw::HeldUpByADroppedRead, &["rotation under readers", "many readers", "dropped reads", "slow"]),
    (Flaw::DeniedIsNotFound, &["denied"]),
    (Flaw::OutageIsNotFound, &["outage"]),
    (Flaw::OutageIsForGood, &["outage"]),
    (Flaw::AnswersForWhoDoesNot, &["slow"]),
    (Flaw::ServesWhatIsMalformed, &["malformed"]),
    (Flaw::OneLeaseForAll, &["lease", "lease expiry"]),
    (Flaw::NoLease, &["lease", "lease expiry", "lease given back"]),
    (Flaw::RenewsWhatHasEnded, &["lease expiry", "lease given back"]),
    (Flaw::EndedIsTemporary, &["lease expiry", "lease given back"]),
    (Flaw::GivesNothingBack, &["lease given back"]),
    (Flaw::TellsTheValue, &["no value where it can be seen"]),
    (Flaw::TellsItsBytes, &["no value where it can be seen"]),
    (Flaw::TellsItInBase64, &["no value where it can be seen"]),
    (Flaw::TellsItInASource, &["no value where it can be seen"]),
    (Flaw::LogsTheValue, &["no value where it can be seen"]),
    (Flaw::LogsItInASpan, &["no value where it can be seen"]),
    (Flaw::LogsWhatManyRead, &["no value where it can be seen"]),
    (Flaw::LogsAllAtFirst, &["no value where it can be seen"]),
    (Flaw::VersionIsTheValue, &["no value where it can be seen"]),
];

#[tokio::test(start_paused = true)]
async fn each_flaw_is_found_by_the_check_that_is_about_it() {
    let mut wrong = Vec::new();
    for (flaw, checks) in FLAWS {
        let report = conformance::run(Memory::new(*flaw)).await;
        if report.failed() != *checks {
            wrong.push(format!("{flaw:?} is to be found by {checks:?}: {report}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let about: Vec<_> = FLAWS.iter().flat_map(|(_, checks)| *checks).collect();
    let report = conformance::run(Memory::new(None)).await;
    for check in report.checks() {
        assert!(about.contains(&&check.name), "no flaw is about {:?}", check.name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_says_where_a_value_was_logged() {
    let report = conformance::run(Memory::new(Flaw::LogsTheValue)).await.to_string();
    let place = "a part of a value is readable in the log: field `text` of the TRACE event at halfbyte-secrets/tests/";
    assert!(report.contains(place), "{report}");
}

/// What a process was started with.
#[derive(Default)]
struct Variables(Mutex<BTreeMap<String, String>>);

impl Backend for Variables {
    type Provider = Env;

    fn provider(&self) -> Env {
        let variables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Env::new(&Config::parse(variables.iter()).unwrap().other)
    }

    async fn put(&self, name: &Name, value: &[u8]) -> Outcome {
        let Ok(text) = String::from_utf8(value.to_vec()) else {
            return Err(Hindrance::Cannot("a variable is text"));
        };
        let name = name.as_str().to_ascii_uppercase().replace(['-', '.'], "_");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, text);
        Ok(())
    }

    async fn rotate(&self, _: &Name, _: &[u8]) -> Outcome {
        Err(Hindrance::Cannot("variables are read once"))
    }
}

#[tokio::test]
async fn env_conforms() {
    let report = conformance::run(Variables::default()).await;
    let not_run = [
        "value that is not text",
        "rotation",
        "rotation under readers",
        "previous",
        "pending",
        "denied",
        "outage",
        "slow",
        "malformed",
        "lease",
        "lease expiry",
        "lease given back",
    ];
    all_but(&report, &not_run);
}

/// A mounted folder.
struct Folder(TempDir);

impl Folder {
    fn path(&self) -> PathBuf {
        self.0.path().join("mounted")
    }
}

impl Backend for Folder {
    type Provider = Files;

    fn provider(&self) -> Files {
        Files::new(self.path())
    }

    async fn put(&self, name: &Name, value: &[u8]) -> Outcome {
        let next = self.0.path().join("next");
        fs::write(&next, value)?;
        fs::rename(next, self.path().join(name.as_str()))?;
        Ok(())
    }

    async fn deny(&self, _: &Name) -> Outcome {
        Err(Hindrance::Cannot("the tests may run as root, who may read everything"))
    }

    async fn outage(&self) -> Outcome {
        Ok(fs::rename(self.path(), self.0.path().join("unmounted"))?)
    }

    async fn slow(&self) -> Outcome {
        Err(Hindrance::Cannot("a disk is as fast as it is"))
    }

    async fn malform(&self, name: &Name) -> Outcome {
        fs::copy(self.path().join(name.as_str()), self.0.path().join("whole"))?;
        fs::write(self.0.path().join("whole-is"), name.as_str())?;
        Ok(fs::write(self.path().join(name.as_str()), "")?)
    }

    async fn restore(&self) -> Outcome {
        let unmounted = self.0.path().join("unmounted");
        if unmounted.exists() {
            fs::rename(unmounted, self.path())?;
        }
        if let Ok(name) = fs::read_to_string(self.0.path().join("whole-is"))
            && self.0.path().join("whole").exists()
        {
            fs::rename(self.0.path().join("whole"), self.path().join(name))?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_conform() {
    let folder = Folder(tempfile::tempdir().unwrap());
    fs::create_dir(folder.path()).unwrap();
    let report = conformance::run(folder).await;
    all_but(&report, &["previous", "pending", "denied", "slow", "lease", "lease expiry", "lease given back"]);
}

/// A home with its encrypted file.
struct AtHome {
    folder: TempDir,
    local: Local,
    /// Taken out again by the next one: each read decrypts all that there is.
    large: Mutex<Option<String>>,
}

impl AtHome {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("home").join(name)
    }
}

impl Backend for AtHome {
    type Provider = Local;

    fn provider(&self) -> Local {
        self.local.clone()
    }

    async fn put(&self, name: &Name, value: &[u8]) -> Outcome {
        let Ok(text) = String::from_utf8(value.to_vec()) else {
            return Err(Hindrance::Cannot("its values are text"));
        };
        let large = (text.len() > 1000).then(|| name.to_string());
        self.local.set(name.as_str(), &SecretString::from(text))?;
        let before = std::mem::replace(&mut *self.large.lock().unwrap_or_else(PoisonError::into_inner), large);
        if let Some(before) = before.filter(|before| before != name.as_str()) {
            self.local.remove(&before)?;
        }
        Ok(())
    }

    async fn deny(&self, _: &Name) -> Outcome {
        Ok(fs::rename(self.path("secrets/secrets.key"), self.path("away.key"))?)
    }

    async fn outage(&self) -> Outcome {
        fs::rename(self.path("secrets"), self.path("away"))?;
        Ok(fs::write(self.path("secrets"), "no folder")?)
    }

    async fn slow(&self) -> Outcome {
        Err(Hindrance::Cannot("a disk is as fast as it is"))
    }

    async fn malform(&self, _: &Name) -> Outcome {
        let sealed = fs::read(self.path("secrets/secrets.age"))?;
        fs::write(self.path("whole.age"), &sealed)?;
        Ok(fs::write(self.path("secrets/secrets.age"), &sealed[..sealed.len() / 2])?)
    }

    async fn restore(&self) -> Outcome {
        if self.path("away").exists() {
            fs::remove_file(self.path("secrets"))?;
            fs::rename(self.path("away"), self.path("secrets"))?;
        }
        for (away, back) in [("away.key", "secrets/secrets.key"), ("whole.age", "secrets/secrets.age")] {
            if self.path(away).exists() {
                fs::rename(self.path(away), self.path(back))?;
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(&Home::open(folder.path().join("home")).unwrap()).unwrap();
    let report = conformance::run(AtHome { folder, local, large: Mutex::default() }).await;
    let not_run =
        ["value that is not text", "previous", "pending", "slow", "lease", "lease expiry", "lease given back"];
    all_but(&report, &not_run);
}
