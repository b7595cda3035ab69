use bytes::Bytes;

use super::*;
use crate::message::{Filter, Publish, Qos, Topic};
use crate::upstream::{Delivery, Receipt};

const RETRY: Duration = Duration::from_secs(10);

/// A client and what comes of what is said to it, on a clock of its own.
struct Scene {
    client: Client,
    now: Instant,
    out: Vec<Action>,
}

fn rules() -> Arc<Rules> {
    let predefined = Predefined(vec![(7, "garden/soil".into())]);
    Arc::new(Rules { retry: RETRY, tries: 3, wait: Duration::from_secs(300), topics: 3, buffer: 3, predefined })
}

const CLEAN: Connect = Connect { will: false, clean: true, duration: 60 };
const KEEPS: Connect = Connect { will: false, clean: false, duration: 60 };

impl Scene {
    fn new(connect: Connect) -> Self {
        let now = Instant::now();
        let mut out = Vec::new();
        let client = Client::new("s1".into(), rules(), connect, now, &mut out);
        Self { client, now, out }
    }

    /// One that is let in already.
    fn active(connect: Connect) -> Self {
        let mut scene = Self::new(connect);
        scene.news(News::Connected);
        scene.out.clear();
        scene
    }

    fn say(&mut self, message: Message) -> Vec<Action> {
        self.client.message(message, self.now, &mut self.out);
        self.done()
    }

    fn news(&mut self, news: News) -> Vec<Action> {
        let session = self.client.session();
        self.client.news(session, news, self.now, &mut self.out);
        self.done()
    }

    fn after(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.client.tick(self.now, &mut self.out);
        self.done()
    }

    /// What is to be done, without what is counted.
    fn done(&mut self) -> Vec<Action> {
        self.out.drain(..).filter(|action| !matches!(action, Action::Count(_))).collect()
    }
}

fn send(message: Message) -> Action {
    Action::Send(message)
}

fn publish(qos: Qos, topic: Topic, id: u16, data: &'static str) -> Publish {
    Publish { dup: false, qos, retain: false, topic, id, data: Bytes::from_static(data.as_bytes()) }
}

fn ask(topic: &str, payload: &'static str, qos: Qos, tag: Option<u16>) -> Action {
    let payload = Bytes::from_static(payload.as_bytes());
    Action::Ask(Request::Publish { topic: topic.into(), payload, qos, retain: false, tag, repeated: false })
}

/// The same, which the client says it repeats.
fn ask_again(topic: &str, payload: &'static str, qos: Qos, id: u16) -> Action {
    let Action::Ask(Request::Publish { topic, payload, qos, retain, tag, .. }) = ask(topic, payload, qos, Some(id))
    else {
        unreachable!()
    };
    Action::Ask(Request::Publish { topic, payload, qos, retain, tag, repeated: true })
}

fn delivery(topic: &str, payload: &'static str, qos: Qos, id: u16) -> News {
    let receipt = (id > 0).then_some(Receipt { id, qos });
    let payload = Bytes::from_static(payload.as_bytes());
    News::Delivery(Delivery { topic: topic.into(), payload, qos, retain: false, receipt })
}

fn receipt(id: u16, qos: Qos) -> Action {
    Action::Ask(Request::Done(Receipt { id, qos }))
}

#[test]
fn a_client_is_asked_for_its_will_before_the_broker_is_asked_to_let_it_in() {
    let mut scene = Scene::new(Connect { will: true, ..CLEAN });
    assert_eq!(scene.done(), [send(Message::WillTopicReq)]);
    assert_eq!(scene.after(RETRY), [send(Message::WillTopicReq)], "it is asked again");
    let topic = WillTopic { qos: Qos::AtLeastOnce, retain: true, topic: "gone".into() };
    assert_eq!(scene.say(Message::WillTopic(Some(topic))), [send(Message::WillMsgReq)]);
    let joined = scene.say(Message::WillMsg(Bytes::from_static(b"s1")));
    let will = Will { topic: "gone".into(), payload: Bytes::from_static(b"s1"), qos: Qos::AtLeastOnce, retain: true };
    let expected = Request::Connect { session: 1, client: "s1".into(), clean: true, will: Some(will) };
    assert_eq!(joined, [Action::Ask(expected)]);
    assert_eq!(scene.news(News::Connected), [send(Message::ConnAck(Return::Accepted))]);
    assert_eq!(scene.client.state(), State::Active);
}

