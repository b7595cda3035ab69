//! Pairing with a device, and answering for us what the daemon asks meanwhile.
//!
//! The daemon asks the agent of the connection that wants to pair. Ours is registered for one pairing at
//! a time and taken away after it: daemons from 5.51 on make the first agent there is the one for
//! everybody, asked or not, and would come to it with every stranger that wants in. For the same reason it
//! answers for the one device alone, and to the daemon alone. As it is registered each time, a daemon that
//! was restarted knows it too.
//!
//! (doc/org.bluez.Agent.rst, org.bluez.AgentManager.rst and org.bluez.Device.rst in BlueZ 5.87.)

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use dbus::arg::{AppendAll, ReadAll, Variant};
use dbus::channel::{MatchingReceiver, Sender, Token};
use dbus::message::{MatchRule, Message, MessageType};
use dbus::nonblock::{Proxy, SyncConnection};
use dbus::{MethodErr, Path};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::config::Pairing;

use super::bus::{BLUEZ, BUS, PROPERTIES};
use super::reach::Reach;

const DEVICE: &str = "org.bluez.Device1";
const AGENT: &str = "org.bluez.Agent1";
const MANAGER: &str = "org.bluez.AgentManager1";
/// Where the manager of agents is on the bus, and where our agent is.
const MANAGER_AT: &str = "/org/bluez";
const AGENT_AT: &str = "/wharf/agent";

/// How long putting things in order afterwards may take, call by call.
const TIDYING: Duration = Duration::from_secs(2);

/// Our own connection to the daemon, and what it calls a device.
#[derive(Clone)]
pub(super) struct Counterpart {
    pub(super) connection: Arc<SyncConnection>,
    /// Such as `/org/bluez/hci0/dev_C0_00_00_00_00_01`.
    pub(super) device: String,
    /// How long one call may take.
    pub(super) call: Duration,
}

impl fmt::Debug for Counterpart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.device)
    }
}

/// Why a device was not paired with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPaired {
    /// It was given the passkey, and did not take it.
    #[error("the device does not accept its passkey: {0}")]
    WrongPasskey(String),
    /// It could be paired with by anybody, which is not what a passkey is for. The bond was undone.
    #[error("the device asked for no passkey, so it was not paired with: if it has none, write `pair: just-works`")]
    NotAsked,
    /// It does not want to.
    #[error("the device refuses to be paired with: {0}")]
    Refused(String),
    /// It was not done in time.
    #[error("pairing was not done within {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// It could not be tried, in the daemon's words.
    #[error("cannot pair: {0}")]
    Failed(String),
}

impl Reach {
    /// Whether the daemon has a bond with the device.
    ///
    /// # Errors
    /// If it did not say.
    pub async fn is_paired(&self) -> Result<bool, NotPaired> {
        let its = self.counterpart.clone();
        let asked = self.runtime.spawn(async move {
            let paired: (Variant<bool>,) = its.ask(its.call, PROPERTIES, "Get", (DEVICE, "Paired")).await?;
            Ok(paired.0.0)
        });
        within(self.counterpart.call, asked).await
    }

    /// Pairs with the device, and trusts it from then on. `handed` counts how often its passkey was handed
    /// over; where that cannot have been what it failed of, that time is not counted.
    ///
    /// Dropped before it is done, pairing is ended.
    ///
    /// # Errors
    /// Why it was not done. The device may be connected nevertheless.
    pub async fn pair(&self, how: Pairing, limit: Duration, handed: Arc<AtomicU32>) -> Result<(), NotPaired> {
        let stop = CancellationToken::new();
        let _stops_with_us = stop.clone().drop_guard();
        let its = self.counterpart.clone();
        let most = limit + its.call.saturating_mul(2) + TIDYING.saturating_mul(3);
        within(most, self.runtime.spawn(async move { its.pair(how, limit, handed, stop).await })).await
    }
}

