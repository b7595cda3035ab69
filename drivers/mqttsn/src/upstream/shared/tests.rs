use super::*;

const KEPT: bool = false;

struct Scene {
    shared: Shared<u8>,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        Self { shared: Shared::new(2, 2), now: Instant::now() }
    }

    fn ask(&mut self, key: u8, request: Request) -> Vec<Step<u8>> {
        let mut out = Vec::new();
        self.shared.ask(key, request, self.now, &mut out);
        out
    }

    fn connect(&mut self, key: u8, clean: bool) -> Vec<Step<u8>> {
        let client = format!("s{}", key % 10);
        self.ask(key, Request::Connect { session: 1, client, clean, will: None })
    }

    fn subscribe(&mut self, key: u8, filter: &str, qos: Qos) -> Vec<Step<u8>> {
        self.ask(key, Request::Subscribe { filter: filter.into(), qos, tag: 7 })
    }

    fn news(&mut self, news: News) -> Vec<Step<u8>> {
        let mut out = Vec::new();
        self.shared.news(news, self.now, &mut out);
        out
    }

    /// Who gets it, and how hard.
    fn delivered(&mut self, topic: &str, retain: bool) -> Vec<(u8, Qos)> {
        let (topic, payload) = (topic.to_owned(), bytes::Bytes::new());
        let receipt = None;
        let delivery = Delivery { topic, payload, qos: Qos::AtLeastOnce, retain, receipt };
        let told = |step| match step {
            Step::Tell(key, 1, News::Delivery(delivery)) => Some((key, delivery.qos)),
            _ => None,
        };
        self.news(News::Delivery(delivery)).into_iter().filter_map(told).collect()
    }
}

fn asked(filter: &str, qos: Qos, tag: u16) -> Step<u8> {
    Step::Ask(Request::Subscribe { filter: filter.into(), qos, tag })
}

#[test]
fn each_client_gets_what_it_wants_once_and_as_hard_as_it_wants() {
    let mut scene = Scene::new();
    scene.connect(1, true);
    scene.connect(2, true);
    assert_eq!(scene.subscribe(1, "a/#", Qos::AtLeastOnce), [asked("a/#", Qos::AtLeastOnce, 1)]);
    scene.subscribe(1, "a/b", Qos::AtMostOnce);
    assert_eq!(scene.subscribe(2, "a/#", Qos::AtMostOnce), [asked("a/#", Qos::AtLeastOnce, 3)], "the other's QoS");
    let granted = scene.news(News::Subscribed(3, Some(Qos::AtLeastOnce)));
    assert_eq!(granted, [Step::Tell(2, 1, News::Subscribed(7, Some(Qos::AtMostOnce)))]);
    assert_eq!(scene.delivered("a/b", false), [(1, Qos::AtLeastOnce), (2, Qos::AtMostOnce)]);
    assert_eq!(scene.delivered("b", false), []);
}

#[test]
fn a_filter_is_given_up_with_the_last_who_wants_it() {
    let mut scene = Scene::new();
    scene.connect(1, true);
    scene.connect(2, true);
    scene.subscribe(1, "a", Qos::AtMostOnce);
    scene.subscribe(2, "a", Qos::AtMostOnce);
    let gone = scene.ask(1, Request::Unsubscribe { filter: "a".into(), tag: 9 });
    assert_eq!(gone, [Step::Tell(1, 1, News::Unsubscribed(9))]);
    let given_up = Step::Ask(Request::Unsubscribe { filter: "a".into(), tag: 0 });
    assert_eq!(scene.ask(2, Request::Leave), [given_up]);
}

#[test]
fn what_the_broker_had_kept_goes_to_who_has_just_subscribed() {
    let mut scene = Scene::new();
    scene.connect(1, true);
    scene.connect(2, true);
    scene.subscribe(1, "a", Qos::AtLeastOnce);
    scene.now += FRESH;
    scene.subscribe(2, "a", Qos::AtLeastOnce);
    assert_eq!(scene.delivered("a", true), [(2, Qos::AtLeastOnce)]);
}

#[test]
fn what_comes_for_a_client_that_is_away_waits_and_of_too_much_the_oldest_goes() {
    let mut scene = Scene::new();
    scene.connect(1, KEPT);
    scene.subscribe(1, "+", Qos::AtLeastOnce);
    assert_eq!(scene.ask(1, Request::Leave), []);
    for topic in ["a", "b", "c"] {
        assert_eq!(scene.delivered(topic, false), []);
    }
    let back = scene.connect(11, KEPT);
    let topics: Vec<_> = back
        .iter()
        .filter_map(|step| match step {
            Step::Tell(11, 1, News::Delivery(delivery)) => Some(delivery.topic.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(topics, ["b", "c"]);
    assert_eq!(scene.delivered("d", false), [(11, Qos::AtLeastOnce)]);
    // The connection breaks: what is wanted is asked for again.
    assert_eq!(scene.shared.begin(), [Request::Subscribe { filter: "+".into(), qos: Qos::AtLeastOnce, tag: 0 }]);
}

#[test]
fn a_lost_client_s_will_is_published_and_of_too_many_sessions_the_oldest_that_is_away_goes() {
    let mut scene = Scene::new();
    let will = Will { topic: "w".into(), payload: bytes::Bytes::new(), qos: Qos::AtMostOnce, retain: true };
    let (client, will) = ("s1".to_owned(), Some(will));
    scene.ask(1, Request::Connect { session: 1, client, clean: false, will: will.clone() });
    scene.subscribe(1, "a", Qos::AtMostOnce);
    assert_eq!(scene.ask(1, Request::Lose), [Step::Ask(will.unwrap().publish())]);
    scene.connect(2, true);
    let dropped = scene.connect(3, true);
    assert_eq!(dropped.first(), Some(&Step::Count("sessions_dropped")));
    assert_eq!(dropped.get(1), Some(&Step::Ask(Request::Unsubscribe { filter: "a".into(), tag: 0 })));
}

#[test]
fn what_a_client_repeats_after_another_connect_is_not_published_again_while_it_is_under_way() {
    let mut scene = Scene::new();
    let connect = |session| Request::Connect { session, client: "s1".into(), clean: true, will: None };
    let publish = |repeated| {
        let (topic, payload, qos, retain) = ("a".to_owned(), bytes::Bytes::new(), Qos::AtLeastOnce, false);
        Request::Publish { topic, payload, qos, retain, tag: Some(5), repeated }
    };
    scene.ask(1, connect(1));
    let first = scene.ask(1, publish(false));
    assert!(matches!(first[..], [Step::Ask(Request::Publish { tag: Some(1), .. })]), "{first:?}");
    scene.ask(1, Request::Leave);
    scene.ask(1, connect(2));
    assert_eq!(scene.ask(1, publish(true)), []);
    assert_eq!(scene.news(News::Published(1)), [Step::Tell(1, 2, News::Published(5))]);
    assert_eq!(scene.ask(1, publish(true)).len(), 1, "nothing is under way");
}
