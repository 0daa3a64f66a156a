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
    pub(super) does: Does,
}

/// How the handler of a sample's route answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Does {
    /// With success.
    #[default]
    Succeed,
    Panic,
    /// Not before the deadline.
    Hang,
    /// With a body that goes on until the caller's credential ends.
    Stream,
}

impl Sample {
    /// Of the route as [`Routes::route`](crate::Routes::route) has it: `POST /labels`.
    pub fn of(route: &str) -> Self {
        let (headers, body, roles) = (Vec::new(), Vec::new(), Vec::new());
        Self { route: route.to_owned(), headers, body, roles, units: 1, made_by: None, does: Does::Succeed }
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

    /// Its handler panics: with it the suite sees what a defect looks like to a client.
    pub fn panics(self) -> Self {
        Self { does: Does::Panic, ..self }
    }

    /// Its handler answers nothing for longer than the deadline, and does nothing else: with it the suite sees a deadline that passes and
    /// a service that is overloaded. That takes as long as the deadline.
    pub fn hangs(self) -> Self {
        Self { does: Does::Hang, ..self }
    }

    /// It answers with a body that begins at once, goes on for longer than a minute, and is tied to its caller
    /// ([`Tie::body`](halfbyte_identity::tie::Tie::body)).
    pub fn streams(self) -> Self {
        Self { does: Does::Stream, ..self }
    }
}