#[test]
fn who_never_says_its_will_is_given_up() {
    let mut scene = Scene::new(Connect { will: true, ..CLEAN });
    scene.done();
    for _ in 0..2 {
        assert_eq!(scene.after(RETRY), [send(Message::WillTopicReq)]);
    }
    let ended = [send(Message::ConnAck(Return::Congestion)), Action::Ask(Request::Leave), Action::End];
    assert_eq!(scene.after(RETRY), ended);
}

#[test]
fn a_client_that_the_broker_refuses_is_told_and_is_none() {
    let mut scene = Scene::new(CLEAN);
    scene.done();
    let refused = scene.news(News::Refused("no".into()));
    assert_eq!(refused, [send(Message::ConnAck(Return::Congestion)), Action::Ask(Request::Leave), Action::End]);
    assert_eq!(scene.client.state(), State::Over);
}

#[test]
fn a_connect_that_comes_twice_is_answered_twice_and_asked_once() {
    let mut scene = Scene::new(CLEAN);
    scene.done();
    let again = |scene: &mut Scene| {
        scene.client.connect_again(CLEAN, scene.now, &mut scene.out);
        scene.done()
    };
    assert_eq!(again(&mut scene), []);
    scene.news(News::Connected);
    assert_eq!(again(&mut scene), [send(Message::ConnAck(Return::Accepted))]);
    // Once it has said something, it begins anew.
    scene.say(Message::PingReq { client: None });
    let anew = Request::Connect { session: 2, client: "s1".into(), clean: true, will: None };
    assert_eq!(again(&mut scene), [Action::Ask(Request::Leave), Action::Ask(anew)]);
}

#[test]
fn a_topic_gets_a_number_and_is_published_to_by_it() {
    let mut scene = Scene::active(CLEAN);
    let register = |id, name: &str| Message::Register { topic: 0, id, name: name.into() };
    let answer = |topic, id, code| send(Message::RegAck { topic, id, code });
    assert_eq!(scene.say(register(1, "a/b")), [answer(1, 1, Return::Accepted)]);
    assert_eq!(scene.say(register(2, "a/b")), [answer(1, 2, Return::Accepted)]);
    assert_eq!(scene.say(register(3, "a/+")), [answer(0, 3, Return::NotSupported)]);
    scene.say(register(4, "c"));
    scene.say(register(5, "d"));
    assert_eq!(scene.say(register(6, "e")), [answer(0, 6, Return::Congestion)]);

    let publish = |topic| publish(Qos::AtMostOnce, topic, 0, "1");
    let asked = scene.say(Message::Publish(publish(Topic::Registered(1))));
    assert_eq!(asked, [ask("a/b", "1", Qos::AtMostOnce, None)]);
    let asked = scene.say(Message::Publish(publish(Topic::Predefined(7))));
    assert_eq!(asked, [ask("garden/soil", "1", Qos::AtMostOnce, None)]);
    let asked = scene.say(Message::Publish(publish(Topic::Short(*b"t1"))));
    assert_eq!(asked, [ask("t1", "1", Qos::AtMostOnce, None)]);
    let refused = scene.say(Message::Publish(publish(Topic::Registered(9))));
    assert_eq!(refused, [send(Message::PubAck { topic: 9, id: 0, code: Return::InvalidTopic })]);
}

