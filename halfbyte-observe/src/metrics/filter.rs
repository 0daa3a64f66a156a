use halfbyte_core::config::Variables;
use opentelemetry::trace::SpanContext;

use crate::Error;

const NAME: &str = "OTEL_METRICS_EXEMPLAR_FILTER";

/// Which measurements may become exemplars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ExemplarFilter {
    AlwaysOn,
    AlwaysOff,
    /// Those of sampled spans.
    #[default]
    TraceBased,
}

impl ExemplarFilter {
    pub(crate) fn read(variables: &Variables) -> Result<Self, Error> {
        Ok(match variables.get(NAME).map(str::to_ascii_lowercase).as_deref() {
            None | Some("trace_based") => Self::TraceBased,
            Some("always_on") => Self::AlwaysOn,
            Some("always_off") => Self::AlwaysOff,
            Some(_) => return Err(Error::configuration(NAME, "must be trace_based, always_on or always_off")),
        })
    }

    pub(super) fn takes(self, span: &SpanContext) -> bool {
        match self {
            Self::AlwaysOn => true,
            Self::AlwaysOff => false,
            Self::TraceBased => span.is_sampled(),
        }
    }
}

#[cfg(test)]
mod tests {
    use halfbyte_core::config::Config;
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

    use super::*;

    #[test]
    fn a_filter_takes_what_the_specification_says() {
        for (value, unsampled, sampled) in
            [("", false, true), ("trace_based", false, true), ("ALWAYS_ON", true, true), ("always_off", false, false)]
        {
            let filter = ExemplarFilter::read(&Config::parse([(NAME, value)]).unwrap().other).unwrap();
            let takes = |flags| {
                let (trace, span) = (TraceId::from(1), SpanId::from(1));
                filter.takes(&SpanContext::new(trace, span, flags, false, TraceState::NONE))
            };
            assert_eq!((takes(TraceFlags::default()), takes(TraceFlags::SAMPLED)), (unsampled, sampled), "{value}");
        }
        let error = ExemplarFilter::read(&Config::parse([(NAME, "some")]).unwrap().other).unwrap_err();
        assert!(error.is_configuration() && error.to_string().contains("trace_based"), "{error}");
    }
}