/// Waits for what runs on the radio's thread. It has limits of its own; this one is for a thread that is
/// held up.
async fn within<T>(limit: Duration, task: tokio::task::JoinHandle<Result<T, NotPaired>>) -> Result<T, NotPaired> {
    match tokio::time::timeout(limit + Duration::from_secs(1), task).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(NotPaired::Failed("the connection to bluetoothd was given up".to_owned())),
        Err(_) => Err(NotPaired::Silent(limit)),
    }
}

impl Counterpart {
    async fn pair(
        self,
        how: Pairing,
        limit: Duration,
        handed: Arc<AtomicU32>,
        stop: CancellationToken,
    ) -> Result<(), NotPaired> {
        let agent = Agent::register(&self, how, Arc::clone(&handed)).await?;
        let paired = tokio::select! {
            paired = self.ask::<_, ()>(limit, DEVICE, "Pair", ()) => paired,
            () = stop.cancelled() => Err(NotPaired::Failed("the gateway is stopping".to_owned())),
        };
        if matches!(paired, Err(NotPaired::Silent(_) | NotPaired::Failed(_))) {
            // It may still be at it. Where it is not, that is what it says.
            let _ = self.ask::<_, ()>(TIDYING, DEVICE, "CancelPairing", ()).await;
        }
        let was_asked = agent.was_asked.load(Ordering::Relaxed);
        agent.unregister(&self).await;
        match paired {
            Ok(()) if !was_asked && how != Pairing::JustWorks => {
                let adapter = self.device.rsplit_once('/').map_or(MANAGER_AT, |(adapter, _)| adapter);
                let device = Path::from(self.device.clone());
                let undone =
                    call(&self.connection, TIDYING, BLUEZ, adapter, "org.bluez.Adapter1", "RemoveDevice", (device,));
                if let Err::<(), _>(error) = undone.await {
                    debug!(%error, "a bond without a passkey could not be undone");
                }
                Err(NotPaired::NotAsked)
            }
            Ok(()) => {
                let trust = self.ask::<_, ()>(TIDYING, PROPERTIES, "Set", (DEVICE, "Trusted", Variant(true)));
                if let Err(error) = trust.await {
                    debug!(device = ?self, %error, "a device that was paired with could not be trusted");
                }
                info!(device = ?self, "paired");
                Ok(())
            }
            Err(NotPaired::Refused(reason)) if was_asked => Err(NotPaired::WrongPasskey(reason)),
            Err(error @ NotPaired::Failed(_)) if was_asked => {
                handed.fetch_sub(1, Ordering::Relaxed);
                Err(error)
            }
            other => other,
        }
    }

    /// One call about the device.
    async fn ask<A: AppendAll, R: ReadAll + 'static>(
        &self,
        limit: Duration,
        face: &str,
        method: &str,
        with: A,
    ) -> Result<R, NotPaired> {
        call(&self.connection, limit, BLUEZ, &self.device, face, method, with).await
    }
}

async fn call<A: AppendAll, R: ReadAll + 'static>(
    connection: &Arc<SyncConnection>,
    limit: Duration,
    to: &str,
    at: &str,
    face: &str,
    method: &str,
    with: A,
) -> Result<R, NotPaired> {
    let proxy = Proxy::new(to, at, limit, Arc::clone(connection));
    match tokio::time::timeout(limit, proxy.method_call(face, method, with)).await {
        Ok(answer) => answer.map_err(|error| sort(limit, &error)),
        Err(_) => Err(NotPaired::Silent(limit)),
    }
}

fn sort(limit: Duration, error: &dbus::Error) -> NotPaired {
    let name = error.name().unwrap_or_default();
    let reason = error.message().filter(|words| !words.is_empty()).unwrap_or(name);
    let reason: String = reason.chars().take(200).collect();
    match name.rsplit('.').next().unwrap_or_default() {
        "AuthenticationFailed" | "AuthenticationCanceled" | "AuthenticationRejected" | "AuthenticationTimeout" => {
            NotPaired::Refused(reason)
        }
        "NoReply" | "Timeout" => NotPaired::Silent(limit),
        _ => NotPaired::Failed(reason),
    }
}