#[test]
fn a_message_of_qos_1_is_acknowledged_when_the_broker_has_it_and_published_once() {
    let mut scene = Scene::active(CLEAN);
    let first = publish(Qos::AtLeastOnce, Topic::Short(*b"t1"), 5, "1");
    let again = Publish { dup: true, ..first.clone() };
    let acknowledged = send(Message::PubAck { topic: 0x7431, id: 5, code: Return::Accepted });
    assert_eq!(scene.say(Message::Publish(first.clone())), [ask("t1", "1", Qos::AtLeastOnce, Some(5))]);
    assert_eq!(scene.say(Message::Publish(again.clone())), [], "the broker has not answered yet");
    assert_eq!(scene.news(News::Published(5)), std::slice::from_ref(&acknowledged));
    assert_eq!(scene.say(Message::Publish(again)), [acknowledged]);
    // The same id, and not a repetition.
    assert_eq!(scene.say(Message::Publish(first)), [ask("t1", "1", Qos::AtLeastOnce, Some(5))]);
}

#[test]
fn what_is_repeated_after_another_connect_is_known_for_a_minute_and_otherwise_said_to_the_broker_to_be_repeated() {
    let mut scene = Scene::active(CLEAN);
    let first = publish(Qos::AtLeastOnce, Topic::Short(*b"t1"), 5, "1");
    let again = || Message::Publish(Publish { dup: true, ..first.clone() });
    let acknowledged = send(Message::PubAck { topic: 0x7431, id: 5, code: Return::Accepted });
    let connect = |scene: &mut Scene| {
        scene.client.connect_again(CLEAN, scene.now, &mut scene.out);
        scene.news(News::Connected);
    };
    scene.say(Message::Publish(first.clone()));
    connect(&mut scene);
    assert_eq!(scene.say(again()), [ask_again("t1", "1", Qos::AtLeastOnce, 5)], "who knows whether the broker has it");
    scene.news(News::Published(5));
    connect(&mut scene);
    assert_eq!(scene.say(again()), [acknowledged]);
    scene.now += Duration::from_secs(61);
    assert_eq!(scene.say(again()), [ask_again("t1", "1", Qos::AtLeastOnce, 5)], "so late it is another");
}

#[test]
fn a_message_of_qos_2_is_published_once_whatever_is_repeated() {
    let mut scene = Scene::active(CLEAN);
    let first = Message::Publish(publish(Qos::ExactlyOnce, Topic::Short(*b"t1"), 5, "1"));
    let release = || Message::PubRel { id: 5 };
    assert_eq!(scene.say(first.clone()), [ask("t1", "1", Qos::ExactlyOnce, Some(5))]);
    assert_eq!(scene.say(first.clone()), []);
    assert_eq!(scene.news(News::Published(5)), [send(Message::PubRec { id: 5 })]);
    assert_eq!(scene.say(first.clone()), [send(Message::PubRec { id: 5 })]);
    assert_eq!(scene.say(release()), [send(Message::PubComp { id: 5 })]);
    assert_eq!(scene.say(release()), [send(Message::PubComp { id: 5 })]);
    assert_eq!(scene.say(first), [ask("t1", "1", Qos::ExactlyOnce, Some(5))], "a new message");
}

#[test]
fn more_messages_at_once_than_there_is_room_for_are_refused_for_now() {
    let mut scene = Scene::active(CLEAN);
    let message = |id| Message::Publish(publish(Qos::AtLeastOnce, Topic::Short(*b"t1"), id, "1"));
    for id in 1..=16 {
        assert_eq!(scene.say(message(id)).len(), 1);
    }
    let refused = send(Message::PubAck { topic: 0x7431, id: 17, code: Return::Congestion });
    assert_eq!(scene.say(message(17)), [refused]);
}

