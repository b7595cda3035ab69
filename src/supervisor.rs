//! Keeps each driver alive: one task per link, restarts with back-off, health, giving up.
//!
//! A session that is lost is tried again after a jittered, doubling wait. A panic in a driver is
//! caught and counts as lost. A fatal error leaves the driver down and says so. Whatever happens
//! to one link, the others do not see it. While a link is down its commands are answered at once.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};
use wharf_contract::{CommandError, Driver, DriverError, Health, Port};

use crate::backoff::{Backoff, Jitter};

/// The first wait after a lost session.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait: a replugged cable is noticed within this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How often the log says again that a link is down for the same reason.
const SAID_AGAIN: Duration = Duration::from_secs(600);

/// Runs a driver until the gateway stops.
pub async fn supervise(driver: Arc<dyn Driver>, port: Port) {
    // What a driver said of its devices while the gateway was behind is brought on from here, for
    // the driver may have nothing more to say for hours.
    let late = port.late_news();
    tokio::select! {
        () = keep_running(driver, port) => late.hand_over(),
        never = late.deliver() => match never {},
    }
}

async fn keep_running(driver: Arc<dyn Driver>, mut port: Port) {
    let link = driver.name().clone();
    let stop = port.stop();
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, Jitter::Half);
    // A link that is down stays down while it is tried again, so that its health tells since when.
    port.report(Health::Connecting);
    let mut told: Option<(String, Instant)> = None;
    while !stop.is_cancelled() {
        let started = Instant::now();
        let ended = AssertUnwindSafe(driver.run(&mut port)).catch_unwind().await;
        if stop.is_cancelled() {
            break;
        }
        let reason = match ended {
            Ok(Ok(())) => "the driver ended without being asked to".to_owned(),
            Ok(Err(DriverError::Lost(error))) => error.to_string(),
            Ok(Err(DriverError::Fatal(error))) => {
                error!(%link, %error, "link given up: someone has to change something");
                driver.close(&error.to_string());
                give_up(&mut port, error.to_string()).await;
                break;
            }
            Err(panic) => {
                let reason = format!("the driver panicked: {}", panic_words(&*panic));
                error!(%link, reason, "a driver failed; it is started again");
                reason
            }
        };
        let wait = backoff.next(started.elapsed());
        let retry_secs = format!("{:.1}", wait.as_secs_f64());
        if port.health().is_up() {
            warn!(%link, error = %reason, retry_secs, "link lost");
            told = Some((reason.clone(), Instant::now()));
        } else if told.as_ref().is_some_and(|(before, at)| *before == reason && at.elapsed() < SAID_AGAIN) {
            debug!(%link, error = %reason, retry_secs, "link still down");
        } else {
            warn!(%link, error = %reason, retry_secs, "link is down");
            told = Some((reason.clone(), Instant::now()));
        }
        sit_out(&mut port, wait, reason).await;
    }
    port.report(Health::Offline("the gateway is stopping".into()));
    driver.close("the gateway is stopping");
    port.refuse_waiting("the gateway is stopping");
    info!(%link, "link closed");
}

/// Waits, answering every command at once.
async fn sit_out(port: &mut Port, wait: Duration, reason: String) {
    port.report(Health::Offline(reason.clone()));
    let stop = port.stop();
    let until = Instant::now() + wait;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(until) => return,
            command = port.next_command() => {
                debug!(device = %command.device, point = %command.point, "command refused: the link is down");
                command.answer(Err(CommandError::Offline(reason.clone())));
            }
        }
    }
}

/// Stays down until the gateway stops, answering every command at once.
async fn give_up(port: &mut Port, reason: String) {
    port.report(Health::Failed(reason.clone()));
    let stop = port.stop();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            command = port.next_command() => command.answer(Err(CommandError::Offline(reason.clone()))),
        }
    }
}

