//! The door, as clients find it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;

use super::hash::tests::cheap;
use super::*;
use crate::broker::figures::Figures;
use crate::broker::packet::{Connect, Version, reason};
use crate::mapping::Glob;

fn connect(client: &str, login: Option<(&str, &str)>) -> Connect {
    Connect {
        version: Version::V5,
        client: client.into(),
        clean_start: true,
        keep_alive: 60,
        session_expiry: 0,
        receive_maximum: 10,
        maximum_packet: None,
        topic_aliases: 0,
        wants_reasons: false,
        user: login.map(|(user, _)| user.into()),
        password: login.map(|(_, password)| password.as_bytes().to_vec().into()),
        will: None,
        authentication_method: None,
    }
}

fn from(address: &str) -> Peer {
    Peer {
        address: Some(format!("{address}:50000").parse().unwrap()),
        listener: "0.0.0.0:1883".into(),
        ..Peer::default()
    }
}

fn with_certificate(subject: &str) -> Peer {
    Peer { certificate: Some(Subject::parse(subject).unwrap()), ..from("192.168.1.9") }
}

fn site() -> Rules {
    let certificate = || Some(Subject::parse("CN=plc-1").unwrap());
    let may = Grants { publish: Granted::Of(vec!["gw1-in/#".into()]), subscribe: Granted::default() };
    let users = HashMap::from([
        ("panel".into(), User { password: Some(cheap("hunter2")), may, ..User::default() }),
        ("plc".into(), User { certificate: certificate(), ..User::default() }),
        ("both".into(), User { password: Some(cheap("two")), certificate: certificate(), ..User::default() }),
        ("one".into(), User { password: Some(cheap("1")), client_ids: vec![Glob::new("one-*")], ..User::default() }),
    ]);
    Rules { users, ..Rules::default() }
}

fn door(rules: Rules) -> (Door, Arc<Figures>) {
    let figures = Arc::<Figures>::default();
    (Door::new(rules, figures.clone()).unwrap(), figures)
}

/// The user somebody came in as, or the reason why not.
async fn tried(door: &Door, client: &str, login: Option<(&str, &str)>, peer: &Peer) -> Result<Option<Arc<str>>, u8> {
    let login = timeout(Duration::from_secs(60), door.login(&connect(client, login), peer)).await.unwrap();
    login.map(|login| login.user).map_err(|refused| refused.reason)
}

#[tokio::test]
async fn a_password_lets_in_and_a_wrong_one_and_a_stranger_are_refused_alike() {
    let (door, figures) = door(site());
    let peer = from("192.168.1.5");
    assert_eq!(tried(&door, "p1", Some(("panel", "hunter2")), &peer).await, Ok(Some("panel".into())));
    for login in [("panel", "hunter3"), ("panel", ""), ("stranger", "hunter2"), ("plc", "")] {
        assert_eq!(tried(&door, "p1", Some(login), &peer).await, Err(reason::BAD_USER_NAME_OR_PASSWORD), "{login:?}");
    }
    assert_eq!(tried(&door, "p1", None, &peer).await, Err(reason::NOT_AUTHORIZED));
    assert_eq!(tried(&door, "p1", None, &from("127.0.0.1")).await, Err(reason::NOT_AUTHORIZED));
    assert_eq!(figures.refused_logins.load(Ordering::Relaxed), 6);
    let login = door.login(&connect("p1", Some(("panel", "hunter2"))), &peer).await.unwrap();
    assert!(login.allowed.may_publish("gw1-in/tank/valve") && !login.allowed.may_subscribe("#"));
}

#[tokio::test]
async fn a_certificate_lets_in_by_itself_or_with_the_password_it_needs() {
    let (door, _) = door(site());
    let (plc, other) = (with_certificate("CN=plc-1"), with_certificate("CN=plc-2"));
    assert_eq!(tried(&door, "c", None, &plc).await, Ok(Some("plc".into())));
    assert_eq!(tried(&door, "c", None, &other).await, Err(reason::NOT_AUTHORIZED));
    assert_eq!(tried(&door, "c", Some(("plc", "")), &plc).await, Ok(Some("plc".into())));
    let two = Some(("both", "two"));
    assert_eq!(tried(&door, "c", two, &plc).await, Ok(Some("both".into())));
    assert_eq!(tried(&door, "c", two, &other).await, Err(reason::BAD_USER_NAME_OR_PASSWORD));
    // Also where the password was found right before.
    assert_eq!(tried(&door, "c", two, &from("192.168.1.9")).await, Err(reason::BAD_USER_NAME_OR_PASSWORD));
    assert_eq!(tried(&door, "c", Some(("both", "one")), &plc).await, Err(reason::BAD_USER_NAME_OR_PASSWORD));
}

