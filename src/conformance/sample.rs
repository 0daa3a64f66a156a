use std::fmt;

use http::header::{CONTENT_TYPE, TE};
use http::{HeaderName, HeaderValue};

/// How to call one route so that it succeeds.
///
/// ```
/// use halfbyte::conformance::Sample;
///
/// let make = Sample::of("POST /labels").json(r#"{"to":"1 Main Street"}"#);
/// let read = Sample::of("GET /labels/{id}").made_by("POST /labels", "/id");
/// ```
#[derive(Clone)]
#[must_use = "give it to `Conformance::sample`"]
pub struct Sample {
    pub(super) route: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<u8>,
    /// What parameters of the path are, by name.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) is_grpc: bool,
    pub(super) roles: Vec<String>,
    /// Whether a person calls it, and not a program.
    pub(super) is_of_user: bool,
    pub(super) units: u64,
    /// What is reserved for a call, if that is more.
    reserves: u64,
    /// Whether what it uses is counted while its body is sent.
    pub(super) is_counted_in_body: bool,
    /// The route that makes what this one asks for, and where its answer says which.
    pub(super) made_by: Option<(String, String)>,
    /// Whether a second call about the same fails.
    pub(super) is_once: bool,
    /// Whether it fails without an `Idempotency-Key`.
    pub(super) is_keyed: bool,
    /// Whether it only reads, whatever its method.
    pub(super) reads: bool,
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

/// What it is of; not what is sent, which may be secret.
impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample").field("route", &self.route).field("does", &self.does).finish_non_exhaustive()
    }
}

impl Sample {
    /// Of the route as [`Routes::route`](crate::Routes::route) has it: `POST /labels`.
    pub fn of(route: &str) -> Self {
        Self {
            route: route.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            parameters: Vec::new(),
            is_grpc: false,
            roles: Vec::new(),
            is_of_user: false,
            units: 1,
            reserves: 0,
            is_counted_in_body: false,
            made_by: None,
            is_once: false,
            is_keyed: false,
            reads: false,
            does: Does::Succeed,
        }
    }

    /// Of the service that [`Routes::grpc`](crate::Routes::grpc) has under this name: a call of one of its methods, with an empty message
    /// unless [`message`](Self::message) gives another. The method must take one message, which may stand for the first of a stream.
    ///
    /// ```
    /// use halfbyte::conformance::Sample;
    ///
    /// // The message {"to": "1 Main Street"}, where `to` is the first field.
    /// let make = Sample::grpc("parcel.v1.Labels", "Make").message(b"\x0a\x0d1 Main Street");
    /// ```
    pub fn grpc(service: &str, method: &str) -> Self {
        let of = Self { is_grpc: true, ..Self::of(&format!("POST /{service}/{{*method}}")) };
        let grpc = HeaderValue::from_static("application/grpc");
        let of = of.header(CONTENT_TYPE, grpc).header(TE, HeaderValue::from_static("trailers"));
        of.parameter("method", method).message(b"")
    }

    /// Sends this message, as protobuf encodes it, to a method of gRPC.
    pub fn message(self, message: &[u8]) -> Self {
        // Not compressed, and its length.
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
        Self { body: [&[0], &length[..], message].concat(), ..self }
    }

    /// Sends `body` as JSON.
    pub fn json(self, body: &str) -> Self {
        self.body("application/json", body)
    }

    /// Sends `body`, of this content type.
    ///
    /// ```
    /// use halfbyte::conformance::Sample;
    ///
    /// let import = Sample::of("POST /imports").body("text/csv", "to\n1 Main Street\n");
    /// let upload = Sample::of("PUT /logo").body("image/png", b"\x89PNG\r\n\x1a\n");
    /// ```
    ///
    /// # Panics
    ///
    /// `content_type` is nothing that a header can hold.
    pub fn body(self, content_type: &'static str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref().to_vec();
        Self { body, ..self.header(CONTENT_TYPE, HeaderValue::from_static(content_type)) }
    }

    /// What the parameter `name` of the path is. One that is the tenant of a guard, or the thing that policies are asked for, need not be said.
    ///
    /// ```
    /// use halfbyte::conformance::Sample;
    ///
    /// let read = Sample::of("GET /regions/{region}/labels/{id}").parameter("region", "eu").made_by("POST /labels", "/id");
    /// ```
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends a header. The report does not show one that is [sensitive](HeaderValue::set_sensitive).
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Calls as somebody who has this role too, for the product's policies.
    pub fn role(mut self, role: &str) -> Self {
        self.roles.push(role.to_owned());
        self
    }