fn panic_words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;
    use wharf_contract::{Action, Command, Event, LinkId, PointInfo, PortEnd, async_trait};

    use super::*;

    /// A driver whose sessions end as its script says, and then run on.
    struct Scripted {
        name: LinkId,
        sessions: AtomicUsize,
        script: fn(usize) -> Option<DriverError>,
    }

    #[async_trait]
    impl Driver for Scripted {
        fn name(&self) -> &LinkId {
            &self.name
        }

        fn kind(&self) -> &'static str {
            "scripted"
        }

        fn catalogue(&self) -> Vec<PointInfo> {
            Vec::new()
        }

        async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
            let session = self.sessions.fetch_add(1, Ordering::SeqCst);
            if let Some(error) = (self.script)(session) {
                return Err(error);
            }
            port.report(Health::Online);
            port.stop().cancelled().await;
            Ok(())
        }
    }

    struct Running {
        driver: Arc<Scripted>,
        end: PortEnd,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn start(script: fn(usize) -> Option<DriverError>) -> Running {
        let driver = Arc::new(Scripted { name: "bus".into(), sessions: AtomicUsize::new(0), script });
        let stop = CancellationToken::new();
        let (events, _) = mpsc::channel(1);
        let (port, end) = Port::new("bus".into(), events, stop.clone());
        let task = tokio::spawn(supervise(driver.clone(), port));
        Running { driver, end, stop, task }
    }

    async fn until(end: &mut PortEnd, wanted: fn(&Health) -> bool) {
        end.health.wait_for(wanted).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_session_is_tried_again_until_it_works() {
        let mut run = start(|session| (session < 5).then(|| DriverError::lost("no route")));
        until(&mut run.end, Health::is_up).await;
        assert_eq!(run.driver.sessions.load(Ordering::SeqCst), 6);
        run.stop.cancel();
        run.task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_stays_down_says_since_when_however_often_it_is_tried() {
        let mut run = start(|_| Some(DriverError::lost("unplugged")));
        until(&mut run.end, |health| matches!(health, Health::Offline(_))).await;
        run.end.health.mark_unchanged();
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(run.driver.sessions.load(Ordering::SeqCst) > 10);
        assert!(!run.end.health.has_changed().unwrap(), "{:?}", run.end.health.borrow());
        run.stop.cancel();
        run.task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_caught_and_counts_as_lost() {
        let mut run = start(|session| if session == 0 { panic!("index out of range") } else { None });
        until(&mut run.end, |health| matches!(health, Health::Offline(reason) if reason.contains("out of range")))
            .await;
        until(&mut run.end, Health::is_up).await;
        run.stop.cancel();
        run.task.await.unwrap();
    }

    /// A driver that says of three devices that they are gone, and then nothing more.
    struct Farewell(LinkId, std::sync::Mutex<Vec<String>>);

    #[async_trait]
    impl Driver for Farewell {
        fn name(&self) -> &LinkId {
            &self.0
        }

        fn kind(&self) -> &'static str {
            "farewell"
        }

        fn catalogue(&self) -> Vec<PointInfo> {
            Vec::new()
        }

        fn close(&self, reason: &str) {
            self.1.lock().unwrap().push(reason.to_owned());
        }

        async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
            for device in ["a", "b", "c"] {
                port.emit(Event::Device { device: device.into(), alive: false, reason: None }).await;
            }
            Err(DriverError::fatal("no such port"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_driver_said_of_its_devices_arrives_when_the_gateway_has_time_although_the_driver_is_gone() {
        let (events, mut received) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let (port, _end) = Port::new("bus".into(), events, stop.clone());
        let task = tokio::spawn(supervise(Arc::new(Farewell("bus".into(), std::sync::Mutex::default())), port));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        for expected in ["a", "b", "c"] {
            let told = received.recv().await.map(|told| told.event);
            assert_eq!(told, Some(Event::Device { device: expected.into(), alive: false, reason: None }));
        }
        stop.cancel();
        task.await.unwrap();
        assert_eq!(received.recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_is_not_started_again_is_told_why_so_that_nothing_waits_in_it_for_ever() {
        let (events, _received) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let (port, mut end) = Port::new("bus".into(), events, stop.clone());
        let driver = Arc::new(Farewell("bus".into(), std::sync::Mutex::default()));
        let task = tokio::spawn(supervise(driver.clone(), port));
        until(&mut end, |health| matches!(health, Health::Failed(_))).await;
        assert_eq!(*driver.1.lock().unwrap(), ["no such port"]);
        stop.cancel();
        task.await.unwrap();
        assert_eq!(*driver.1.lock().unwrap(), ["no such port", "the gateway is stopping"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_is_down_answers_commands_at_once() {
        let mut run = start(|_| Some(DriverError::lost("unplugged")));
        until(&mut run.end, |health| matches!(health, Health::Offline(_))).await;
        let deadline = Instant::now() + Duration::from_secs(3600);
        let (command, answer) = Command::new("tank".into(), "valve".into(), Action::Read, deadline);
        run.end.commands.send(command).await.unwrap();
        assert_eq!(answer.wait().await, Err(CommandError::Offline("unplugged".into())));
        run.stop.cancel();
        run.task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_fatal_error_is_not_tried_again_and_its_commands_are_still_answered() {
        let mut run = start(|_| Some(DriverError::fatal("permission denied")));
        until(&mut run.end, |health| matches!(health, Health::Failed(_))).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(run.driver.sessions.load(Ordering::SeqCst), 1);
        let deadline = Instant::now() + Duration::from_secs(1);
        let (command, answer) = Command::new("tank".into(), "valve".into(), Action::Read, deadline);
        run.end.commands.send(command).await.unwrap();
        assert_eq!(answer.wait().await, Err(CommandError::Offline("permission denied".into())));
        run.stop.cancel();
        run.task.await.unwrap();
    }
}
