//! One client of the field: what it says and what the broker says to it, without any I/O. Time comes in as
//! an argument, and what is to be done goes out as [`Action`]s.
//!
//! - `inbound`: what it publishes and subscribes to.
//! - `outbound`: what is delivered to it, one message at a time, and again until it says that it has come.
//! - `topics`: the numbers of topics.
//!
//! A message that the broker delivered above QoS 0 is acknowledged to the broker only when the client has
//! acknowledged it. So what waits for a sleeping client waits at the broker, in its session there; only what
//! the broker has sent already, and QoS 0, waits here.

mod inbound;
mod outbound;
pub mod topics;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::message::{Message, Return, WillTopic};
use crate::upstream::{News, Request, Will};
use inbound::Inbound;
use outbound::Outbound;
use topics::{Predefined, Topics};

/// What holds for every client.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long an answer may take before the question is put again (T_RETRY).
    pub retry: Duration,
    /// How often it is put again (N_RETRY).
    pub tries: u8,
    /// How long a client that has no room is left alone (T_WAIT).
    pub wait: Duration,
    /// How many topics have a number, at most.
    pub topics: usize,
    /// How many messages wait for it here, at most.
    pub buffer: usize,
    /// The topics whose numbers everybody knows.
    pub predefined: Predefined,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say this to the client.
    Send(Message),
    /// Ask that of the broker.
    Ask(Request),
    /// One more of these.
    Count(&'static str),
    /// It is no client any more.
    End,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was asked where its will is published.
    WillTopic,
    /// It was asked what its will says.
    WillMessage,
    /// The broker was asked to let it in.
    Joining,
    /// It listens.
    Active,
    /// It does not.
    Asleep,
    /// It takes what has waited, and sleeps again.
    Awake,
    /// It is none any more.
    Over,
}

impl State {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WillTopic | Self::WillMessage | Self::Joining => "connecting",
            Self::Active => "active",
            Self::Asleep => "asleep",
            Self::Awake => "awake",
            Self::Over => "gone",
        }
    }
}

/// What a CONNECT says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Whether it is to be asked for its will.
    pub will: bool,
    /// Whether what is left of an earlier session goes.
    pub clean: bool,
    /// How long it may be silent, in seconds; 0: for ever.
    pub duration: u16,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    id: String,
    rules: Arc<Rules>,
    state: State,
    connect: Connect,
    /// Which of its sessions this is. What the broker says of an earlier one does not count.
    session: u32,
    /// Whether its session at the broker goes on when the handshake about its will is over.
    resumes: bool,
    /// Whether nothing was heard since it was told that it is let in.
    fresh: bool,
    heard: Instant,
    /// How long it may be silent; `None`: for ever.
    silence: Option<Duration>,
    /// When the question about its will is put again, and how often it was put.
    question: Option<(Instant, u8)>,
    will: Option<Will>,
    /// The topic of a will whose message is still to come.
    will_topic: Option<WillTopic>,
    /// Whether the broker knows another will than this one.
    will_is_newer: bool,
    topics: Topics,
    inbound: Inbound,
    outbound: Outbound,
}

