//! The beginning of a connection: who is there, and may they come in.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Buf;
use tokio::time::{Instant, timeout};
use tracing::debug;
use wharf_contract::topic;

use super::connection::Connection;
use super::wire::Wire;
use crate::broker::common::Common;
use crate::broker::figures::{Figures, count};
use crate::broker::hub::Bell;
use crate::broker::packet::incoming::{NoConnect, connect, frame};
use crate::broker::packet::outgoing::Manner;
use crate::broker::packet::{ConnAck, Connect, Reply, Version, Wrong, reason};
use crate::broker::rights::{Act, Login, Peer, Refused, TAKEN};

/// The largest CONNECT that is taken, in bytes: a will, a user name and a password at their longest fit.
const LARGEST_CONNECT: usize = 256 * 1024;
/// How long a client that is sent away may take to hear why.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often a login is tried anew because the rules have changed under it.
const LOGINS: usize = 3;

/// Hears who is there and lets them in, or tells them why not.
pub async fn welcome(mut wire: Wire, peer: &Peer, common: &Arc<Common>, deadline: Instant) -> Option<Connection> {
    let heard = tokio::time::timeout_at(deadline, first(&mut wire, common)).await;
    let connect = match heard {
        Ok(Ok(connect)) => connect,
        // It said nothing, or hung up.
        Err(_) | Ok(Err(None)) => {
            count(&common.figures.silent);
            return None;
        }
        Ok(Err(Some(no))) => {
            count(&common.figures.violations);
            common.door.audit.turned_away(peer.address, &peer.listener, why(no, &wire));
            if let Some((version, wrong)) = answer(no) {
                send_away(&mut wire, Manner::plain(version), wrong.reason, wrong.words, &common.figures).await;
            }
            return None;
        }
    };
    let manner = Manner {
        wants_reasons: connect.wants_reasons,
        largest: connect.maximum_packet.map_or(usize::MAX, |largest| largest as usize),
        ..Manner::plain(connect.version)
    };
    match enter(wire, manner, connect, peer, common).await {
        Ok(connection) => Some(connection),
        Err((mut wire, refused)) => {
            send_away(&mut wire, manner, refused.reason, refused.words, &common.figures).await;
            None
        }
    }
}

/// The first packet. `None`: the client is gone.
async fn first(wire: &mut Wire, common: &Common) -> Result<Connect, Option<NoConnect>> {
    let largest = common.limits.packet.min(LARGEST_CONNECT);
    loop {
        // Whatever comes after such a beginning, there is no use in waiting for it.
        if wire.input.first().is_some_and(|first| *first != 0x10) {
            return Err(Some(NoConnect::Foreign(Wrong { reason: reason::PROTOCOL_ERROR, words: "no CONNECT" })));
        }
        match frame(&wire.input, largest) {
            Ok(Some(packet)) => {
                let read = connect(&packet);
                let size = packet.size;
                wire.input.advance(size);
                return read.map_err(Some);
            }
            Ok(None) => std::future::poll_fn(|cx| wire.poll(cx, &common.figures)).await.map_err(|_| None)?,
            Err(wrong) => return Err(Some(NoConnect::Foreign(wrong))),
        }
    }
}

/// What is wrong with who speaks like that, for who has set it up.
fn why(no: NoConnect, wire: &Wire) -> &'static str {
    match (no, wire.input.first()) {
        (NoConnect::Version(_), _) => "it speaks another version of MQTT; the versions here are 3.1.1 and 5",
        (NoConnect::Wrong(_, wrong), _) => wrong.words,
        (NoConnect::Foreign(_), Some(0x16)) => "it speaks TLS (mqtts://), and this listener does not",
        (NoConnect::Foreign(_), Some(b'G')) => "it speaks HTTP; browsers need a listener with `web_socket: true`",
        (NoConnect::Foreign(wrong), Some(0x10)) => wrong.words,
        (NoConnect::Foreign(_), _) => "it does not speak MQTT",
    }
}

