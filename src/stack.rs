use halfbyte_identity::layers::{Authenticate, AuthenticateLayer, Endpoints, EndpointsLayer};
use halfbyte_observe::request_id::{RequestIdLayer, RequestIdService};
use halfbyte_observe::server::{Server, ServerLayer};
use tower::Layer;

use crate::layers::{
    CatchPanic, CatchPanicLayer, Deadline, DeadlineLayer, DrainGate, DrainGateLayer, LoadShed, LoadShedLayer,
};

/// The layers around every product, in the one order. What a route asks for stands inside: see [`Guard`](crate::Guard).
#[derive(Clone)]
pub struct Stack {
    pub(crate) request_id: RequestIdLayer,
    pub(crate) observe: ServerLayer,
    pub(crate) catch_panic: CatchPanicLayer,
    pub(crate) drain_gate: DrainGateLayer,
    pub(crate) load_shed: LoadShedLayer,
    pub(crate) deadline: DeadlineLayer,
    pub(crate) endpoints: EndpointsLayer,
    pub(crate) authenticate: AuthenticateLayer,
}

/// A service inside the [`Stack`].
pub type Stacked<S> = RequestIdService<Server<CatchPanic<DrainGate<LoadShed<Deadline<Endpoints<Authenticate<S>>>>>>>>;

/// The names in the order, outermost first, as the manifest shows them.
pub(crate) const ORDER: [&str; 12] = [
    "request-id",
    "observe",
    "catch-panic",
    "drain-gate",
    "load-shed",
    "deadline",
    "endpoints",
    "authenticate",
    "authorize",
    "entitle",
    "meter",
    "handler",
];

impl<S> Layer<S> for Stack {
    type Service = Stacked<S>;

    fn layer(&self, service: S) -> Stacked<S> {
        // Read upwards: the last line is the outermost layer.
        let service = self.authenticate.layer(service); // everything further in may ask who is calling
        let service = self.endpoints.layer(service); // clients look these up before they have a token
        let service = self.deadline.layer(service); // bounds all that follows, waiting for keys included
        let service = self.load_shed.layer(service); // turns away before any work is done
        let service = self.drain_gate.layer(service); // a stopping server is not an overloaded one
        let service = self.catch_panic.layer(service); // a panic further in is a refusal like any other
        let service = self.observe.layer(service); // refusals are traced and counted too
        self.request_id.layer(service) // everything further in may name the request
    }
}