#[test]
fn a_subscription_is_answered_with_what_the_broker_grants_and_the_topics_number() {
    let mut scene = Scene::active(CLEAN);
    let subscribe = |id, filter| Message::Subscribe { dup: false, qos: Qos::ExactlyOnce, id, filter };
    let asked =
        |filter: &str, tag| Action::Ask(Request::Subscribe { filter: filter.into(), qos: Qos::ExactlyOnce, tag });
    let answer = |qos, topic, id, code| send(Message::SubAck { qos, topic, id, code });
    assert_eq!(scene.say(subscribe(1, Filter::Name("a/b".into()))), [asked("a/b", 1)]);
    assert_eq!(scene.say(subscribe(1, Filter::Name("a/b".into()))), [], "asked already");
    let granted = scene.news(News::Subscribed(1, Some(Qos::AtLeastOnce)));
    assert_eq!(granted, [answer(Qos::AtLeastOnce, 1, 1, Return::Accepted)]);
    assert_eq!(scene.say(subscribe(2, Filter::Name("a/#".into()))), [asked("a/#", 2)]);
    assert_eq!(scene.news(News::Subscribed(2, None)), [answer(Qos::AtMostOnce, 0, 2, Return::NotSupported)]);
    assert_eq!(scene.say(subscribe(3, Filter::Predefined(7))), [asked("garden/soil", 3)]);
    assert_eq!(scene.say(subscribe(4, Filter::Predefined(8))), [answer(Qos::AtMostOnce, 8, 4, Return::InvalidTopic)]);
    assert_eq!(
        scene.say(subscribe(5, Filter::Name("a#".into()))),
        [answer(Qos::AtMostOnce, 0, 5, Return::NotSupported)]
    );
    let gone = scene.say(Message::Unsubscribe { id: 6, filter: Filter::Name("a/#".into()) });
    assert_eq!(gone, [Action::Ask(Request::Unsubscribe { filter: "a/#".into(), tag: 6 })]);
    assert_eq!(scene.news(News::Unsubscribed(6)), [send(Message::UnsubAck { id: 6 })]);
}

#[test]
fn a_delivery_waits_until_the_client_knows_its_topic_and_the_broker_until_it_is_acknowledged() {
    let mut scene = Scene::active(CLEAN);
    let register = send(Message::Register { topic: 1, id: 1, name: "a/b".into() });
    assert_eq!(scene.news(delivery("a/b", "1", Qos::AtLeastOnce, 70)), std::slice::from_ref(&register));
    assert_eq!(scene.news(delivery("a/b", "2", Qos::AtLeastOnce, 71)), [], "one at a time");
    assert_eq!(scene.after(RETRY), [register]);
    let sent = |id, data, dup| {
        send(Message::Publish(Publish { dup, ..publish(Qos::AtLeastOnce, Topic::Registered(1), id, data) }))
    };
    let known = scene.say(Message::RegAck { topic: 1, id: 1, code: Return::Accepted });
    assert_eq!(known, [sent(1, "1", false)]);
    assert_eq!(scene.after(RETRY), [sent(1, "1", true)]);
    let acknowledged = Message::PubAck { topic: 1, id: 1, code: Return::Accepted };
    assert_eq!(scene.say(acknowledged.clone()), [receipt(70, Qos::AtLeastOnce), sent(2, "2", false)]);
    assert_eq!(scene.say(acknowledged), [], "it came twice");
}

#[test]
fn a_delivery_of_qos_2_goes_through_all_its_steps_once() {
    let mut scene = Scene::active(CLEAN);
    let sent = |dup| send(Message::Publish(Publish { dup, ..publish(Qos::ExactlyOnce, Topic::Short(*b"t1"), 1, "1") }));
    assert_eq!(scene.news(delivery("t1", "1", Qos::ExactlyOnce, 70)), [sent(false)]);
    assert_eq!(scene.after(RETRY), [sent(true)]);
    assert_eq!(scene.say(Message::PubRec { id: 1 }), [send(Message::PubRel { id: 1 })]);
    assert_eq!(scene.after(RETRY), [send(Message::PubRel { id: 1 })]);
    assert_eq!(scene.say(Message::PubComp { id: 1 }), [receipt(70, Qos::ExactlyOnce)]);
    assert_eq!(scene.say(Message::PubComp { id: 1 }), []);
}

