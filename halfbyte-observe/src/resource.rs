//! Who speaks: the attributes that every span, metric and log of this process carries.

use halfbyte_core::config::Variables;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use percent_encoding::percent_decode_str;

use crate::{Error, Settings};

const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// What the environment says goes before what the product says, as the specification has it.
pub(crate) fn resource(settings: &Settings) -> Result<Resource, Error> {
    let mut builder = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes([
            KeyValue::new("service.name", settings.product.as_str().to_owned()),
            KeyValue::new("service.version", settings.version.clone()),
            KeyValue::new("service.instance.id", uuid::Uuid::now_v7().to_string()),
            KeyValue::new("deployment.environment.name", settings.environment.as_str()),
            // Stays when an operator gives the service another name.
            KeyValue::new("halfbyte.product", settings.product.as_str().to_owned()),
        ])
        .with_attributes(settings.namespace.clone().map(|namespace| KeyValue::new("service.namespace", namespace)))
        .with_attributes(attributes(&settings.variables)?);
    if let Some(name) = settings.variables.get("OTEL_SERVICE_NAME") {
        builder = builder.with_service_name(name.to_owned());
    }
    Ok(builder.build())
}

/// `key=value` pairs between commas, values percent-encoded.
fn attributes(variables: &Variables) -> Result<Vec<KeyValue>, Error> {
    let text = variables.get(ATTRIBUTES).unwrap_or_default();
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(attribute).collect()
}

fn attribute(pair: &str) -> Result<KeyValue, Error> {
    let wrong = || Error::configuration(ATTRIBUTES, "must be key=value pairs between commas, percent-encoded");
    let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
    let decode = |text: &str| percent_decode_str(text.trim()).decode_utf8().map(|text| text.into_owned());
    let (key, value) = (decode(key).map_err(|_| wrong())?, decode(value).map_err(|_| wrong())?);
    if key.is_empty() { Err(wrong()) } else { Ok(KeyValue::new(key, value)) }
}

#[cfg(test)]
mod tests {
    use halfbyte_core::ProductId;
    use halfbyte_core::config::Config;
    use opentelemetry::Key;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let config = Config::parse(variables.iter().copied()).expect("valid");
        Settings::new(&ProductId::new("parcel").expect("valid"), "1.2.3", &config)
    }

    fn made(variables: &[(&str, &str)]) -> Result<Resource, Error> {
        resource(&settings(variables))
    }

    fn value(resource: &Resource, key: &'static str) -> Option<String> {
        resource.get(&Key::from_static_str(key)).map(|value| value.to_string())
    }

    #[test]
    fn a_product_names_itself_its_version_its_instance_and_its_environment() {
        let resource = made(&[("HALFBYTE_ENV", "staging")]).expect("valid");
        assert_eq!(value(&resource, "service.name").as_deref(), Some("parcel"));
        assert_eq!(value(&resource, "service.version").as_deref(), Some("1.2.3"));
        assert_eq!(value(&resource, "deployment.environment.name").as_deref(), Some("staging"));
        assert_eq!(value(&resource, "service.namespace"), None);
        assert_eq!(value(&resource, "halfbyte.product").as_deref(), Some("parcel"));
        let instance = value(&resource, "service.instance.id").expect("present");
        assert!(uuid::Uuid::parse_str(&instance).is_ok(), "{instance}");
    }

    #[test]
    fn the_environment_goes_before_the_product_and_the_service_name_before_the_attributes() {
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a, team=ship%20it ,service.version=9");
        let resource = made(&[attributes]).expect("valid");
        assert_eq!(value(&resource, "service.name").as_deref(), Some("a"));
        assert_eq!(value(&resource, "team").as_deref(), Some("ship it"));
        assert_eq!(value(&resource, "service.version").as_deref(), Some("9"));
        let resource = made(&[attributes, ("OTEL_SERVICE_NAME", "b")]).expect("valid");
        assert_eq!(value(&resource, "service.name").as_deref(), Some("b"));
    }

    #[test]
    fn a_namespace_is_said_by_the_product_and_the_environment_goes_before_it() {
        let named = |variables| resource(&settings(variables).namespace("halfbyte")).expect("valid");
        assert_eq!(value(&named(&[]), "service.namespace").as_deref(), Some("halfbyte"));
        let attributes = [("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=eu")];
        assert_eq!(value(&named(&attributes), "service.namespace").as_deref(), Some("eu"));
    }

    #[test]
    fn malformed_attributes_are_an_error_that_names_the_variable() {
        for bad in ["team", "=x", "team=%ff"] {
            let error = made(&[("OTEL_RESOURCE_ATTRIBUTES", bad)]).expect_err(bad);
            assert!(error.is_configuration() && error.to_string().starts_with("OTEL_RESOURCE_ATTRIBUTES: "), "{error}");
        }
    }
}
