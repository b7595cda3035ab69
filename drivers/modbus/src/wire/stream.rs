//! A stream of bytes to a device, and the few things done with it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The most that is read at once, in bytes: a few frames.
const CHUNK: usize = 1024;

/// The most that is thrown away before a request, in bytes. Who sends more unasked is no device.
const MOST_UNASKED: usize = 64 << 10;

/// A way in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Reads what comes next behind what is there. An end of the stream is an error like others.
pub(super) async fn read_more(stream: &mut dyn Stream, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    let count = stream.read(&mut chunk).await?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
    Ok(())
}

/// Reads what has come already, without waiting, and hands it over piece by piece. False if the other
/// side has closed the stream, or does not stop talking.
pub(super) async fn drain(stream: &mut dyn Stream, mut piece: impl FnMut(&[u8])) -> bool {
    let mut chunk = [0; CHUNK];
    let mut unasked = 0;
    while unasked <= MOST_UNASKED {
        let mut buffer = ReadBuf::new(&mut chunk);
        let outcome = poll_fn(|cx| match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => Poll::Ready(None),
        });
        match outcome.await {
            None => return true,
            Some(Ok(())) if !buffer.filled().is_empty() => {
                unasked += buffer.filled().len();
                piece(buffer.filled());
            }
            Some(_) => return false,
        }
    }
    false
}
