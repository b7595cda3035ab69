//! Tells the drivers whether anybody is upstream, for those that do something in their place.

use std::pin::Pin;

use futures_util::future::select_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::uplink::UplinkState;

/// Runs until `stop`. `doors`: how many controllers are attached to the gateway itself, if any can be; each
/// is somebody. A site with neither has its consumers at the local broker; of these nobody knows whether
/// one of them controls anything, so they count as being there.
pub async fn tell(
    mut uplinks: Vec<watch::Receiver<UplinkState>>,
    mut doors: Option<watch::Receiver<usize>>,
    drivers: Vec<watch::Sender<bool>>,
    stop: CancellationToken,
) {
    if uplinks.is_empty() && doors.is_none() {
        return stop.cancelled().await;
    }
    loop {
        // One that has ended will not come back, whatever it was last.
        uplinks.retain(|state| state.has_changed().is_ok());
        doors = doors.filter(|attached| attached.has_changed().is_ok());
        let up = uplinks.iter_mut().filter_map(|state| (*state.borrow_and_update() == UplinkState::Up).then_some(()));
        // Each is looked at, so that its next change is seen.
        let is_up = up.count() > 0;
        let is_attached = doors.as_mut().is_some_and(|attached| *attached.borrow_and_update() > 0);
        let is_there = is_up || is_attached;
        for driver in &drivers {
            driver.send_if_modified(|told| std::mem::replace(told, is_there) != is_there);
        }
        if uplinks.is_empty() && doors.is_none() {
            return stop.cancelled().await;
        }
        let changes =
            uplinks.iter_mut().map(|state| Box::pin(state.changed()) as Pin<Box<dyn Future<Output = _> + Send>>);
        let comings = doors.iter_mut().map(|attached| Box::pin(attached.changed()) as Pin<Box<_>>);
        tokio::select! {
            () = stop.cancelled() => return,
            _ = select_all(changes.chain(comings)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn somebody_is_upstream_as_long_as_one_uplink_is_connected() {
        let (one, one_seen) = watch::channel(UplinkState::Down);
        let (other, other_seen) = watch::channel(UplinkState::Up);
        let (told, mut seen) = watch::channel(true);
        let stop = CancellationToken::new();
        let task = tokio::spawn(tell(vec![one_seen, other_seen], None, vec![told], stop.clone()));
        other.send_replace(UplinkState::Down);
        let mut becomes = async |wanted: bool| {
            timeout(Duration::from_secs(30), seen.wait_for(|is_there| *is_there == wanted)).await.unwrap().unwrap();
        };
        becomes(false).await;
        one.send_replace(UplinkState::Up);
        becomes(true).await;
        // An uplink that has ended is not there.
        drop(one);
        becomes(false).await;
        other.send_replace(UplinkState::Up);
        becomes(true).await;
        stop.cancel();
        task.await.unwrap();
    }
    #[tokio::test]
    async fn a_controller_at_a_door_is_somebody_upstream_too() {
        let (uplink, uplink_seen) = watch::channel(UplinkState::Down);
        let (doors, attached) = watch::channel(1);
        let (told, mut seen) = watch::channel(true);
        let stop = CancellationToken::new();
        let task = tokio::spawn(tell(vec![uplink_seen], Some(attached), vec![told], stop.clone()));
        let mut becomes = async |wanted: bool| {
            timeout(Duration::from_secs(30), seen.wait_for(|is_there| *is_there == wanted)).await.unwrap().unwrap();
        };
        doors.send_replace(0);
        becomes(false).await;
        doors.send_replace(1);
        becomes(true).await;
        // Either is enough.
        uplink.send_replace(UplinkState::Up);
        drop(doors);
        uplink.send_replace(UplinkState::Down);
        becomes(false).await;
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn without_uplinks_those_at_the_doors_alone_count() {
        let (doors, attached) = watch::channel(0);
        let (told, mut seen) = watch::channel(true);
        let stop = CancellationToken::new();
        let task = tokio::spawn(tell(Vec::new(), Some(attached), vec![told], stop.clone()));
        timeout(Duration::from_secs(30), seen.wait_for(|is_there| !is_there)).await.unwrap().unwrap();
        doors.send_replace(2);
        timeout(Duration::from_secs(30), seen.wait_for(|is_there| *is_there)).await.unwrap().unwrap();
        stop.cancel();
        task.await.unwrap();
    }
}
