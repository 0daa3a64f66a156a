//! Where one signal goes: the variables of the OTLP exporter, each of which a signal may have for itself.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use halfbyte_core::config::Variables;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::plan::number;
use crate::{Error, Signal};

const PREFIX: &str = "OTEL_EXPORTER_OTLP";

/// The longest that one attempt to send may take, unless a variable says otherwise.
const TIMEOUT: u64 = 10_000;

/// Where one signal goes. `Debug` shows no header and no credential of the address.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) url: Url,
    pub(super) protocol: Protocol,
    /// Secrets.
    pub(super) headers: HeaderMap,
    pub(super) gzip: bool,
    /// Of one attempt.
    pub(super) timeout: Duration,
    pub(super) tls: Tls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Grpc,
}

/// Files in PEM, each with the variable that names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tls {
    /// Who is believed in place of the authorities that the machine trusts.
    pub(super) certificate: Option<(String, PathBuf)>,
    /// The key and the certificate that the collector asks for.
    pub(super) client: Option<((String, PathBuf), (String, PathBuf))>,
}

impl Destination {
    /// `None` without an endpoint.
    pub(super) fn read(variables: &Variables, signal: Signal) -> Result<Option<Self>, Error> {
        let own = Own { variables, signal };
        let protocol = own.protocol()?;
        let Some(url) = own.url(protocol)? else { return Ok(None) };
        Ok(Some(Self {
            url,
            protocol,
            headers: own.headers()?,
            gzip: own.gzip()?,
            timeout: own.timeout()?,
            tls: own.tls()?,
        }))
    }

    /// The address without what may be secret in it.
    pub(super) fn shown(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", self.url.scheme(), self.url.host_str().unwrap_or_default())
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination")
            .field("address", &self.shown())
            .field("protocol", &self.protocol)
            .field("gzip", &self.gzip)
            .field("timeout", &self.timeout)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// The variables as one signal has them.
#[derive(Clone, Copy)]
struct Own<'a> {
    variables: &'a Variables,
    signal: Signal,
}

impl<'a> Own<'a> {
    /// The variable of the signal, or else the one of all: its name and its value.
    fn get(self, suffix: &str) -> Option<(String, &'a str)> {
        [self.signal.variable(PREFIX, suffix), format!("{PREFIX}_{suffix}")].into_iter().find_map(|name| {
            let value = self.variables.get(&name)?.trim();
            Some((name, value))
        })
    }

    fn protocol(self) -> Result<Protocol, Error> {
        let Some((name, value)) = self.get("PROTOCOL") else { return Ok(Protocol::Http) };
        match value.to_ascii_lowercase().as_str() {
            "http/protobuf" => Ok(Protocol::Http),
            "grpc" if cfg!(feature = "grpc") => Ok(Protocol::Grpc),
            "grpc" => Err(Error::configuration(
                &name,
                "grpc needs the feature \"grpc\" of halfbyte-observe; build with it, or use http/protobuf",
            )),
            other => Err(Error::configuration(
                &name,
                format_args!(
                    "\"{other}\" is not supported; use http/protobuf (port 4318 of a collector) or grpc (4317)"
                ),
            )),
        }
    }

    /// The endpoint of one signal is taken as it is; to the one of all signals HTTP adds the path of the signal.
    fn url(self, protocol: Protocol) -> Result<Option<Url>, Error> {
        let Some((name, value)) = self.get("ENDPOINT") else { return Ok(None) };
        // The value is not repeated: people put passwords into URLs.
        let wrong = |example| Error::configuration(&name, format_args!("must be a URL such as {example}"));
        match protocol {
            Protocol::Http => {
                let mut url = parse(value).ok_or_else(|| wrong("http://127.0.0.1:4318"))?;
                if name == "OTEL_EXPORTER_OTLP_ENDPOINT"
                    && let Ok(mut path) = url.path_segments_mut()
                {
                    path.pop_if_empty().extend(["v1", self.signal.as_str()]);
                }
                Ok(Some(url))
            }
            Protocol::Grpc => {
                let insecure = self.get("INSECURE").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
                let url = match value.contains("://") {
                    true => parse(value),
                    false if insecure => parse(&format!("http://{value}")),
                    false => parse(&format!("https://{value}")),
                };
                let url = url.ok_or_else(|| wrong("http://127.0.0.1:4317"))?;
                if !url.username().is_empty() || url.password().is_some() {
                    let instead = "gRPC has no user and password in the URL; put them into OTEL_EXPORTER_OTLP_HEADERS";
                    return Err(Error::configuration(&name, instead));
                }
                Ok(Some(url))
            }
        }
    }

