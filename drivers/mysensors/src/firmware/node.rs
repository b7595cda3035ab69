//! How far one node is with its firmware.

use std::time::Duration;

use tokio::time::Instant;

use super::wire::{BlockRequest, Config, Report};
use super::{Identity, MOST_BEGUN, MOST_SENT, News};
use crate::message::Message;

/// After how long without a request a transfer has broken off. Nodes ask again within seconds.
const BROKEN_OFF: Duration = Duration::from_secs(30);

/// How long a node has to restart before it is asked again: what it was asked may have got lost.
const TO_RESTART: Duration = Duration::from_secs(10);

/// How often it is asked in all, if it never shows that it did.
const MOST_ASKED: u8 = 5;

/// How many percent make news.
const STEP: u8 = 5;

/// One node.
#[derive(Debug, Default)]
pub struct Node {
    /// What it said when it started last.
    pub report: Option<Report>,
    /// What it has restarted for, or was asked often enough to. Forgotten when it begins to load: should
    /// that break off, it may be asked again.
    pub asked: Option<Identity>,
    /// How often it was asked to restart since it last did, and when.
    asks: u8,
    asked_at: Option<Instant>,
    /// What is to be said to it.
    pub answer: Option<Message>,
    state: Option<State>,
    /// What was told of it last: state and percent.
    told: Option<News>,
    /// Transfers of the present image that were begun, and those that came to their end.
    begun: u8,
    sent: u8,
}

/// Where it is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not been heard since.
    Waiting,
    /// It was asked to restart.
    Asked,
    /// It asks for blocks: so many percent of them so far, and when for the last.
    Loading(u8, Instant),
    /// It has asked for all of them.
    Sent,
    /// It reports to run it.
    Installed,
    /// It gets no more, and why.
    Failed(String),
}

impl State {
    fn percent(&self) -> u8 {
        match self {
            Self::Waiting | Self::Asked | Self::Failed(_) => 0,
            Self::Loading(percent, _) => *percent,
            Self::Sent | Self::Installed => 100,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Waiting => "waiting".into(),
            Self::Asked => "asked to restart".into(),
            Self::Loading(..) => "loading".into(),
            Self::Sent => "sent".into(),
            Self::Installed => "installed".into(),
            Self::Failed(reason) => format!("failed: {reason}"),
        }
    }
}

impl Node {
    /// One of which nothing is known but what it reported.
    pub fn with(report: Option<Report>) -> Self {
        Self { report, ..Self::default() }
    }

    /// It is here now.
    pub fn set(&mut self, state: State) {
        self.state = Some(state);
    }

    /// It has asked for this block, from the last to the first. Whether there is something new to keep.
    pub fn advance(&mut self, request: &BlockRequest, config: &Config, now: Instant) -> bool {
        let is_first = request.block == 0;
        if is_first && self.state == Some(State::Sent) {
            // The answer was lost; it is nearly done all the same.
            return false;
        }
        if !matches!(self.state, Some(State::Loading(..))) {
            self.begun = self.begun.saturating_add(1);
        }
        let had = u32::from(config.blocks.saturating_sub(request.block));
        let percent = (had * 100).checked_div(u32::from(config.blocks)).unwrap_or_default();
        self.state = Some(State::Loading(u8::try_from(percent.min(99)).unwrap_or(99), now));
        if is_first {
            self.sent = self.sent.saturating_add(1);
            self.state = Some(State::Sent);
        }
        (self.asks, self.asked_at) = (0, None);
        self.asked.take().is_some()
    }

    /// It is asked to restart for this image. Whether that is the last time.
    pub fn ask(&mut self, wanted: Identity, now: Instant) -> bool {
        (self.asks, self.asked_at) = (self.asks.saturating_add(1), Some(now));
        self.asks >= MOST_ASKED && self.has_restarted(wanted)
    }

    /// What it was to be asked last was not said. Whether there is something new to keep.
    pub fn was_not_asked(&mut self) -> bool {
        (self.asks, self.asked_at) = (self.asks.saturating_sub(1), None);
        self.asked.take().is_some()
    }

    /// It presents itself, as it does when it has started. Whether that is new, and because it was asked.
    pub fn has_restarted(&mut self, wanted: Identity) -> bool {
        self.asks > 0 && self.asked.replace(wanted) != Some(wanted)
    }

    /// Whether it may be asked to restart for this image: until it does, and again when its transfer broke
    /// off.
    pub fn may_be_asked(&self, wanted: Identity, now: Instant) -> bool {
        let is_to_wait = self.asked_at.is_some_and(|at| now.saturating_duration_since(at) < TO_RESTART);
        if is_to_wait || self.asked == Some(wanted) || self.has_tried_enough().is_some() {
            return false;
        }
        match self.state {
            None | Some(State::Waiting | State::Asked | State::Installed) => true,
            Some(State::Loading(_, last)) => now.saturating_duration_since(last) > BROKEN_OFF,
            // It checks what it got and starts by itself.
            Some(State::Sent | State::Failed(_)) => false,
        }
    }

    /// Why it is to be left alone, if it is.
    pub fn has_tried_enough(&self) -> Option<String> {
        if self.sent >= MOST_SENT {
            return Some(format!("it was sent {MOST_SENT} times, and the node still runs something else"));
        }
        (self.begun >= MOST_BEGUN).then(|| format!("it broke off {MOST_BEGUN} times"))
    }

    /// How it is, if anything is meant to become of it.
    pub fn told(&self, node: u8) -> Option<News> {
        let state = self.state.as_ref()?;
        let has_failed = matches!(state, State::Failed(_));
        let is_turn = has_failed != self.told.as_ref().is_some_and(|told| told.has_failed);
        let words = state.words();
        let is_other = self.told.as_ref().is_none_or(|told| told.state != words);
        Some(News { node, state: words, percent: state.percent(), has_failed, is_turn, is_other })
    }

    /// How it is, if that is worth telling since the last time.
    pub fn news(&mut self, node: u8) -> Option<News> {
        let now = self.told(node)?;
        if self.told.as_ref().is_some_and(|told| told.state == now.state && told.percent / STEP == now.percent / STEP) {
            return None;
        }
        self.told = Some(now.clone());
        Some(now)
    }
}