/// In whose form and with which reason a bad CONNECT is answered, if it is.
fn answer(no: NoConnect) -> Option<(Version, Wrong)> {
    match no {
        NoConnect::Version(version) => Some((
            version,
            Wrong { reason: reason::UNSUPPORTED_PROTOCOL_VERSION, words: "the versions here are 3.1.1 and 5" },
        )),
        NoConnect::Wrong(Version::V5, wrong) => Some((Version::V5, wrong)),
        // MQTT 3.1.1 has nothing to say to these.
        NoConnect::Wrong(Version::V3, _) | NoConnect::Foreign(_) => None,
    }
}

/// Past the login into the hub.
async fn enter(
    mut wire: Wire,
    manner: Manner,
    connect: Connect,
    peer: &Peer,
    common: &Arc<Common>,
) -> Result<Connection, (Wire, Refused)> {
    let bell = Arc::new(Bell::default());
    let mut entered = None;
    for _ in 0..LOGINS {
        let login = match common.door.login(&connect, peer).await {
            Ok(login) => login,
            Err(refused) => return Err((wire, refused)),
        };
        if let Some(refused) = refuses_will(&connect, &login, common) {
            return Err((wire, refused));
        }
        let mut hub = common.hub();
        if hub.is_anothers(&connect.client, login.user.as_deref(), login.may_take_over) {
            drop(hub);
            common.door.note(TAKEN, &connect, peer);
            return Err((wire, TAKEN));
        }
        let judged = common.judged.load(Ordering::Acquire);
        if common.door.still_holds(&login) {
            let now = Instant::now().into_std();
            let attached = hub.attach(&connect, login.user.clone(), login.allowed.clone(), bell.clone(), now);
            entered = Some((attached, login, judged));
            break;
        }
    }
    let (attached, login, judged) = match entered {
        Some((Ok(attached), login, judged)) => (attached, login, judged),
        Some((Err(reason), ..)) => return Err((wire, Refused { reason, words: "the client cannot be served" })),
        None => return Err((wire, Refused { reason: reason::SERVER_BUSY, words: "the rules are changing" })),
    };
    debug!(client = %attached.client, user = ?login.user, address = ?peer.address, listener = %peer.listener, "client connected");
    let has_told = manner.write(&Reply::ConnAck(attached.answer), &mut wire.output);
    let connection = Connection::new(
        wire,
        manner,
        attached.connection,
        attached.client,
        login,
        judged,
        bell,
        &connect,
        common.clone(),
    );
    if has_told { Ok(connection) } else { Err((connection.give_up(), TOO_SMALL)) }
}

/// Its own bound lets nothing through.
const TOO_SMALL: Refused = Refused { reason: reason::PACKET_TOO_LARGE, words: "" };

/// Whether the client may not have published what it wants to be published for it.
fn refuses_will(connect: &Connect, login: &Login, common: &Common) -> Option<Refused> {
    let will = connect.will.as_ref()?;
    if topic::is_system(&will.topic) || topic::levels(&will.topic) > common.limits.levels {
        return Some(Refused { reason: reason::TOPIC_NAME_INVALID, words: "the topic of the will" });
    }
    let may = login.allowed.may_publish(&will.topic);
    (!may).then(|| {
        count(&common.figures.refused_publications);
        common.door.audit.not_allowed(Act::Will, &connect.client, login.user.as_deref(), &will.topic);
        Refused { reason: reason::NOT_AUTHORIZED, words: "the will is not allowed" }
    })
}

async fn send_away(wire: &mut Wire, manner: Manner, reason: u8, words: &'static str, figures: &Figures) {
    let answer = ConnAck { reason, words: Some(words), ..ConnAck::default() };
    manner.write(&Reply::ConnAck(answer), &mut wire.output);
    // What has come meanwhile is not read; the answer is more likely to arrive if a moment is left for it.
    let _ = timeout(FAREWELL, wire.finish(FAREWELL, figures)).await;
}
