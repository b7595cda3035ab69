//! One stretch of serving clients: what comes from the field goes to the gateway's thinking, what that
//! decides goes out, and each client's connection to the broker is looked after.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, warn};
use wharf_contract::{CommandError, DriverError, Health, Port};
use wharf_stream::Complaints;

use crate::Link;
use crate::config::own_id;
use crate::field::Field;
use crate::field::frames::Tally;
use crate::gateway::{Gateway, Key, OWN, Output};
use crate::message::Qos;
use crate::upstream::connection::{self, REQUESTS_WAITING};
use crate::upstream::shared::{Shared, Step};
use crate::upstream::{News, Request};

/// How much of the broker's news may wait. What is more waits at the broker.
const NEWS_WAITING: usize = 256;

/// How long clients' farewells may take, at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often what is known of the clients is shown anew.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// The session number of the gateway's own connection.
const OWN_SESSION: u32 = 1;

/// Serves until the field or the broker is lost, or the port asks to stop.
///
/// # Errors
/// `Fatal` if nothing can be listened on, else `Lost`, with what happened.
pub async fn run(link: &Link, port: &mut Port) -> Result<(), DriverError> {
    let stop = port.stop();
    let Some(mut session) = Session::open(link, port).await? else { return Ok(()) };
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = session.serve(port) => ended,
    };
    session.part().await;
    debug!(link = %port.link(), counted = ?port.counts().read(), "session ended");
    ended
}