    /// Calls as a person who has signed in (`HalfByte::User` to policies). Without it a program calls, for itself (`HalfByte::Service`).
    ///
    /// ```
    /// use halfbyte::conformance::Sample;
    ///
    /// let sign = Sample::of("POST /contracts").json(r#"{"title":"Rent"}"#).by_user();
    /// ```
    pub fn by_user(self) -> Self {
        Self { is_of_user: true, ..self }
    }

    /// How many units of its meter a call uses; 1 unless said.
    pub fn units(self, units: u64) -> Self {
        Self { units, ..self }
    }

    /// How many units are reserved for a call that uses fewer of them.
    ///
    /// ```
    /// use halfbyte::conformance::Sample;
    ///
    /// // Of up to 4,000 words that the request allows for, this answer has 12.
    /// let ask = Sample::of("POST /answers").json(r#"{"most":4000}"#).units(12).reserves(4000);
    /// ```
    pub fn reserves(self, units: u64) -> Self {
        Self { reserves: units, ..self }
    }

    /// What is reserved for a call beyond what it uses.
    pub(super) fn spare(&self) -> u64 {
        self.reserves.saturating_sub(self.units)
    }

    /// What a call uses is counted in its body, by [`units_of_body`](crate::FeatureGuard::units_of_body) or
    /// [`at_end_of_body`](crate::FeatureGuard::at_end_of_body): whoever hangs up may have used a part, of which the suite does not ask how
    /// much it is.
    ///
    /// ```
    /// use halfbyte::conformance::Sample;
    ///
    /// let export = Sample::of("GET /export").units(3).counted_in_body();
    /// ```
    pub fn counted_in_body(self) -> Self {
        Self { is_counted_in_body: true, ..self }
    }

    /// Asks for what the sample of `route` made, which `pointer` (RFC 6901) names in its answer. It stands where the route's guard looks for the
    /// thing that policies are asked for, in the path or in a header; without such a guard, in the one parameter of the path that is neither
    /// the tenant nor given by [`parameter`](Self::parameter).
    pub fn made_by(mut self, route: &str, pointer: &str) -> Self {
        self.made_by = Some((route.to_owned(), pointer.to_owned()));
        self
    }

    /// A second call fails: of the same thing where it is [made](Self::made_by) for it, or else by the same tenant. It is called once then, and is
    /// not asked for what takes several calls, which the report says. What only deletes or cancels what was made for it needs this only if it is
    /// metered or asks for a feature, since for other checks each call has a new thing.
    ///
    /// ```
    /// use halfbyte::conformance::Sample;
    ///
    /// let pay = Sample::of("POST /orders/{id}/payment").made_by("POST /orders", "/id").once();
    /// ```
    pub fn once(self) -> Self {
        Self { is_once: true, ..self }
    }

    /// Its calls have an `Idempotency-Key`, without which the handler refuses them.
    ///
    /// ```
    /// use halfbyte::conformance::Sample;
    ///
    /// let pay = Sample::of("POST /payments").json(r#"{"cents":1200}"#).keyed();
    /// ```
    pub fn keyed(self) -> Self {
        Self { is_keyed: true, ..self }
    }

    /// It only reads though its method is not `GET` or `HEAD`, which do by default: a search by `POST`, a method of gRPC. Where policies are
    /// asked, its action is one that a suspended tenant may still do.
    ///
    /// ```
    /// use halfbyte::conformance::Sample;
    ///
    /// let search = Sample::of("POST /labels/search").json(r#"{"to":"1 Main Street"}"#).reads();
    /// ```
    pub fn reads(self) -> Self {
        Self { reads: true, ..self }
    }

    /// Its handler answers nothing for longer than the deadline, and does nothing else: with it the suite sees a deadline that passes and
    /// a service that is overloaded. That takes as long as the deadline.
    pub fn hangs(self) -> Self {
        Self { does: Does::Hang, ..self }
    }

    /// Its handler panics: the suite has such a route of its own, which stands beside those of the product and not inside what the product may
    /// have laid around them.
    pub fn panics(self) -> Self {
        Self { does: Does::Panic, ..self }
    }

    /// It answers with a body that begins at once and goes on for longer than a minute; behind a guard, one that is tied to its caller
    /// ([`Tie::body`](halfbyte_identity::tie::Tie::body)). Without this the suite waits for the end of each answer.
    pub fn streams(self) -> Self {
        Self { does: Does::Stream, ..self }
    }
}