impl Client {
    /// A client that has just said CONNECT.
    pub fn new(id: String, rules: Arc<Rules>, connect: Connect, now: Instant, out: &mut Vec<Action>) -> Self {
        let mut client = Self {
            id,
            rules,
            state: State::Over,
            connect,
            session: 0,
            resumes: false,
            fresh: true,
            heard: now,
            silence: None,
            question: None,
            will: None,
            will_topic: None,
            will_is_newer: false,
            topics: Topics::default(),
            inbound: Inbound::default(),
            outbound: Outbound::default(),
        };
        client.begin(connect, now, out);
        client
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Which of its sessions this is.
    pub fn session(&self) -> u32 {
        self.session
    }

    /// How many messages wait for it here.
    pub fn waiting(&self) -> usize {
        self.outbound.len()
    }

    /// How many topics have a number.
    pub fn topics(&self) -> usize {
        self.topics.count()
    }

    /// Whether it may be silent for ever.
    pub fn may_be_silent(&self) -> bool {
        self.silence.is_none()
    }

    /// When it was heard last.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// It says CONNECT, although it is a client: it has not heard the answer, it is back from its sleep, or
    /// it begins anew.
    pub fn connect_again(&mut self, connect: Connect, now: Instant, out: &mut Vec<Action>) {
        self.heard = now;
        let same = connect == self.connect;
        match self.state {
            State::WillTopic if same => out.push(Action::Send(Message::WillTopicReq)),
            State::WillMessage if same => out.push(Action::Send(Message::WillMsgReq)),
            State::Joining if same => {}
            State::Active if same && self.fresh => out.push(Action::Send(Message::ConnAck(Return::Accepted))),
            State::Active | State::Asleep | State::Awake if !connect.clean => {
                if self.state == State::Active {
                    // It was not asleep, so it may have been switched off.
                    self.topics.doubt();
                }
                self.connect = connect;
                self.resumes = true;
                self.ask_for_will(now, out);
            }
            _ => {
                if self.state != State::Over {
                    out.push(Action::Ask(Request::Leave));
                }
                self.begin(connect, now, out);
            }
        }
    }

    /// It says something other than CONNECT.
    pub fn message(&mut self, message: Message, now: Instant, out: &mut Vec<Action>) {
        self.heard = now;
        self.fresh = false;
        match message {
            Message::WillTopic(topic) if self.state == State::WillTopic => match topic {
                Some(topic) if topics::is_topic(&topic.topic) => {
                    self.will_topic = Some(topic);
                    (self.state, self.question) = (State::WillMessage, None);
                    self.put_question(now, out);
                }
                Some(_) => self.refuse(Return::NotSupported, out),
                None => self.join(None, now, out),
            },
            Message::WillMsg(payload) if self.state == State::WillMessage => {
                let will = self.will_topic.take().map(|topic| will(topic, payload));
                self.join(will, now, out);
            }
            // An answer that came twice.
            Message::WillTopic(_) | Message::WillMsg(_) => {}
            Message::Disconnect { duration } => self.disconnect(duration, out),
            _ if matches!(self.state, State::WillTopic | State::WillMessage | State::Joining | State::Over) => {
                out.push(Action::Count("out_of_turn"));
            }
            Message::PingReq { .. } => self.ping(now, out),
            // The gateway asks nothing.
            Message::PingResp => {}
            Message::WillTopicUpd(topic) => self.update_will_topic(topic, out),
            Message::WillMsgUpd(payload) => self.update_will_message(payload, out),
            Message::Register { id, name, .. } => self.register(id, &name, out),
            Message::Publish(publish) => self.publish(publish, out),
            Message::PubRel { id } => self.release(id, out),
            Message::Subscribe { qos, id, filter, .. } => self.subscribe(qos, id, filter, out),
            Message::Unsubscribe { id, filter } => self.unsubscribe(id, filter, out),
            Message::RegAck { topic, id, code } => self.registered(topic, id, code, now, out),
            Message::PubAck { topic, id, code } => self.acknowledged(topic, id, code, now, out),
            Message::PubRec { id } => self.received(id, now, out),
            Message::PubComp { id } => self.completed(id, now, out),
            _ => out.push(Action::Count("out_of_turn")),
        }
    }

    /// The broker says something to one of its sessions.
    pub fn news(&mut self, session: u32, news: News, now: Instant, out: &mut Vec<Action>) {
        if session != self.session || self.state == State::Over {
            return;
        }
        match news {
            News::Connected if self.state == State::Joining => self.let_in(now, out),
            News::Connected => {}
            News::Refused(_) => self.refuse(Return::Congestion, out),
            News::Published(id) => self.published(id, now, out),
            News::Subscribed(id, granted) => self.subscribed(id, granted, out),
            News::Unsubscribed(id) => self.unsubscribed(id, out),
            News::Delivery(delivery) => self.deliver(delivery, now, out),
            News::Fenced => self.fenced(out),
            News::Lost(_) if matches!(self.state, State::WillTopic | State::WillMessage | State::Joining) => {
                self.refuse(Return::Congestion, out);
            }
            News::Lost(_) => {
                out.push(Action::Count("ended_by_broker"));
                self.end(out);
            }
        }
    }

    /// When there is something to do if nothing comes; `None`: never.
    pub fn due(&self) -> Option<Instant> {
        let listens = matches!(self.state, State::Active | State::Awake);
        let outbound = self.outbound.due().filter(|_| listens);
        let question = self.question.map(|(due, _)| due);
        [self.lost_at(), question, outbound].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.lost_at().is_some_and(|at| at <= now) {
            out.push(Action::Count("lost"));
            self.lose(out);
            return;
        }
        if let Some((due, tries)) = self.question
            && due <= now
        {
            if tries >= self.rules.tries {
                self.refuse(Return::Congestion, out);
            } else {
                self.put_question(now, out);
            }
        }
        if matches!(self.state, State::Active | State::Awake) {
            self.try_again(now, out);
        }
    }

    /// The gateway stops, or has no room for it any more.
    pub fn end(&mut self, out: &mut Vec<Action>) {
        if !matches!(self.state, State::Asleep | State::Over) {
            out.push(Action::Send(Message::Disconnect { duration: None }));
        }
        self.leave(out);
    }

    /// Somebody else needs its place.
    pub fn make_way(&mut self, out: &mut Vec<Action>) {
        out.push(Action::Count("lost"));
        self.lose(out);
    }

    /// When it counts as lost. Short times are stretched by half, longer ones by a tenth, as chapter 7.2 of
    /// the specification advises.
    fn lost_at(&self) -> Option<Instant> {
        // While it is being let in, the questions have their own end.
        let connected = matches!(self.state, State::Active | State::Asleep | State::Awake);
        let silence = self.silence.filter(|_| connected)?;
        let more = if silence > Duration::from_secs(60) { silence / 10 } else { silence / 2 };
        self.heard.checked_add(silence + more)
    }

    fn begin(&mut self, connect: Connect, now: Instant, out: &mut Vec<Action>) {
        self.connect = connect;
        self.session = self.session.wrapping_add(1);
        self.resumes = false;
        if connect.clean {
            self.topics.clear();
        } else {
            self.topics.doubt();
        }
        self.inbound.begin();
        self.outbound = Outbound::default();
        self.will = None;
        self.ask_for_will(now, out);
    }

    fn ask_for_will(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.question = None;
        if self.connect.will {
            self.state = State::WillTopic;
            self.put_question(now, out);
        } else {
            let will = self.will.clone();
            self.join(will, now, out);
        }
    }

    fn put_question(&mut self, now: Instant, out: &mut Vec<Action>) {
        let question = if self.state == State::WillTopic { Message::WillTopicReq } else { Message::WillMsgReq };
        let tries = self.question.map_or(0, |(_, tries)| tries).saturating_add(1);
        self.question = now.checked_add(self.rules.retry).map(|due| (due, tries));
        out.push(Action::Send(question));
    }

    /// All is known of its will.
    fn join(&mut self, will: Option<Will>, now: Instant, out: &mut Vec<Action>) {
        self.question = None;
        if self.resumes {
            self.will_is_newer |= will != self.will;
            self.will = will;
            self.let_in(now, out);
            return;
        }
        (self.will, self.will_is_newer) = (will, false);
        self.state = State::Joining;
        out.push(Action::Ask(Request::Connect {
            session: self.session,
            client: self.id.clone(),
            clean: self.connect.clean,
            will: self.will.clone(),
        }));
    }

    fn let_in(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.state = State::Active;
        self.heard = now;
        self.fresh = true;
        self.silence = seconds(self.connect.duration);
        out.push(Action::Send(Message::ConnAck(Return::Accepted)));
        self.wake(now, out);
    }

    fn refuse(&mut self, code: Return, out: &mut Vec<Action>) {
        out.push(Action::Count("refused"));
        out.push(Action::Send(Message::ConnAck(code)));
        self.leave(out);
    }

    fn disconnect(&mut self, duration: Option<u16>, out: &mut Vec<Action>) {
        let connected = matches!(self.state, State::Active | State::Asleep | State::Awake);
        out.push(Action::Send(Message::Disconnect { duration: None }));
        match duration.and_then(seconds).filter(|_| connected) {
            Some(sleep) => {
                self.state = State::Asleep;
                self.silence = Some(sleep);
            }
            None => self.leave(out),
        }
    }

    /// Whether it was asleep: then it is awake until all has gone out that has waited for it, and only
    /// then it is answered.
    fn ping(&mut self, now: Instant, out: &mut Vec<Action>) {
        match self.state {
            State::Asleep => {
                self.state = State::Awake;
                self.wake(now, out);
            }
            // It asks again because the answer takes long.
            State::Awake => {}
            _ => out.push(Action::Send(Message::PingResp)),
        }
    }

    fn update_will_topic(&mut self, topic: Option<WillTopic>, out: &mut Vec<Action>) {
        let code = match topic {
            Some(topic) if !topics::is_topic(&topic.topic) => Return::NotSupported,
            topic => {
                let payload = self.will.take().map(|will| will.payload).unwrap_or_default();
                self.will = topic.map(|topic| will(topic, payload));
                self.will_is_newer = true;
                Return::Accepted
            }
        };
        out.push(Action::Send(Message::WillTopicResp(code)));
    }

    fn update_will_message(&mut self, payload: bytes::Bytes, out: &mut Vec<Action>) {
        let code = match &mut self.will {
            Some(will) => {
                will.payload = payload;
                self.will_is_newer = true;
                Return::Accepted
            }
            None => Return::NotSupported,
        };
        out.push(Action::Send(Message::WillMsgResp(code)));
    }

    /// It takes its leave.
    fn leave(&mut self, out: &mut Vec<Action>) {
        if self.state != State::Over {
            self.state = State::Over;
            out.extend([Action::Ask(Request::Leave), Action::End]);
        }
    }

    /// It is gone without a word. MQTT 3.1.1 knows no change of a will, so one that was changed is published
    /// from here.
    fn lose(&mut self, out: &mut Vec<Action>) {
        if self.state == State::Active || self.state == State::Awake {
            out.push(Action::Send(Message::Disconnect { duration: None }));
        }
        self.state = State::Over;
        if self.will_is_newer {
            out.extend(self.will.take().map(|will| Action::Ask(will.publish())));
            out.push(Action::Ask(Request::Leave));
        } else {
            out.push(Action::Ask(Request::Lose));
        }
        out.push(Action::End);
    }
}

impl Will {
    /// What publishes it.
    pub fn publish(self) -> Request {
        let Self { topic, payload, qos, retain } = self;
        Request::Publish { topic, payload, qos, retain, tag: None, repeated: false }
    }
}

fn will(topic: WillTopic, payload: bytes::Bytes) -> Will {
    Will { topic: topic.topic, payload, qos: topic.qos, retain: topic.retain }
}

/// A time in seconds, of which 0 is none.
fn seconds(seconds: u16) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests;