    /// `key=value` pairs between commas as in W3C baggage, values percent-encoded; the last one of a key counts.
    fn headers(self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        let Some((name, list)) = self.get("HEADERS") else { return Ok(headers) };
        let wrong = || Error::configuration(&name, "must be name=value pairs between commas, values percent-encoded");
        for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
            let key: HeaderName = key.trim().parse().map_err(|_| wrong())?;
            let value: Vec<u8> = percent_decode_str(value.trim()).collect();
            let mut value = HeaderValue::from_bytes(&value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        Ok(headers)
    }

    fn gzip(self) -> Result<bool, Error> {
        let Some((name, value)) = self.get("COMPRESSION") else { return Ok(false) };
        match value.to_ascii_lowercase().as_str() {
            "none" => Ok(false),
            "gzip" => Ok(true),
            other => Err(Error::configuration(&name, format_args!("\"{other}\" is not supported; use gzip or none"))),
        }
    }

    fn timeout(self) -> Result<Duration, Error> {
        let name = self.get("TIMEOUT").map_or_else(String::new, |(name, _)| name);
        Ok(Duration::from_millis(number(self.variables, &name, TIMEOUT)?))
    }

    fn tls(self) -> Result<Tls, Error> {
        let file = |suffix| self.get(suffix).map(|(name, value)| (name, PathBuf::from(value)));
        let client = match (file("CLIENT_KEY"), file("CLIENT_CERTIFICATE")) {
            (Some(key), Some(certificate)) => Some((key, certificate)),
            (None, None) => None,
            (Some((name, _)), None) => {
                return Err(Error::configuration(&name, "goes with ..._CLIENT_CERTIFICATE only"));
            }
            (None, Some((name, _))) => return Err(Error::configuration(&name, "goes with ..._CLIENT_KEY only")),
        };
        Ok(Tls { certificate: file("CERTIFICATE"), client })
    }
}

fn parse(url: &str) -> Option<Url> {
    Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use halfbyte_core::config::Config;

    use super::*;

    const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");

    fn read(variables: &[(&str, &str)], signal: Signal) -> Result<Destination, Error> {
        let variables = Config::parse(variables.iter().copied()).expect("valid").other;
        Ok(Destination::read(&variables, signal)?.expect("an endpoint"))
    }

    fn url(variables: &[(&str, &str)], signal: Signal) -> String {
        read(variables, signal).expect("valid").url.into()
    }

    #[test]
    fn the_endpoint_of_all_gets_the_path_of_the_signal_and_the_one_of_a_signal_is_taken_as_it_is() {
        let all = |value| [("OTEL_EXPORTER_OTLP_ENDPOINT", value)];
        for (value, expected) in [
            ("http://collector:4318", "http://collector:4318/v1/logs"),
            ("http://collector:4318/", "http://collector:4318/v1/logs"),
            ("http://collector:4318/in", "http://collector:4318/in/v1/logs"),
            ("https://collector/in/?x=1", "https://collector/in/v1/logs?x=1"),
        ] {
            assert_eq!(url(&all(value), Signal::Logs), expected);
        }
        let own = [ALL, ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://c/in?x=1")];
        assert_eq!(url(&own, Signal::Logs), "https://c/in?x=1");
        assert_eq!(url(&own, Signal::Traces), "http://c/v1/traces");
    }

    #[cfg(feature = "grpc")]
    #[test]
    fn an_endpoint_of_grpc_gets_no_path_and_is_secure_unless_it_says_otherwise() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        for (value, insecure, expected) in [
            ("http://c:4317", "false", "http://c:4317/"),
            ("https://c:4317", "true", "https://c:4317/"),
            ("c:4317", "true", "http://c:4317/"),
            ("c:4317", "false", "https://c:4317/"),
            ("[::1]:4317", "TRUE", "http://[::1]:4317/"),
        ] {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", value);
            assert_eq!(url(&[grpc, endpoint, ("OTEL_EXPORTER_OTLP_INSECURE", insecure)], Signal::Traces), expected);
        }
    }

    #[test]
    fn what_a_signal_has_for_itself_wins() {
        let variables = [
            ALL,
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "20"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "c=3"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/cert.pem"),
            ("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "/logs.pem"),
        ];
        let (traces, logs) = (read(&variables, Signal::Traces).unwrap(), read(&variables, Signal::Logs).unwrap());
        assert_eq!((traces.timeout, logs.timeout), (Duration::from_millis(1500), Duration::from_millis(20)));
        assert_eq!((traces.gzip, logs.gzip), (true, false));
        assert_eq!((traces.headers.len(), logs.headers.len()), (2, 1));
        assert_eq!(traces.tls.certificate.unwrap().1, PathBuf::from("/ca.pem"));
        assert_eq!(logs.tls.certificate.unwrap().1, PathBuf::from("/logs.pem"));
        assert_eq!(logs.tls.client.unwrap().0.1, PathBuf::from("/key.pem"));
    }

    #[test]
    fn values_are_known_in_any_case() {
        for (protocol, compression, expected) in [
            ("HTTP/Protobuf", "GZIP", (Protocol::Http, true)),
            #[cfg(feature = "grpc")]
            ("gRPC", "None", (Protocol::Grpc, false)),
        ] {
            let variables =
                [ALL, ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol), ("OTEL_EXPORTER_OTLP_COMPRESSION", compression)];
            let read = read(&variables, Signal::Traces).expect(protocol);
            assert_eq!((read.protocol, read.gzip), expected);
        }
    }

    #[test]
    fn headers_are_percent_decoded_and_never_shown() {
        let list = "authorization=Basic%20czNjcmV0, x-key = s3cret ,,x-empty=,x-key=again%3D";
        let read = read(&[ALL, ("OTEL_EXPORTER_OTLP_HEADERS", list)], Signal::Traces).unwrap();
        assert_eq!(read.headers["authorization"], "Basic czNjcmV0");
        assert_eq!((read.headers["x-key"].as_bytes(), read.headers["x-empty"].as_bytes()), (&b"again="[..], &b""[..]));
        let shown = format!("{read:?} {:?}", read.headers);
        assert!(!shown.contains("s3cret") && !shown.contains("czNjcmV0") && !shown.contains("again"), "{shown}");
    }

    #[test]
    fn a_password_in_the_address_is_never_shown() {
        let read = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@c:1/x?key=s3cret")], Signal::Logs).unwrap();
        assert_eq!(read.shown(), "http://c:1");
        assert!(!format!("{read:?}").contains("s3cret"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_name_and_without_its_value() {
        for (variable, says) in [
            (("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"), "OTEL_EXPORTER_OTLP_PROTOCOL: \"http/json\" is not"),
            (("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "tcp"), "use http/protobuf"),
            (("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"), "use gzip or none"),
            (("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"), "OTEL_EXPORTER_OTLP_TIMEOUT: must be a whole number above 0"),
            (("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "0"), "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT: must be"),
            (("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "c:4318"), "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: must be a URL"),
            (("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "ftp://user:pw@c"), "must be a URL"),
            (("OTEL_EXPORTER_OTLP_HEADERS", "pw"), "OTEL_EXPORTER_OTLP_HEADERS: must be name=value pairs"),
            (("OTEL_EXPORTER_OTLP_HEADERS", "a b=pw"), "name=value"),
            (("OTEL_EXPORTER_OTLP_HEADERS", "a=pw%0a"), "name=value"),
            (("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"), "_CLIENT_CERTIFICATE only"),
            (("OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", "/key"), "_CLIENT_KEY only"),
        ] {
            let error = read(&[ALL, variable], Signal::Logs).expect_err(says);
            assert!(error.is_configuration() && error.to_string().contains(says), "{error}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
        let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:pw@c")];
        let error = read(&grpc, Signal::Logs).expect_err("a password").to_string();
        assert!(!error.contains("pw@"), "{error}");
    }
}
