//! The bytes of one connection: a stream, what has come over it, and what is to be sent.

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_util::io::poll_read_buf;

use crate::broker::figures::Figures;

/// What is read at once, in bytes: little from a client that says little, more from one that says much.
const SIP: usize = 512;
const DRAUGHT: usize = 64 * 1024;
/// Above so many bytes that the client has not taken, nothing more is taken from the hub, and nothing from it.
pub const FULL: usize = 256 * 1024;
/// A buffer above this size is given back when there is nothing in it.
const KEPT: usize = 8 * 1024;

/// A stream that an MQTT connection may come over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection's bytes.
pub struct Wire {
    stream: Box<dyn Stream>,
    /// What has come and is not read.
    pub input: BytesMut,
    /// What is to be sent.
    pub output: BytesMut,
    /// When something came last.
    pub heard_at: Instant,
    /// When the client took something last, or had nothing to take.
    pub taken_at: Instant,
    sip: usize,
    is_flushed: bool,
}

impl Wire {
    /// Over that stream.
    pub fn new(stream: Box<dyn Stream>) -> Self {
        let now = Instant::now();
        Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            heard_at: now,
            taken_at: now,
            sip: SIP,
            is_flushed: true,
        }
    }

    /// Whether the client has to take something before it gets more.
    pub fn is_full(&self) -> bool {
        self.output.len() >= FULL
    }

    /// Writes what there is to write, and reads if there is room. Ready when one of the two got on.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn poll(&mut self, cx: &mut Context<'_>, figures: &Figures) -> Poll<Result<(), Error>> {
        let has_written = self.poll_write(cx, figures)?;
        if !self.is_full() && self.poll_read(cx, figures)? || has_written { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Sends what is left, for so long at most, and ends the stream.
    pub async fn finish(&mut self, patience: Duration, figures: &Figures) {
        // Who does not take it in time, or is gone already, does without.
        let _ = timeout(patience, async {
            while !self.output.is_empty() || !self.is_flushed {
                std::future::poll_fn(|cx| match self.poll_write(cx, figures) {
                    Ok(true) => Poll::Ready(Ok(())),
                    Ok(false) if self.output.is_empty() && self.is_flushed => Poll::Ready(Ok(())),
                    Ok(false) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                })
                .await?;
            }
            self.stream.shutdown().await
        })
        .await;
    }

    /// Whether anything was written.
    fn poll_write(&mut self, cx: &mut Context<'_>, figures: &Figures) -> Result<bool, Error> {
        let mut has_written = false;
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output) {
                Poll::Ready(Ok(0)) => return Err(ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.output.advance(count);
                    figures.bytes_sent.fetch_add(count as u64, Ordering::Relaxed);
                    (has_written, self.is_flushed) = (true, false);
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if !self.is_flushed
            && let Poll::Ready(done) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            done?;
            self.is_flushed = true;
        }
        if has_written {
            self.taken_at = Instant::now();
        }
        if self.output.is_empty() && self.output.capacity() > KEPT && self.sip == SIP {
            self.output = BytesMut::new();
        }
        Ok(has_written)
    }

    /// Whether anything was read.
    fn poll_read(&mut self, cx: &mut Context<'_>, figures: &Figures) -> Result<bool, Error> {
        if self.input.is_empty() && self.sip == SIP && self.input.capacity() > KEPT {
            self.input = BytesMut::new();
        }
        self.input.reserve(self.sip);
        let Poll::Ready(count) = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input) else {
            return Ok(false);
        };
        let count = count?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        figures.bytes_received.fetch_add(count as u64, Ordering::Relaxed);
        self.heard_at = Instant::now();
        if count >= self.sip {
            self.sip = (self.sip * 4).min(DRAUGHT);
        } else if count < self.sip / 16 {
            self.sip = (self.sip / 4).max(SIP);
        }
        Ok(true)
    }
}
