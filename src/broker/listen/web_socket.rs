//! MQTT over web sockets (chapter 6 of the standard): the bytes of a stream, in binary messages of any size.

use std::io::{Error, ErrorKind, Result};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_tungstenite::WebSocketStream;
use async_tungstenite::tokio::{TokioAdapter, accept_hdr_async_with_config};
use async_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use async_tungstenite::tungstenite::http::header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use async_tungstenite::tungstenite::http::{HeaderValue, StatusCode, Uri};
use async_tungstenite::tungstenite::protocol::WebSocketConfig;
use async_tungstenite::tungstenite::{self, Message};
use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Stream;

/// The largest message that is taken, in bytes. It may be any part of the stream, so this is no bound on packets.
const LARGEST: usize = 1 << 20;
/// What is read at once, and what is sent in one message at most.
const BUFFER: usize = 4 * 1024;
const LARGEST_SENT: usize = 64 * 1024;

/// Whose pages a browser may show that asks for a web socket. Browsers let any page connect to anywhere, loopback included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Anybody's: who comes has to log in.
    All,
    /// This machine's alone: who comes may do as it likes.
    Own,
}

/// That a browser shows a page of somebody else's.
#[derive(Debug, thiserror::Error)]
#[error("a page of somebody else's asks for a web socket")]
pub struct ForeignPage;

/// Answers the request that makes a stream a web socket.
///
/// # Errors
/// It is no such request, it does not offer MQTT, or it comes from a [page](ForeignPage) that is not let in.
pub async fn accept(stream: Box<dyn Stream>, pages: Pages) -> Result<Box<dyn Stream>> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * LARGEST_SENT)
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    let mut is_foreign = false;
    #[expect(clippy::result_large_err, reason = "the signature is the crate's")]
    let agree = |request: &Request, response: Response| {
        is_foreign = pages == Pages::Own && comes_from_elsewhere(request);
        if is_foreign {
            Err(refusal(StatusCode::FORBIDDEN, "this page is not of the broker's machine"))
        } else {
            protocol(request, response)
        }
    };
    let accepted = accept_hdr_async_with_config(stream, agree, Some(config)).await;
    let socket = accepted.map_err(|error| if is_foreign { Error::other(ForeignPage) } else { io(error) })?;
    Ok(Box::new(WebSocket { socket, rest: Bytes::new() }))
}

/// Agrees on `mqtt`. A client has to offer it; those that offer nothing at all are let in as well, for there is no
/// other protocol here that they could mean.
#[expect(clippy::result_large_err, reason = "the signature is the crate's")]
fn protocol(request: &Request, mut response: Response) -> std::result::Result<Response, ErrorResponse> {
    let mut offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().peekable();
    if offers.peek().is_none() {
        return Ok(response);
    }
    let names = offers.filter_map(|offer| offer.to_str().ok()).flat_map(|offer| offer.split(',')).map(str::trim);
    // Clients of MQTT 3.1 said `mqttv3.1`, and some have not stopped.
    match names.into_iter().find_map(|name| ["mqtt", "mqttv3.1"].into_iter().find(|known| *known == name)) {
        Some(name) => {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
            Ok(response)
        }
        None => Err(refusal(StatusCode::BAD_REQUEST, "the protocol here is mqtt")),
    }
}

fn refusal(status: StatusCode, words: &str) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(Some(words.to_owned()));
    *refusal.status_mut() = status;
    refusal
}

/// Whether a browser asks for a page that does not come from this machine (RFC 6455, 10.2). Who is no browser says nothing
/// of pages, or says what it likes, and is on this machine anyway.
fn comes_from_elsewhere(request: &Request) -> bool {
    let Some(origin) = request.headers().get(ORIGIN) else { return false };
    let Some((scheme, _)) = origin.to_str().unwrap_or_default().split_once("://") else {
        // `null`: a page in a frame that is shut in, which any page may hold.
        return true;
    };
    // Other schemes are those of programs that are installed here, such as `file://`.
    matches!(scheme, "http" | "https") && !Uri::try_from(origin.as_bytes()).is_ok_and(|page| is_here(&page))
}

fn is_here(page: &Uri) -> bool {
    page.host().is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

/// A web socket as a stream of bytes.
struct WebSocket {
    socket: WebSocketStream<TokioAdapter<Box<dyn Stream>>>,
    /// What is left of the last message.
    rest: Bytes,
}

impl AsyncRead for WebSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(Error::new(ErrorKind::InvalidData, "a text where MQTT is binary")));
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io(error))),
            }
        }
        let count = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io)?;
        let count = bytes.len().min(LARGEST_SENT);
        let message = Message::Binary(Bytes::copy_from_slice(&bytes[..count]));
        Pin::new(&mut self.socket).start_send(message).map_err(io)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(io)
    }
}

fn io(error: tungstenite::Error) -> Error {
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => ErrorKind::NotConnected.into(),
        other => Error::new(ErrorKind::InvalidData, other.to_string()),
    }
}