#[tokio::test]
async fn without_users_this_machine_comes_in_and_so_does_who_has_shown_a_certificate() {
    let (door, _) = door(Rules::open());
    for address in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
        assert_eq!(tried(&door, "c", Some(("any", "thing")), &from(address)).await, Ok(None), "{address}");
    }
    assert_eq!(tried(&door, "c", None, &from("192.168.1.5")).await, Err(reason::NOT_AUTHORIZED));
    assert_eq!(tried(&door, "c", None, &with_certificate("CN=x")).await, Ok(None));
}

#[tokio::test]
async fn a_part_of_the_gateway_may_do_everything_and_nobody_else_can_be_called_so() {
    let (door, _) = door(site());
    let part = Peer { visitor: Some(Visitor::Part("mqtt".into())), ..Peer::default() };
    let login = door.login(&connect("inside", None), &part).await.unwrap();
    assert_eq!((login.user.as_deref(), login.allowed.covers("#")), (Some("$mqtt"), true));
    let refused = tried(&door, "c", Some(("$mqtt", "")), &from("127.0.0.1")).await;
    assert_eq!(refused, Err(reason::BAD_USER_NAME_OR_PASSWORD));
}

fn spoken_for(user: Option<&str>) -> Peer {
    let visitor = Visitor::Client { link: "meadow".into(), user: user.map(Into::into) };
    Peer { visitor: Some(visitor), ..Peer::default() }
}

