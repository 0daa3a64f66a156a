use http::{HeaderName, HeaderValue};

/// How to call one route so that it succeeds.
///
/// ```
/// use halfbyte::conformance::Sample;
///
/// let make = Sample::of("POST /labels").json(r#"{"to":"1 Main Street"}"#);
/// let read = Sample::of("GET /labels/{id}").made_by("POST /labels", "/id");
/// ```
#[derive(Clone, Debug)]
#[must_use = "give it to `Conformance::sample`"]
pub struct Sample {
    pub(super) route: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<u8>,
    pub(super) roles: Vec<String>,
    pub(super) units: u64,
    /// The route that makes what this one asks for, and where its answer says which.
    pub(super) made_by: Option<(String, String)>,
}

impl Sample {
    /// Of the route as [`Routes::route`](crate::Routes::route) has it: `POST /labels`.
    pub fn of(route: &str) -> Self {
        Self {
            route: route.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            roles: Vec::new(),
            units: 1,
            made_by: None,
        }
    }

    /// Sends `body` as JSON.
    pub fn json(self, body: &str) -> Self {
        let json = HeaderValue::from_static("application/json");
        Self { body: body.as_bytes().to_vec(), ..self.header(http::header::CONTENT_TYPE, json) }
    }

    /// Sends a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Calls as somebody who has this role too, for the product's policies.
    pub fn role(mut self, role: &str) -> Self {
        self.roles.push(role.to_owned());
        self
    }

    /// How many units of its meter a call uses; 1 unless said.
    pub fn units(self, units: u64) -> Self {
        Self { units, ..self }
    }

    /// Asks for what the sample of `route` made: the one parameter of the path is what `pointer` (RFC 6901) names in the answer.
    pub fn made_by(mut self, route: &str, pointer: &str) -> Self {
        self.made_by = Some((route.to_owned(), pointer.to_owned()));
        self
    }
}
