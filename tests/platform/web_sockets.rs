//! WebSockets of axum through the whole stack, up to the end of the process that has them.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::child::Product;

async fn connect(product: &Product, path: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(product.public).await.unwrap();
    let (mut socket, answer) = client_async(format!("ws://{}{path}", product.public), stream).await.unwrap();
    assert_eq!(answer.status(), 101);
    assert!(answer.headers().contains_key("x-request-id"), "{answer:?}");
    says(&mut socket, "before").await;
    socket
}

/// Says something, which comes back.
async fn says(socket: &mut WebSocketStream<TcpStream>, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
}

#[tokio::test]
async fn a_handler_that_waits_for_the_drain_says_good_bye_with_a_close_frame_and_the_drain_is_clean() {
    let folder = tempfile::tempdir().unwrap();
    let mut product = Product::start("serves", folder.path(), None, &[("HALFBYTE_LAME_DUCK", "1")]);
    product.told("READY=1").await;
    let mut socket = connect(&product, "/socket").await;
    product.signal("TERM");
    product.told("STOPPING=1").await;
    says(&mut socket, "in the lame duck").await;
    let Message::Close(Some(frame)) = socket.next().await.unwrap().unwrap() else { panic!("it is not told") };
    assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Away, "about to stop"));
    assert_eq!(product.ended().await.code(), Some(0), "{}", product.log());
}

#[tokio::test]
async fn one_that_does_not_is_cut_off_at_the_end_of_the_drain_which_the_exit_code_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut product = Product::start("hasty", folder.path(), None, &[]);
    product.told("READY=1").await;
    let mut socket = connect(&product, "/deaf-socket").await;
    product.signal("TERM");
    product.says("begins step=\"in-flight\"").await;
    says(&mut socket, "in the drain").await;
    assert_eq!(product.ended().await.code(), Some(70), "{}", product.log());
    assert!(!matches!(socket.next().await, Some(Ok(_))));
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_told_by_the_exit_code_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut product = Product::start("hasty", folder.path(), None, &[]);
    product.told("READY=1").await;
    let mut slow = tokio::task::JoinSet::new();
    slow.spawn(reqwest::get(product.url("/slow/20000")));
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    product.signal("TERM");
    assert_eq!(product.ended().await.code(), Some(70), "{}", product.log());
    assert!(slow.join_next().await.unwrap().unwrap().is_err());
    assert!(product.log().contains("were cut off"), "{}", product.log());
}
