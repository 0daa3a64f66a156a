//! Log records: from the SDK to the queue, and from the queue to requests.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};
use prost::Message as _;

use super::pack::{Packer, Speaker};
use super::queue::Queue;
use crate::chain::Chain;
use crate::spool::Batch;

/// Whose record it is: by the protocol, the target of an event takes the place of the scope's name.
type Scope = (Option<Cow<'static, str>>, InstrumentationScope);

/// A record as it is sent, and whose it is.
#[derive(Debug)]
pub(super) struct Record {
    scope: Scope,
    message: LogRecord,
}

/// The end of the chain of log processors: converts every record and queues it. `force_flush` and `shutdown` do nothing
/// and return at once: [`Telemetry`](crate::Telemetry) flushes, within a budget.
#[derive(Clone, Debug)]
pub(crate) struct LogQueue {
    pub(super) queue: Arc<Queue<Record>>,
    pub(super) chain: Chain,
}

impl LogProcessor for LogQueue {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.chain.record(record);
        let mut message = LogRecord::from(&*record);
        self.chain.message(&mut message);
        let bytes = message.encoded_len() + size_of::<Record>();
        let scope = (record.target().cloned(), scope.clone());
        self.queue.push(Record { scope, message }, 1, bytes);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

pub(super) fn encode(records: Vec<Record>, speaker: &Speaker) -> Vec<Batch> {
    let mut packer = Packer::new(|groups: Vec<(Scope, Vec<LogRecord>)>| {
        let scope_logs = groups.into_iter().map(|((target, scope), log_records)| ScopeLogs {
            schema_url: scope.schema_url().unwrap_or_default().to_owned(),
            scope: Some((scope, target).into()),
            log_records,
        });
        let resource_logs = vec![ResourceLogs {
            resource: Some(speaker.resource.clone()),
            scope_logs: scope_logs.collect(),
            schema_url: speaker.schema_url.clone(),
        }];
        ExportLogsServiceRequest { resource_logs }.encode_to_vec()
    });
    for Record { scope, message } in records {
        packer.push(scope, message, 1);
    }
    packer.finish()
}