/// Our agent, while it is registered.
struct Agent {
    connection: Arc<SyncConnection>,
    receiver: Token,
    /// Whether it was asked to vouch for the device, and did.
    was_asked: Arc<AtomicBool>,
}

impl Agent {
    async fn register(its: &Counterpart, how: Pairing, handed: Arc<AtomicU32>) -> Result<Self, NotPaired> {
        let connection = &its.connection;
        let (daemon,): (String,) =
            call(connection, its.call, BUS, "/org/freedesktop/DBus", BUS, "GetNameOwner", (BLUEZ,)).await?;
        let was_asked = Arc::new(AtomicBool::new(false));
        let answers = Answers { daemon, device: its.device.clone(), how, handed, was_asked: Arc::clone(&was_asked) };
        let rule = MatchRule::new().with_type(MessageType::MethodCall).with_path(AGENT_AT);
        let receiver = connection.start_receive(
            rule,
            Box::new(move |call, connection: &SyncConnection| {
                let answer = answers.to(&call);
                if !call.get_no_reply() {
                    // A reply that cannot be sent means that the connection is dead, which is noticed elsewhere.
                    let _ = connection.send(answer);
                }
                true
            }),
        );
        let agent = Self { connection: Arc::clone(connection), receiver, was_asked };
        // With a keyboard and nothing else, it is always the device's passkey that is asked for, and never
        // one that we would have to show.
        let capability = match how {
            Pairing::Passkey(_) => "KeyboardOnly",
            Pairing::JustWorks => "NoInputNoOutput",
        };
        agent.tell("UnregisterAgent", its.call, (Path::from(AGENT_AT),)).await.ok(); // one that was left behind
        agent.tell("RegisterAgent", its.call, (Path::from(AGENT_AT), capability)).await?;
        Ok(agent)
    }

    async fn tell<A: AppendAll>(&self, method: &str, limit: Duration, with: A) -> Result<(), NotPaired> {
        call(&self.connection, limit, BLUEZ, MANAGER_AT, MANAGER, method, with).await
    }

    async fn unregister(self, its: &Counterpart) {
        if let Err(error) = self.tell("UnregisterAgent", TIDYING, (Path::from(AGENT_AT),)).await {
            debug!(device = ?its, %error, "an agent was left behind");
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.connection.stop_receive(self.receiver);
    }
}

/// What the agent says to whom.
struct Answers {
    /// The daemon's unique name on the bus.
    daemon: String,
    device: String,
    how: Pairing,
    handed: Arc<AtomicU32>,
    was_asked: Arc<AtomicBool>,
}

impl Answers {
    fn to(&self, question: &Message) -> Message {
        let rejected = |why: &str| MethodErr::from(("org.bluez.Error.Rejected", why)).to_message(question);
        if question.sender().as_deref() != Some(self.daemon.as_str()) {
            return rejected("only bluetoothd may ask");
        }
        let method = question.member();
        let method = method.as_deref().unwrap_or_default();
        match (question.interface().as_deref().unwrap_or_default(), method) {
            (AGENT, "Release" | "Cancel") => return question.method_return(),
            (AGENT, _) => {}
            _ => return MethodErr::no_method(method).to_message(question),
        }
        let (device, shown) = question.get2::<Path<'_>, u32>();
        if device.is_none_or(|device| *device != *self.device) {
            return rejected("this device is not being paired with");
        }
        match (method, self.how) {
            ("RequestPasskey", Pairing::Passkey(passkey)) if self.is_first() => {
                question.method_return().append1(passkey.expose())
            }
            ("RequestPinCode", Pairing::Passkey(passkey)) if self.is_first() => {
                question.method_return().append1(format!("{:06}", passkey.expose()))
            }
            ("RequestConfirmation", Pairing::Passkey(passkey))
                if shown == Some(passkey.expose()) && self.is_first() =>
            {
                question.method_return()
            }
            ("RequestConfirmation" | "RequestAuthorization", Pairing::JustWorks) | ("AuthorizeService", _) => {
                question.method_return()
            }
            _ => rejected("this is not how the site file says the device is paired with"),
        }
    }

