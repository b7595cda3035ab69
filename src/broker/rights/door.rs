//! The door: who is let in, as whom, with which rights.
//!
//! A login is a user name with its password, a certificate, or both, as the user's settings ask for; on this machine perhaps neither.
//! Passwords are checked off the runtime's threads, two at a time. A wrong password costs as much as an unknown
//! user, and the more of them there are the longer the next has to wait; one that was right before costs nothing.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use wharf_contract::settings::clip;

use super::allowed::Allowed;
use super::audit::{Audit, Refusal};
use super::hash::{self, Hash};
use super::remembered::Remembered;
use super::rules::Rules;
use super::subject::Subject;
use super::throttle::Throttle;
use super::visitor::{Visitor, is_nobody};
use crate::broker::figures::{Figures, count};
use crate::broker::packet::{Connect, reason};

/// Passwords that are looked at at once: each takes a core, and up to 64 MiB.
const AT_ONCE: usize = 2;
/// Logins that may wait for that, and for how long.
const WAITING: usize = 256;
const PATIENCE: Duration = Duration::from_secs(10);

/// The door.
pub struct Door {
    inside: Mutex<Arc<Inside>>,
    throttle: Mutex<Throttle>,
    hashing: Arc<Semaphore>,
    waiting: Semaphore,
    /// The audit log.
    pub audit: Audit,
    figures: Arc<Figures>,
}

/// What goes by the rules, and goes with them.
struct Inside {
    rules: Rules,
    remembered: Mutex<Remembered>,
    /// What a password is compared with where there is nothing else: as dear as the others.
    nobody: Hash,
}

/// Where a client comes from.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Its address; none for a part of the gateway itself.
    pub address: Option<SocketAddr>,
    /// The listener it came over, as the log calls it.
    pub listener: Arc<str>,
    /// The subject of its certificate, if it has shown one that TLS has verified.
    pub certificate: Option<Subject>,
    /// Who it is, if it comes from inside the gateway.
    pub visitor: Option<Visitor>,
}

/// A client that may come in.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user it has logged in as; of a part of the gateway its name after a `$`.
    pub user: Option<Arc<str>>,
    /// What it may do.
    pub allowed: Arc<Allowed>,
    /// Whether it may have an id that is another user's so far.
    pub may_take_over: bool,
    by: Weak<Inside>,
}

/// A client that may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason code of MQTT 5.
    pub reason: u8,
    /// Why, in words that tell a stranger nothing.
    pub words: &'static str,
}

/// What each client may do by rules that are new.
pub struct Judge {
    inside: Arc<Inside>,
    others: HashSet<Arc<str>>,
}

const WRONG: Refused = Refused { reason: reason::BAD_USER_NAME_OR_PASSWORD, words: "user or password is wrong" };
const NO_LOGIN: Refused = Refused { reason: reason::NOT_AUTHORIZED, words: "a login is needed" };
const OTHER_CLIENT: Refused = Refused { reason: reason::NOT_AUTHORIZED, words: "this user may not use this client id" };
const NO_USER: Refused =
    Refused { reason: reason::NOT_AUTHORIZED, words: "its link is set up for a user that there is not" };
/// Somebody who has shown nothing wants to be called as another is.
pub const TAKEN: Refused = Refused { reason: reason::NOT_AUTHORIZED, words: "the client id is another client's" };
const TOO_OFTEN: Refused =
    Refused { reason: reason::CONNECTION_RATE_EXCEEDED, words: "too many logins have failed; try later" };
const BUSY: Refused = Refused { reason: reason::SERVER_BUSY, words: "too many logins at once; try later" };
const NO_METHOD: Refused =
    Refused { reason: reason::BAD_AUTHENTICATION_METHOD, words: "no such authentication method" };

