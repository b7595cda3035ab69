//! Which points a driver knows before it has heard any of them, and which of them may be written.

use std::sync::Arc;

use crate::{DeviceId, Labels, PointId, Unit, WriteRule};

/// One point as the site file declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct PointInfo {
    /// The device it is on.
    pub device: DeviceId,
    /// Its name there.
    pub point: PointId,
    /// Its unit.
    pub unit: Option<Unit>,
    /// The labels its readings carry. A command in a driver's own topic form is matched to its
    /// point by these.
    pub labels: Labels,
    /// What may be written to it; `None` means nothing. Shared with the driver, for it is far larger than
    /// everything else about a point.
    pub write: Option<Arc<WriteRule>>,
}
