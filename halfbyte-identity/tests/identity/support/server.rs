use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A real HTTP server on this machine; it ends with the value.
pub struct Server {
    _task: JoinSet<()>,
}

impl Server {
    /// A listener on a free port, for a server that must know its own address before it is made.
    pub async fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.expect("a free port")
    }

    pub fn start(listener: TcpListener, router: axum::Router) -> Self {
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.expect("served") });
        Self { _task: task }
    }
}