#[test]
fn a_client_that_has_forgotten_a_number_is_told_it_again() {
    let mut scene = Scene::active(CLEAN);
    scene.say(Message::Register { topic: 0, id: 1, name: "a/b".into() });
    scene.news(delivery("a/b", "1", Qos::AtLeastOnce, 70));
    let refused = Message::PubAck { topic: 1, id: 1, code: Return::InvalidTopic };
    assert_eq!(scene.say(refused.clone()), [send(Message::Register { topic: 1, id: 1, name: "a/b".into() })]);
    scene.say(Message::RegAck { topic: 1, id: 1, code: Return::Accepted });
    // Not for ever.
    assert_eq!(scene.say(refused), [receipt(70, Qos::AtLeastOnce)]);
}

#[test]
fn a_client_without_room_is_left_alone_for_a_while() {
    let mut scene = Scene::active(Connect { duration: 0, ..CLEAN });
    scene.news(delivery("t1", "1", Qos::AtLeastOnce, 70));
    assert_eq!(scene.say(Message::PubAck { topic: 0, id: 1, code: Return::Congestion }), []);
    assert_eq!(scene.after(RETRY * 5), []);
    assert_eq!(scene.after(Duration::from_secs(300)).len(), 1);
}

#[test]
fn what_comes_for_a_sleeping_client_waits_until_it_wakes_and_the_answer_comes_last() {
    let mut scene = Scene::active(CLEAN);
    let told = send(Message::Disconnect { duration: None });
    assert_eq!(scene.say(Message::Disconnect { duration: Some(600) }), [told]);
    assert_eq!(scene.client.state(), State::Asleep);
    assert_eq!(scene.news(delivery("t1", "1", Qos::AtMostOnce, 0)), []);
    assert_eq!(scene.news(delivery("t2", "2", Qos::AtLeastOnce, 70)), []);
    assert_eq!(scene.after(Duration::from_secs(300)), [], "60 s was how long it would be silent awake");

    let first = send(Message::Publish(publish(Qos::AtMostOnce, Topic::Short(*b"t1"), 0, "1")));
    let second = send(Message::Publish(publish(Qos::AtLeastOnce, Topic::Short(*b"t2"), 1, "2")));
    let awake = scene.say(Message::PingReq { client: Some("s1".into()) });
    assert_eq!(awake, [first, second]);
    assert_eq!(scene.client.state(), State::Awake);
    let acknowledged = scene.say(Message::PubAck { topic: 0, id: 1, code: Return::Accepted });
    assert_eq!(acknowledged, [receipt(70, Qos::AtLeastOnce), Action::Ask(Request::Fence)]);
    // That made room at the broker for one more.
    let third = send(Message::Publish(publish(Qos::AtMostOnce, Topic::Short(*b"t3"), 0, "3")));
    assert_eq!(scene.news(delivery("t3", "3", Qos::AtMostOnce, 0)), [third]);
    assert_eq!(scene.news(News::Fenced), [send(Message::PingResp)]);
    assert_eq!(scene.client.state(), State::Asleep);
}

#[test]
fn a_client_that_falls_asleep_over_a_message_gets_it_when_it_wakes() {
    let mut scene = Scene::active(CLEAN);
    scene.say(Message::Disconnect { duration: Some(6000) });
    scene.news(delivery("t1", "1", Qos::AtLeastOnce, 70));
    let ping = || Message::PingReq { client: Some("s1".into()) };
    assert_eq!(scene.say(ping()).len(), 1);
    for _ in 0..3 {
        assert_eq!(scene.after(RETRY).len(), 1);
    }
    assert_eq!(scene.after(RETRY), []);
    assert_eq!((scene.client.state(), scene.client.waiting()), (State::Asleep, 1));
    let again = Publish { dup: true, ..publish(Qos::AtLeastOnce, Topic::Short(*b"t1"), 1, "1") };
    assert_eq!(scene.say(ping()), [send(Message::Publish(again))]);
}

