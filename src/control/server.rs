//! Serves those who ask, one line for one line.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Desk, LONGEST_ANSWER, LONGEST_REQUEST, PATIENCE, Socket};
use crate::seldom::Seldom;

/// How many clients are served at once; others wait. Eight of them at most may be in the field.
const CLIENTS: usize = 16;

/// How often the desk takes note of how things are.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// How long to wait when no client can be accepted, for want of file descriptors say.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Answers until `stop`.
pub async fn serve(socket: Socket, desk: Desk, stop: CancellationToken) {
    let desk = Arc::new(desk);
    let mut clients = JoinSet::new();
    let mut refused = Seldom::default();
    let mut samples = interval(SAMPLE_EVERY);
    samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = socket.accept(), if clients.len() < CLIENTS => match accepted {
                Ok(stream) => {
                    let desk = desk.clone();
                    clients.spawn(async move {
                        match talk(stream, &desk).await {
                            Ok(()) => {}
                            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                                debug!("a client of the control socket took too long");
                            }
                            Err(error) => debug!(%error, "a client of the control socket left early"),
                        }
                    });
                }
                Err(error) => {
                    if refused.note(1).is_some() {
                        warn!(%error, "cannot serve a client of the control socket");
                    }
                    sleep(ACCEPT_AGAIN).await;
                }
            },
            Some(_) = clients.join_next() => {}
            _ = samples.tick() => desk.sample(),
        }
    }
    clients.shutdown().await;
}

/// One question, one answer. The client has its time to ask and to take the answer; what takes long
/// in between is bounded by the desk.
async fn talk(mut stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader).take(LONGEST_REQUEST as u64 + 1);
    timeout(PATIENCE, reader.read_until(b'\n', &mut line)).await??;
    let answer = if line.len() > LONGEST_REQUEST {
        json!({ "ok": false, "error": format!("a request has at most {LONGEST_REQUEST} bytes") })
    } else {
        desk.answer(&line).await
    };
    let mut text = answer.to_string();
    if text.len() >= LONGEST_ANSWER {
        text = json!({ "ok": false, "error": "the answer is too long" }).to_string();
    }
    text.push('\n');
    let telling = async {
        writer.write_all(text.as_bytes()).await?;
        writer.shutdown().await
    };
    timeout(PATIENCE, telling).await?
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tokio::time::Instant;

    use super::super::{AskError, Field, ask};
    use super::*;
    use crate::topics::Topics;

    /// Serves an empty desk while `client` does what it does on a thread of its own.
    async fn with_client<T: Send + 'static>(client: impl FnOnce(&std::path::Path) -> T + Send + 'static) -> T {
        let dir = tempfile::tempdir().unwrap();
        let socket = Socket::claim(dir.path()).unwrap().unwrap();
        let stop = CancellationToken::new();
        let field = Field::new(Topics::new("gw1"), tokio::sync::mpsc::channel(1).0, HashMap::new());
        let desk = Desk::new("gw1", dir.path(), Instant::now(), Vec::new(), Vec::new(), field);
        let serving = tokio::spawn(serve(socket, desk, stop.clone()));
        let path = dir.path().to_owned();
        let result = tokio::task::spawn_blocking(move || client(&path)).await.unwrap();
        stop.cancel();
        serving.await.unwrap();
        result
    }

    #[tokio::test]
    async fn nonsense_is_answered_in_words() {
        let answers = with_client(|dir| {
            ["{\"do\":\"dance\"}", "{}", "hm", "{\"do\":\"purge\",\"uplink\":\"nowhere\"}"]
                .map(|request| raw(dir, request.as_bytes()))
        })
        .await;
        for (answer, words) in answers.iter().zip(["dance", "`do`", "JSON", "nowhere"]) {
            assert!(answer.starts_with("{\"ok\":false,\"error\":") && answer.contains(words), "{answer}");
        }
    }

    #[tokio::test]
    async fn an_endless_request_is_cut_off() {
        // With its line end it is one byte too long, and all of it is read.
        let answer = with_client(|dir| raw(dir, &vec![b'x'; LONGEST_REQUEST])).await;
        assert!(answer.contains(&LONGEST_REQUEST.to_string()), "{answer}");
    }

    #[tokio::test]
    async fn those_who_say_nothing_do_not_keep_others_out() {
        let answer = with_client(|dir| {
            let silent: Vec<_> =
                (0..CLIENTS + 2).map(|_| std::os::unix::net::UnixStream::connect(Socket::path(dir)).unwrap()).collect();
            // The first of them are sent away after `PATIENCE`; the question waits as long as that.
            let answer = (0..4).find_map(|_| ask(dir, &json!({ "do": "status" })).ok());
            drop(silent);
            answer
        })
        .await;
        assert_eq!(answer.unwrap()["gateway"], "gw1");
    }

    #[test]
    fn where_nobody_listens_that_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let nobody = ask(dir.path(), &json!({ "do": "status" })).unwrap_err();
        assert!(matches!(nobody, AskError::Nobody), "{nobody}");
    }

    fn raw(dir: &std::path::Path, request: &[u8]) -> String {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(Socket::path(dir)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request).unwrap();
        stream.write_all(b"\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}