    /// Whether the passkey was not handed over yet. One pairing is one try, however often it is asked for.
    fn is_first(&self) -> bool {
        let is_first = !self.was_asked.swap(true, Ordering::Relaxed);
        if is_first {
            self.handed.fetch_add(1, Ordering::Relaxed);
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "/org/bluez/hci0/dev_C0_00_00_00_00_01";
    const OTHER: &str = "/org/bluez/hci0/dev_C0_00_00_00_00_02";

    fn answers(how: Pairing) -> Answers {
        Answers {
            daemon: ":1.1".to_owned(),
            device: LOCK.to_owned(),
            how,
            handed: Arc::default(),
            was_asked: Arc::default(),
        }
    }

    fn passkey() -> Pairing {
        Pairing::Passkey("012345".parse().unwrap())
    }

    fn question(method: &str, device: &str) -> Message {
        let mut question = Message::new_method_call(":1.2", AGENT_AT, AGENT, method).unwrap();
        question.set_serial(7);
        question.set_sender(Some(":1.1".into()));
        question.append1(Path::from(device.to_owned()))
    }

    fn is_yes(answer: &Message) -> bool {
        answer.msg_type() == MessageType::MethodReturn
    }

    #[test]
    fn the_passkey_is_told_once_and_counted() {
        let answers = answers(passkey());
        assert_eq!(answers.to(&question("RequestPasskey", LOCK)).get1::<u32>(), Some(12345));
        assert!(!is_yes(&answers.to(&question("RequestPasskey", LOCK))));
        assert_eq!(answers.handed.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_passkey_keeps_its_zeros_where_it_is_text() {
        let answer = answers(passkey()).to(&question("RequestPinCode", LOCK));
        assert_eq!(answer.get1::<String>().as_deref(), Some("012345"));
    }

    #[test]
    fn only_the_number_of_the_site_file_is_confirmed() {
        let shown = |number: u32| question("RequestConfirmation", LOCK).append1(number);
        assert!(!is_yes(&answers(passkey()).to(&shown(12344))));
        assert!(is_yes(&answers(passkey()).to(&shown(12345))));
        assert!(is_yes(&answers(Pairing::JustWorks).to(&shown(12344))));
    }

    #[test]
    fn nobody_is_answered_but_the_daemon_and_for_no_other_device() {
        for method in
            ["RequestPasskey", "RequestPinCode", "RequestConfirmation", "RequestAuthorization", "AuthorizeService"]
        {
            for how in [passkey(), Pairing::JustWorks] {
                let answers = answers(how);
                let mut stranger = question(method, LOCK);
                stranger.set_sender(Some(":1.9".into()));
                assert!(!is_yes(&answers.to(&stranger)), "{method}");
                assert!(!is_yes(&answers.to(&question(method, OTHER))), "{method}");
                assert_eq!(answers.handed.load(Ordering::Relaxed), 0);
            }
        }
        assert!(!is_yes(&answers(passkey()).to(&question("Explode", LOCK))));
    }

    #[test]
    fn a_device_with_a_passkey_is_not_paired_with_without_it_and_one_without_hands_over_none() {
        assert!(!is_yes(&answers(passkey()).to(&question("RequestAuthorization", LOCK))));
        assert!(is_yes(&answers(Pairing::JustWorks).to(&question("RequestAuthorization", LOCK))));
        assert!(!is_yes(&answers(Pairing::JustWorks).to(&question("RequestPasskey", LOCK))));
    }
}