impl Door {
    /// A door that goes by these rules.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(rules: Rules, figures: Arc<Figures>) -> Result<Self, String> {
        Ok(Self {
            inside: Mutex::new(Arc::new(Inside::new(rules)?)),
            throttle: Mutex::default(),
            hashing: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Semaphore::new(WAITING),
            audit: Audit::default(),
            figures,
        })
    }

    /// Lets a client in, or not. Safe to drop.
    ///
    /// # Errors
    /// Why not; it has been counted and noted in the audit log.
    pub async fn login(&self, connect: &Connect, peer: &Peer) -> Result<Login, Refused> {
        let inside = self.inside();
        let judged = match self.identify(&inside, connect, peer).await {
            Ok(_) if inside.rules.is_kept_from(&connect.client, peer.visitor.as_ref()) => Err(TAKEN),
            Ok(user) => match inside.rules.allowed(&connect.client, user.as_deref()) {
                Some(allowed) => {
                    let visitor = peer.visitor.as_ref();
                    let may_take_over = visitor.is_none_or(|who| who.may_take_over(&connect.client, &inside.rules));
                    Ok(Login { user, allowed, may_take_over, by: Arc::downgrade(&inside) })
                }
                None if user.as_deref().is_some_and(is_nobody) => Err(NO_LOGIN),
                None => Err(OTHER_CLIENT),
            },
            Err(refused) => Err(refused),
        };
        if let Err(refused) = &judged {
            self.note(*refused, connect, peer);
        }
        judged
    }

    /// Counts that somebody was refused, and notes it in the audit log.
    pub fn note(&self, refused: Refused, connect: &Connect, peer: &Peer) {
        count(&self.figures.refused_logins);
        if refused == TOO_OFTEN {
            count(&self.figures.throttled_logins);
        }
        let user = match &peer.visitor {
            Some(Visitor::Client { user, .. }) => user.as_deref(),
            Some(Visitor::Part(_)) | None => connect.user.as_deref(),
        };
        self.audit.refused(&Refusal {
            client: clip(&connect.client),
            user: user.map(clip),
            address: peer.address,
            listener: peer.listener.to_string(),
            reason: self.inside().explain(&refused, connect),
        });
    }

    /// Whether the rules a login went by are still in force. Asked with the hub locked, before the client is let in, so that no
    /// login slips past [`Door::replace`] and the judgement that follows it.
    pub fn still_holds(&self, login: &Login) -> bool {
        std::ptr::eq(login.by.as_ptr(), Arc::as_ptr(&self.inside()))
    }

    /// Goes by other rules from now on. With what comes back, those who are in already are to be judged.
    ///
    /// # Errors
    /// The system gives no random numbers; the old rules stay.
    pub fn replace(&self, rules: Rules) -> Result<Judge, String> {
        let new = Arc::new(Inside::new(rules)?);
        let old = std::mem::replace(&mut *lock(&self.inside), new.clone());
        let others = new.rules.others_than(&old.rules);
        // Somebody has mended something: whoever comes now shall not wait for what was wrong before.
        *lock(&self.throttle) = Throttle::default();
        Ok(Judge { inside: new, others })
    }

    /// What each client may do by the rules as they are.
    pub fn judge(&self) -> Judge {
        Judge { inside: self.inside(), others: HashSet::new() }
    }

    #[cfg(test)]
    pub(super) fn rules_for_tests(&self) -> Rules {
        self.inside().rules.clone()
    }

    /// Whether who comes from there needs no login.
    pub fn is_open_to(&self, peer: &Peer) -> bool {
        self.inside().is_open_to(peer)
    }

    fn inside(&self) -> Arc<Inside> {
        lock(&self.inside).clone()
    }

    /// As which user a client comes.
    async fn identify(&self, inside: &Inside, connect: &Connect, peer: &Peer) -> Result<Option<Arc<str>>, Refused> {
        if let Some(visitor) = &peer.visitor {
            return visitor.login(&inside.rules).map(Some).ok_or(NO_USER);
        }
        if connect.authentication_method.is_some() {
            return Err(NO_METHOD);
        }
        let rules = &inside.rules;
        let is_at_home = inside.is_open_to(peer);
        if rules.users.is_empty() {
            // Without users there are no passwords, and a name says nothing.
            return if is_at_home || peer.certificate.is_some() { Ok(None) } else { Err(NO_LOGIN) };
        }
        match &connect.user {
            Some(name) => {
                let password = connect.password.as_deref().unwrap_or_default();
                self.check(inside, name, password, peer).await.map(Some)
            }
            None => match peer.certificate.as_ref().and_then(|subject| rules.certified(subject)) {
                Some(user) => Ok(Some(user)),
                None if is_at_home => Ok(None),
                None => Err(NO_LOGIN),
            },
        }
    }

    /// Looks at a name and a password.
    async fn check(&self, inside: &Inside, name: &str, password: &[u8], peer: &Peer) -> Result<Arc<str>, Refused> {
        let shown = peer.certificate.as_ref();
        let known = inside.rules.users.get_key_value(name);
        let fits = known.filter(|(_, user)| match &user.certificate {
            Some(asked) => shown.is_some_and(|shown| asked.fits(shown)),
            None => true,
        });
        // Who needs no password, or is known by it, does not wait because somebody else has failed.
        let is_known = || {
            let (name, user) = fits?;
            let is_enough = match user.password {
                Some(_) => lock(&inside.remembered).knows(name, password),
                None => user.certificate.is_some(),
            };
            is_enough.then(|| name.clone())
        };
        if let Some(user) = is_known() {
            return Ok(user);
        }
        if lock(&self.throttle).has_to_wait(peer.host(), name, Instant::now()) {
            return Err(TOO_OFTEN);
        }
        let Some(turn) = self.turn().await else { return Err(BUSY) };
        // Of many that come at once with the same password, the first is enough.
        if let Some(user) = is_known() {
            return Ok(user);
        }
        let begun = lock(&self.throttle).begin(peer.host(), name, Instant::now());
        let Ok(this_try) = begun else { return Err(TOO_OFTEN) };
        let hash = fits.and_then(|(_, user)| user.password.as_ref());
        let is_right = compare(hash.unwrap_or(&inside.nobody), password, turn).await;
        match fits.filter(|_| hash.is_some() && is_right) {
            Some((name, _)) => {
                lock(&self.throttle).take_back(this_try);
                lock(&inside.remembered).note(name, password);
                Ok(name.clone())
            }
            None => Err(WRONG),
        }
    }

    /// Waits until a password can be looked at; `None` if too many others are waiting for the same.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let _place = self.waiting.try_acquire().ok()?;
        timeout(PATIENCE, self.hashing.clone().acquire_owned()).await.ok()?.ok()
    }
}