#[tokio::test]
async fn whom_a_link_speaks_for_is_the_user_that_the_site_file_says_and_nothing_it_says_itself_counts() {
    let (door, figures) = door(site());
    let login = door.login(&connect("s1", Some(("plc", "x"))), &spoken_for(Some("panel"))).await.unwrap();
    assert_eq!(login.user.as_deref(), Some("panel"));
    assert!(login.allowed.may_publish("gw1-in/a/b") && !login.allowed.may_publish("other"));
    assert_eq!(tried(&door, "one-7", None, &spoken_for(Some("one"))).await, Ok(Some("one".into())));
    for (client, user) in [("s1", "one"), ("s1", "stranger"), ("s1", "$mqtt"), ("s1", "")] {
        let refused = tried(&door, client, Some(("panel", "hunter2")), &spoken_for(Some(user))).await;
        assert_eq!(refused, Err(reason::NOT_AUTHORIZED), "{user}");
    }
    assert_eq!(figures.refused_logins.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn whom_a_link_speaks_for_and_who_is_nobody_may_what_anybody_may_as_long_as_there_are_no_users() {
    let (open, _) = door(Rules::open());
    assert_eq!(tried(&open, "s1", None, &spoken_for(None)).await, Ok(Some("$nobody/meadow".into())));
    let everybody = Grants { publish: Granted::All, subscribe: Granted::All };
    for rules in [
        Rules { loopback: true, anonymous: everybody.clone(), ..site() },
        Rules { loopback: false, anonymous: everybody, ..Rules::default() },
    ] {
        let judge = open.replace(rules).unwrap();
        assert_eq!(tried(&open, "s1", None, &spoken_for(None)).await, Err(reason::NOT_AUTHORIZED));
        assert_eq!(judge.allowed("s1", Some("$nobody/meadow")), None);
    }
}

#[tokio::test]
async fn the_id_of_a_link_is_had_by_the_link_alone_whoever_else_may_log_in() {
    let ids_of_links = HashMap::from([("mqttsn-meadow".into(), "meadow".into())]);
    let (door, figures) = door(Rules { ids_of_links, ..site() });
    let from_barn = Visitor::Client { link: "barn".into(), user: Some("panel".into()) };
    for (login, peer) in [
        (Some(("panel", "hunter2")), from("127.0.0.1")),
        (None, with_certificate("CN=plc-1")),
        (None, Peer { visitor: Some(from_barn), ..Peer::default() }),
    ] {
        assert_eq!(tried(&door, "mqttsn-meadow", login, &peer).await, Err(reason::NOT_AUTHORIZED), "{peer:?}");
    }
    assert_eq!(figures.refused_logins.load(Ordering::Relaxed), 3);
    // Whoever had it before there was such a link, the link has it now; of a sensor's id that is not said.
    let login = async |id| door.login(&connect(id, None), &spoken_for(Some("panel"))).await.unwrap();
    assert!(login("mqttsn-meadow").await.may_take_over && !login("s1").await.may_take_over);
    let part = Peer { visitor: Some(Visitor::Part("mqttsn/meadow".into())), ..Peer::default() };
    assert!(door.login(&connect("mqttsn-meadow", None), &part).await.unwrap().may_take_over);
}

#[tokio::test]
async fn a_user_that_is_bound_to_its_client_ids_is_refused_with_others() {
    let (door, _) = door(site());
    let peer = from("192.168.1.5");
    assert_eq!(tried(&door, "one-7", Some(("one", "1")), &peer).await, Ok(Some("one".into())));
    assert_eq!(tried(&door, "panel-7", Some(("one", "1")), &peer).await, Err(reason::NOT_AUTHORIZED));
    assert_eq!(tried(&door, "", Some(("one", "1")), &peer).await, Err(reason::NOT_AUTHORIZED));
}

#[tokio::test]
async fn after_five_wrong_passwords_the_next_waits_but_not_who_is_known() {
    let (door, figures) = door(site());
    let (peer, other) = (from("127.0.0.1"), from("192.168.1.6"));
    assert!(tried(&door, "c", Some(("panel", "hunter2")), &other).await.is_ok());
    for _ in 0..5 {
        assert_eq!(tried(&door, "c", Some(("panel", "x")), &peer).await, Err(reason::BAD_USER_NAME_OR_PASSWORD));
    }
    assert_eq!(tried(&door, "c", Some(("panel", "y")), &peer).await, Err(reason::CONNECTION_RATE_EXCEEDED));
    assert_eq!(tried(&door, "c", Some(("panel", "y")), &other).await, Err(reason::BAD_USER_NAME_OR_PASSWORD));
    assert!(tried(&door, "one-1", Some(("one", "1")), &peer).await.is_ok(), "another user waits for nothing");
    assert_eq!(figures.throttled_logins.load(Ordering::Relaxed), 1);
    // Whoever attacks a user does not shut it out where its password was right before.
    assert!(tried(&door, "c", Some(("panel", "hunter2")), &peer).await.is_ok());
}

#[tokio::test]
async fn new_rules_hold_at_once_and_who_logged_in_by_an_old_password_has_to_do_so_again() {
    let (door, _) = door(site());
    let peer = from("192.168.1.5");
    let before = door.login(&connect("p1", Some(("panel", "hunter2"))), &peer).await.unwrap();
    assert!(door.still_holds(&before));
    let mut new = site();
    for name in ["plc", "both", "one"] {
        // The same hashes, as a file that has not changed has them.
        new.users.insert(name.into(), door_user(&door, name));
    }
    new.users.get_mut("panel").unwrap().password = Some(cheap("new"));
    new.users.get_mut("one").unwrap().may.subscribe = Granted::All;
    let judge = door.replace(new).unwrap();
    assert!(!door.still_holds(&before));
    assert!(judge.has_to_log_in_again(Some("panel")) && judge.allowed("p1", Some("panel")).is_some());
    assert!(!judge.has_to_log_in_again(Some("one")) && !judge.has_to_log_in_again(None));
    assert!(judge.allowed("one-1", Some("one")).unwrap().covers("#"));
    assert_eq!(judge.allowed("p1", None), None);
    assert_eq!(tried(&door, "p1", Some(("panel", "hunter2")), &peer).await, Err(reason::BAD_USER_NAME_OR_PASSWORD));
    assert!(tried(&door, "p1", Some(("panel", "new")), &peer).await.is_ok());
}

fn door_user(door: &Door, name: &str) -> User {
    door.rules_for_tests().users[name].clone()
}

#[tokio::test]
async fn an_authentication_in_steps_is_refused_by_its_own_reason() {
    let (door, _) = door(Rules::open());
    let scram = Connect { authentication_method: Some("SCRAM-SHA-256".into()), ..connect("c", None) };
    let refused = door.login(&scram, &from("127.0.0.1")).await.unwrap_err();
    assert_eq!(refused.reason, reason::BAD_AUTHENTICATION_METHOD);
}

#[tokio::test]
async fn devices_that_share_a_user_and_come_all_at_once_are_let_in_by_one_look_at_the_password() {
    let (door, _) = door(site());
    let door = Arc::new(door);
    let mut clients = tokio::task::JoinSet::new();
    for index in 0..200 {
        let door = door.clone();
        clients.spawn(async move {
            let peer = from(&format!("10.0.0.{index}"));
            tried(&door, &format!("p{index}"), Some(("panel", "hunter2")), &peer).await
        });
    }
    while let Some(tried) = clients.join_next().await {
        assert_eq!(tried.unwrap(), Ok(Some("panel".into())));
    }
}

#[tokio::test]
async fn many_guesses_at_once_are_no_way_around_the_waiting() {
    let (door, figures) = door(site());
    let door = Arc::new(door);
    let mut clients = tokio::task::JoinSet::new();
    for index in 0..200 {
        let door = door.clone();
        clients.spawn(
            async move { tried(&door, "c", Some(("panel", &format!("guess{index}"))), &from("10.0.0.1")).await },
        );
    }
    let mut heard = 0;
    while let Some(tried) = clients.join_next().await {
        heard += usize::from(tried.unwrap() == Err(reason::BAD_USER_NAME_OR_PASSWORD));
    }
    assert_eq!((heard, figures.throttled_logins.load(Ordering::Relaxed)), (5, 195));
}
