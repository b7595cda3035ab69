//! How a connection hears that there is something for it.

use super::*;

async fn hears(bell: &Bell) -> bool {
    tokio::time::timeout(Duration::from_millis(50), bell.heard()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_bell_that_rings_twice_before_it_is_heard_is_heard_once() {
    let bell = Bell::default();
    assert!(!hears(&bell).await);
    bell.ring();
    bell.ring();
    assert!(hears(&bell).await);
    assert!(!hears(&bell).await);
    bell.ring();
    assert!(hears(&bell).await);
}

#[tokio::test(start_paused = true)]
async fn a_bell_is_heard_when_the_connection_is_to_close_and_says_why() {
    let bell = Bell::default();
    assert_eq!(bell.closing(), None);
    bell.close(reason::SESSION_TAKEN_OVER);
    assert!(hears(&bell).await);
    assert_eq!(bell.closing(), Some(reason::SESSION_TAKEN_OVER));
}

#[tokio::test(start_paused = true)]
async fn a_client_is_rung_for_when_something_has_come_and_once_until_it_takes_it() {
    let mut site = Site::new();
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "a", Qos::AtMostOnce);
    assert!(hears(&receiver.bell).await, "a client that was let in looks whether something waits");
    assert!(site.read(&receiver).is_empty());
    for _ in 0..3 {
        site.show("a", "1");
    }
    assert!(hears(&receiver.bell).await);
    site.show("a", "2");
    assert!(!hears(&receiver.bell).await, "it has not taken what it was rung for");
    assert_eq!(site.read(&receiver).len(), 4);
    site.show("a", "3");
    assert!(hears(&receiver.bell).await);
}