#[test]
fn of_more_than_can_wait_the_oldest_goes() {
    let mut scene = Scene::active(CLEAN);
    scene.say(Message::Disconnect { duration: Some(600) });
    for id in 1..=3 {
        assert_eq!(scene.news(delivery("t1", "1", Qos::AtLeastOnce, id)), []);
    }
    scene.client.news(1, delivery("t1", "1", Qos::AtLeastOnce, 4), scene.now, &mut scene.out);
    assert!(scene.out.contains(&Action::Count("dropped_buffer_full")));
    assert_eq!(scene.done(), [receipt(1, Qos::AtLeastOnce)]);
    assert_eq!(scene.client.waiting(), 3);
}

#[test]
fn a_sleeping_client_that_connects_again_goes_on_where_it_was() {
    let mut scene = Scene::active(KEEPS);
    scene.say(Message::Register { topic: 0, id: 1, name: "a/b".into() });
    scene.say(Message::Disconnect { duration: Some(600) });
    scene.news(delivery("a/b", "1", Qos::AtMostOnce, 0));
    scene.client.connect_again(KEEPS, scene.now, &mut scene.out);
    let waited = send(Message::Publish(publish(Qos::AtMostOnce, Topic::Registered(1), 0, "1")));
    assert_eq!(scene.done(), [send(Message::ConnAck(Return::Accepted)), waited]);
    // Who was not asleep may have been switched off, and is told the number again.
    scene.client.connect_again(Connect { duration: 61, ..KEEPS }, scene.now, &mut scene.out);
    scene.done();
    let told = send(Message::Register { topic: 1, id: 1, name: "a/b".into() });
    assert_eq!(scene.news(delivery("a/b", "2", Qos::AtMostOnce, 0)), [told]);
}

#[test]
fn a_silent_client_is_lost_and_its_will_is_the_brokers() {
    let mut scene = Scene::active(Connect { duration: 40, ..CLEAN });
    assert_eq!(scene.after(Duration::from_secs(59)), []);
    let lost = [send(Message::Disconnect { duration: None }), Action::Ask(Request::Lose), Action::End];
    assert_eq!(scene.after(Duration::from_secs(1)), lost);
    let mut scene = Scene::active(Connect { duration: 40, ..CLEAN });
    scene.after(Duration::from_secs(59));
    assert_eq!(scene.say(Message::PingReq { client: None }), [send(Message::PingResp)]);
    assert_eq!(scene.after(Duration::from_secs(59)), []);
}

#[test]
fn a_client_that_acknowledges_nothing_is_lost() {
    let mut scene = Scene::active(Connect { duration: 0, ..CLEAN });
    scene.news(delivery("t1", "1", Qos::AtLeastOnce, 70));
    for _ in 0..3 {
        assert_eq!(scene.after(RETRY).len(), 1);
    }
    assert!(scene.after(RETRY).contains(&Action::Ask(Request::Lose)));
}

#[test]
fn a_will_that_was_changed_is_published_from_here() {
    let mut scene = Scene::active(Connect { duration: 40, ..CLEAN });
    let none = scene.say(Message::WillMsgUpd(Bytes::from_static(b"x")));
    assert_eq!(none, [send(Message::WillMsgResp(Return::NotSupported))]);
    let topic = WillTopic { qos: Qos::AtLeastOnce, retain: false, topic: "gone".into() };
    let answer = scene.say(Message::WillTopicUpd(Some(topic)));
    assert_eq!(answer, [send(Message::WillTopicResp(Return::Accepted))]);
    scene.say(Message::WillMsgUpd(Bytes::from_static(b"now")));
    let lost = scene.after(Duration::from_secs(60));
    assert_eq!(lost.get(1..3), Some(&[ask("gone", "now", Qos::AtLeastOnce, None), Action::Ask(Request::Leave)][..]));
}

#[test]
fn what_the_broker_says_to_an_earlier_session_does_not_count() {
    let mut scene = Scene::active(CLEAN);
    scene.client.news(0, News::Lost("gone".into()), scene.now, &mut scene.out);
    assert_eq!(scene.done(), []);
    let ended = [send(Message::Disconnect { duration: None }), Action::Ask(Request::Leave), Action::End];
    assert_eq!(scene.news(News::Lost("gone".into())), ended);
}