/// Whether the hash is of this password.
async fn compare(hash: &Hash, password: &[u8], turn: OwnedSemaphorePermit) -> bool {
    let (hash, password) = (hash.clone(), password.to_vec());
    let work = move || {
        let is_right = hash.is_of(&password);
        // Not before the work is done: a client that is gone meanwhile makes no room for another.
        drop(turn);
        is_right
    };
    tokio::task::spawn_blocking(work).await.unwrap_or(false)
}

impl Inside {
    fn new(rules: Rules) -> Result<Self, String> {
        let hash = rules.users.values().find_map(|user| user.password.as_ref());
        let nobody = match hash {
            Some(hash) => hash.of_nobody()?,
            None => hash::nobody()?,
        };
        Ok(Self { rules, remembered: Mutex::default(), nobody })
    }

    fn is_open_to(&self, peer: &Peer) -> bool {
        self.rules.loopback && peer.host().is_some_and(|host| host.is_loopback())
    }

    /// Why somebody was refused, for those who may know.
    fn explain(&self, refused: &Refused, connect: &Connect) -> &'static str {
        if *refused != WRONG {
            return refused.words;
        }
        match connect.user.as_deref().and_then(|name| self.rules.users.get(name)) {
            None => "there is no such user under `broker.users`",
            Some(user) if user.certificate.is_some() => "the password or the certificate is not this user's",
            Some(_) => "the password is wrong",
        }
    }
}

impl Judge {
    /// What a client may do that has logged in as that user, or without; `None` if it may not be here any more.
    pub fn allowed(&self, client: &str, user: Option<&str>) -> Option<Arc<Allowed>> {
        self.inside.rules.allowed(client, user)
    }

    /// Whether who has logged in as that user is to do so again, because its password or certificate is another one now.
    /// What waits for it goes on waiting.
    pub fn has_to_log_in_again(&self, user: Option<&str>) -> bool {
        user.is_some_and(|user| self.others.contains(user))
    }
}

impl Peer {
    fn host(&self) -> Option<IpAddr> {
        self.address.map(|address| address.ip().to_canonical())
    }
}

/// What is behind these locks is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