struct Session<'l> {
    link: &'l Link,
    field: Field,
    gateway: Gateway,
    /// Who is behind the gateway's own connection, if all clients share it.
    shared: Option<&'l Mutex<Shared<Key>>>,
    connections: HashMap<Key, mpsc::Sender<Request>>,
    tasks: JoinSet<()>,
    news: mpsc::Receiver<(Key, u32, News)>,
    news_sender: mpsc::Sender<(Key, u32, News)>,
    counts: wharf_contract::Counts,
    tally: Tally,
    complaints: Complaints,
    shown: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'l> Session<'l> {
    /// Opens the field, and the gateway's own connection to the broker. `None`: the port asks to stop.
    async fn open(link: &'l Link, port: &mut Port) -> Result<Option<Self>, DriverError> {
        let Some(broker) = &link.broker else {
            return Err(DriverError::fatal(format!("{}: no broker is named, and the gateway has none", link.name)));
        };
        let stop = port.stop();
        let field = Field::open(&link.settings).await?;
        let (news_sender, news) = mpsc::channel(NEWS_WAITING);
        let now = Instant::now();
        let client = own_id(port.link().as_str());
        let mut session = Self {
            link,
            field,
            gateway: Gateway::new(link.settings.access(&client), link.settings.rules(), now),
            shared: link.shared.as_ref(),
            connections: HashMap::new(),
            tasks: JoinSet::new(),
            news,
            news_sender,
            counts: port.counts(),
            tally: Tally::default(),
            complaints: Complaints::default(),
            shown: now,
        };
        session.ask_broker(OWN, Request::Connect { session: OWN_SESSION, client, clean: true, will: None });
        let answer = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            answer = session.news.recv() => answer,
        };
        match answer {
            Some((OWN, _, News::Connected)) => {
                port.report(Health::Online);
                let again = session.shared.map(|shared| lock(shared).begin()).unwrap_or_default();
                for request in again {
                    session.ask_broker(OWN, request);
                }
                Ok(Some(session))
            }
            Some((_, _, News::Refused(why) | News::Lost(why))) => {
                Err(DriverError::lost(format!("no connection to the broker {}: {why}", broker.place)))
            }
            _ => Err(DriverError::lost("the connection to the broker ended")),
        }
    }

    async fn serve(&mut self, port: &mut Port) -> Result<(), DriverError> {
        let mut buffer = Vec::new();
        let mut outputs = Vec::new();
        loop {
            let now = Instant::now();
            let due = self.gateway.due().unwrap_or(now + SHOW_EVERY).min(now + SHOW_EVERY);
            tokio::select! {
                received = self.field.receive(&mut buffer) => {
                    let now = Instant::now();
                    for (way, datagram) in received? {
                        self.gateway.receive(way, &datagram, now, &mut outputs);
                    }
                }
                Some((key, number, news)) = self.news.recv() => self.hear(key, number, news, &mut outputs)?,
                command = port.next_command() => {
                    command.answer(Err(CommandError::Refused("an MQTT-SN gateway has no points".into())));
                }
                () = sleep_until(due) => {}
            }
            self.gateway.tick(Instant::now(), &mut outputs);
            self.carry_out(&mut outputs).await?;
            self.show();
        }
    }

    /// The broker has said something.
    fn hear(&mut self, key: Key, number: u32, news: News, outputs: &mut Vec<Output>) -> Result<(), DriverError> {
        let now = Instant::now();
        if key != OWN {
            self.gateway.news(key, number, news, now, outputs);
            return Ok(());
        }
        match news {
            News::Lost(why) | News::Refused(why) => {
                let place = self.link.broker.as_ref().map_or("", |broker| &broker.place);
                return Err(DriverError::lost(format!("the broker {place} is lost: {why}")));
            }
            news => {
                let mut steps = Vec::new();
                if let Some(shared) = self.shared {
                    lock(shared).news(news, now, &mut steps);
                }
                self.take_steps(steps, outputs);
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, outputs: &mut Vec<Output>) -> Result<(), DriverError> {
        // What is decided may lead to more.
        while !outputs.is_empty() {
            let mut more = Vec::new();
            for output in outputs.drain(..) {
                match output {
                    Output::Send(peer, message) => {
                        let what = if self.field.send(&peer, &message).await? { "sent" } else { "not_sent" };
                        self.counts.add(what, 1);
                    }
                    Output::Broadcast(message) => {
                        self.field.broadcast(&message).await?;
                    }
                    Output::Ask(key, request) => self.ask(key, request, &mut more),
                    // What is left to do is in the channel already.
                    Output::Forget(key) => drop(self.connections.remove(&key)),
                    Output::Count(what) => self.counts.add(what, 1),
                    Output::Complain(what) => {
                        if let Some(times) = self.complaints.one_more(Instant::now()) {
                            warn!(link = %self.link.name, times, "{what}");
                        }
                    }
                }
            }
            *outputs = more;
        }
        while self.tasks.try_join_next().is_some() {}
        let tally = self.field.tally();
        self.counts.add("line_broken", tally.broken - self.tally.broken);
        self.counts.add("line_checksum", tally.checksum - self.tally.checksum);
        self.tally = tally;
        Ok(())
    }

    fn ask(&mut self, key: Key, request: Request, outputs: &mut Vec<Output>) {
        match self.shared {
            Some(shared) if key != OWN => {
                let mut steps = Vec::new();
                lock(shared).ask(key, request, Instant::now(), &mut steps);
                self.take_steps(steps, outputs);
            }
            _ => self.ask_broker_for(key, request, outputs),
        }
    }

    fn take_steps(&mut self, steps: Vec<Step<Key>>, outputs: &mut Vec<Output>) {
        let now = Instant::now();
        for step in steps {
            match step {
                Step::Ask(request) => self.ask_broker_for(OWN, request, outputs),
                Step::Tell(key, number, news) => self.gateway.news(key, number, news, now, outputs),
                Step::Count(what) => self.counts.add(what, 1),
            }
        }
    }

    fn ask_broker_for(&mut self, key: Key, request: Request, outputs: &mut Vec<Output>) {
        let is_expendable = matches!(&request, Request::Publish { qos: Qos::AtMostOnce, .. });
        if self.ask_broker(key, request) {
            return;
        }
        // The broker takes nothing more just now. What may get lost does; who waits for an answer begins anew.
        self.counts.add("broker_too_slow", 1);
        if !is_expendable && key != OWN {
            self.connections.remove(&key);
            let slow = || News::Lost("the broker is too slow".into());
            if let Some(number) = self.gateway.session_of(key) {
                self.gateway.news(key, number, slow(), Instant::now(), outputs);
            }
        }
    }

    /// Whether the request found room.
    fn ask_broker(&mut self, key: Key, request: Request) -> bool {
        let Some(broker) = &self.link.broker else { return false };
        let is_new = matches!(request, Request::Connect { .. });
        if is_new && !self.connections.contains_key(&key) {
            let (sender, mut requests) = mpsc::channel(REQUESTS_WAITING);
            self.connections.insert(key, sender);
            let dial = Arc::clone(if key == OWN { &broker.link } else { &broker.clients });
            let (login, news) = (broker.login.clone(), self.news_sender.clone());
            self.tasks.spawn(async move { connection::run(key, dial.as_ref(), &login, &mut requests, &news).await });
        }
        // A client that has gone has nothing to ask any more.
        self.connections.get(&key).is_none_or(|connection| connection.try_send(request).is_ok())
    }

    /// Tells the clients that it is over, and lets their connections end well.
    async fn part(mut self) {
        let until = Instant::now() + FAREWELL;
        let mut outputs = Vec::new();
        self.gateway.end(&mut outputs);
        let _ = timeout_at(until, self.carry_out(&mut outputs)).await;
        self.ask_broker(OWN, Request::Leave);
        self.connections.clear();
        // Nobody listens any more, so no connection waits for that.
        drop((self.news, self.news_sender));
        let _ = timeout_at(until, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
        *lock(&self.link.known) = Value::Array(Vec::new());
    }

    /// Shows what is known of the clients to whoever wants to see it.
    fn show(&mut self) {
        let now = Instant::now();
        if now >= self.shown {
            self.shown = now + SHOW_EVERY;
            *lock(&self.link.known) = self.gateway.describe(now);
        }
    }
}
