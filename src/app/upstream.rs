//! Tells the drivers whether anybody is upstream, for those that do something in their place.

use std::pin::Pin;

use futures_util::future::select_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::uplink::UplinkState;

/// Runs until `stop`. A site without uplinks has its consumers at the local broker; of these nobody knows
/// whether one of them controls anything, so they count as being there.
pub async fn tell(
    mut uplinks: Vec<watch::Receiver<UplinkState>>,
    drivers: Vec<watch::Sender<bool>>,
    stop: CancellationToken,
) {
    if uplinks.is_empty() {
        return stop.cancelled().await;
    }
    loop {
        // One that has ended will not come back, whatever it was last.
        uplinks.retain(|state| state.has_changed().is_ok());
        let up = uplinks.iter_mut().filter_map(|state| (*state.borrow_and_update() == UplinkState::Up).then_some(()));
        // Each is looked at, so that its next change is seen.
        let is_there = up.count() > 0;
        for driver in &drivers {
            driver.send_if_modified(|told| std::mem::replace(told, is_there) != is_there);
        }
        if uplinks.is_empty() {
            return stop.cancelled().await;
        }
        let changes =
            uplinks.iter_mut().map(|state| Box::pin(state.changed()) as Pin<Box<dyn Future<Output = _> + Send>>);
        tokio::select! {
            () = stop.cancelled() => return,
            _ = select_all(changes) => {}
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
        let task = tokio::spawn(tell(vec![one_seen, other_seen], vec![told], stop.clone()));
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
}
