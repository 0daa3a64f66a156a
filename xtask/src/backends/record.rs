//! The file that says which backends run, so that a later command can show and stop them.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::process::Process;
use crate::error::{Context, Error, Result};

/// One backend that was started.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    pub name: String,
    pub process: Process,
    pub log: PathBuf,
    pub env: Vec<(String, String)>,
}

/// The backends of one session, in a file.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    pub running: Vec<Running>,
}

impl Record {
    pub fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), running: Vec::new() }
    }

    /// What the file holds; nothing when there is none.
    pub fn load(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::empty(path)),
            Err(error) => return Err(error).context(format_args!("cannot read {}", path.display())),
        };
        let running = serde_json::from_str::<Value>(&text).ok().and_then(|value| parse(&value)).ok_or_else(|| {
            Error::new(format!("{} is damaged: stop what it names by hand, then delete it", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), running })
    }

    /// Writes the file whole or not at all.
    pub fn save(&self) -> Result {
        let value: Vec<Value> = self.running.iter().map(Running::to_json).collect();
        let partial = self.path.with_extension("partial");
        fs::write(&partial, format!("{:#}\n", Value::from(value)))
            .and_then(|()| fs::rename(&partial, &self.path))
            .context(format_args!("cannot write {}", self.path.display()))
    }

    pub fn delete(&self) -> Result {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).context(format_args!("cannot delete {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Running {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "pid": self.process.id(),
            "started": self.process.started(),
            "log": self.log,
            "env": self.env.iter().cloned().collect::<BTreeMap<_, _>>(),
        })
    }
}

fn parse(value: &Value) -> Option<Vec<Running>> {
    value.as_array()?.iter().map(parse_running).collect()
}

fn parse_running(value: &Value) -> Option<Running> {
    let id = u32::try_from(value["pid"].as_u64()?).ok()?;
    let env = value["env"].as_object()?.iter();
    Some(Running {
        name: value["name"].as_str()?.to_owned(),
        process: Process::recorded(id, value["started"].as_str()?),
        log: value["log"].as_str()?.into(),
        env: env.map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut record = Record::empty(&dir.path().join("running.json"));
        record.running.push(Running {
            name: "rotel".to_owned(),
            process: Process::recorded(4321, "7 after boot x"),
            log: "log/rotel.log".into(),
            env: vec![("HB_TEST_OTLP_HTTP".to_owned(), "http://127.0.0.1:1".to_owned())],
        });
        record.save().expect("saved");
        assert_eq!(Record::load(&record.path).expect("loaded").running, record.running);
        record.delete().expect("deleted");
        assert!(Record::load(&record.path).expect("none is fine").running.is_empty());
    }

    #[test]
    fn a_damaged_file_is_reported_and_kept() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("running.json");
        fs::write(&path, "[{]").expect("a damaged file");
        let error = Record::load(&path).expect_err("it cannot be read");
        assert!(error.to_string().contains("is damaged"), "{error}");
        assert!(path.exists());
    }
}
