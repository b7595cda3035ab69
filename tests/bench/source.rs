//! A driver that makes up readings.

use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;
use wharf::queue::Queue;
use wharf_contract::{
    DeviceId, Driver, DriverError, Event, Health, LinkId, PointId, PointInfo, Port, Reading, Value, async_trait,
};

/// How many readings may be on their way to the queue: less than the gateway has room for, so that
/// none is lost for want of it.
const AHEAD: u64 = 3000;

/// What to emit.
#[derive(Clone)]
pub struct Job {
    /// How many readings.
    pub messages: u64,
    /// Of how many devices, in turn.
    pub devices: usize,
    /// Of how many points of each.
    pub points: usize,
    /// How fast.
    pub pace: Pace,
    /// Where to note when each was taken.
    pub taken: Option<Arc<Mutex<Vec<Instant>>>>,
}

/// How fast readings are emitted.
#[derive(Clone)]
pub enum Pace {
    /// As fast as they are put into this queue.
    AsFastAsItGoes(Queue),
    /// All points of one device at a time, and a device each time this has passed.
    DeviceEach(Duration),
}

/// The driver. It emits nothing until it is told to begin.
pub struct Source {
    name: LinkId,
    job: Mutex<Option<Job>>,
    begin: Notify,
}

impl Source {
    pub fn new() -> Self {
        Self { name: LinkId::from("source"), job: Mutex::default(), begin: Notify::new() }
    }

    /// Begins to emit.
    pub fn begin(&self, job: Job) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
        self.begin.notify_one();
    }
}

#[async_trait]
impl Driver for Source {
    fn name(&self) -> &LinkId {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "bench"
    }

    fn catalogue(&self) -> Vec<PointInfo> {
        Vec::new()
    }

    async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
        port.report(Health::Online);
        self.begin.notified().await;
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(job) = job {
            work(&job, Some(port)).await;
        }
        port.stop().cancelled().await;
        Ok(())
    }
}

/// What the driver does, without a gateway: for its share of the processor time.
pub async fn idle_work(job: &Job) {
    work(job, None).await;
}

async fn work(job: &Job, port: Option<&Port>) {
    let devices: Vec<DeviceId> = (0..job.devices).map(|device| format!("device-{device}").into()).collect();
    let points: Vec<PointId> = (0..job.points).map(|point| format!("point-{point}").into()).collect();
    let already = if let Pace::AsFastAsItGoes(queue) = &job.pace { queue.counters().captured } else { 0 };
    let started = tokio::time::Instant::now();
    for number in 0..job.messages {
        let (turn, point) = (number as usize / points.len(), number as usize % points.len());
        if point == 0 {
            match &job.pace {
                Pace::AsFastAsItGoes(queue) => {
                    while number > queue.counters().captured - already + AHEAD {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                Pace::DeviceEach(time) => tokio::time::sleep_until(started + *time * turn as u32).await,
            }
        }
        if let Some(taken) = &job.taken {
            taken.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
        let value = Value::Float(f64::from(u32::try_from(number % 1000).unwrap_or_default()) / 10.0);
        let device = devices[turn % devices.len()].clone();
        let reading = Reading::good(device, points[point].clone(), value, SystemTime::now());
        let event = Event::Reading(Reading { unit: Some("°C".into()), ..reading });
        match port {
            Some(port) => port.emit(event).await,
            None => drop(black_box(event)),
        }
    }
}
