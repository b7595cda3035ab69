//! The other end of the socket: asks a running gateway.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value as Json;

use super::{LONGEST_ANSWER, PATIENCE, Socket, field};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No gateway runs with that state directory.
    #[error("no gateway is running")]
    Nobody,
    /// There is a socket that is not for us.
    #[error("no permission to ask the gateway")]
    Forbidden,
    /// It does not answer in time, or not in a way that can be understood.
    #[error("the gateway does not answer: {0}")]
    Silent(io::Error),
    /// It answers that it will not.
    #[error("{0}")]
    Refused(String),
}

/// Asks the gateway with this state directory, and waits a few seconds at most; half a minute for
/// what takes an exchange in the field, or for as long as the request says that it may wait.
///
/// # Errors
///
/// There is no gateway, no answer, or the answer is no. (To a command that was looked at, no is an
/// answer: it has `ok: false`, an `error`, and perhaps what was seen.)
pub fn ask(state_dir: &Path, request: &Json) -> Result<Json, AskError> {
    let stream = UnixStream::connect(Socket::path(state_dir)).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => AskError::Forbidden,
        // A path too long for a socket has none.
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput => AskError::Nobody,
        _ => AskError::Silent(error),
    })?;
    let answer = converse(stream, request).map_err(AskError::Silent)?;
    match answer["ok"].as_bool() {
        Some(true) => Ok(answer),
        // What a device or the site file says to a command.
        _ if answer.get("ts").is_some() => Ok(answer),
        _ => Err(AskError::Refused(answer["error"].as_str().unwrap_or("it gives no reason").to_owned())),
    }
}

fn converse(mut stream: UnixStream, request: &Json) -> io::Result<Json> {
    // A little more than the gateway's own, which is the one to speak up.
    let patience = match request["do"].as_str() {
        Some("read" | "write" | "raw" | "firmware") => field::patience(request) + PATIENCE,
        _ => PATIENCE * 2,
    };
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = Vec::new();
    BufReader::new(stream).take(LONGEST_ANSWER as u64).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}
