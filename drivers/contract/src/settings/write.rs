//! The settings every driver shares: what may be written to a point.

use crate::WriteRule;
use crate::settings;

settings! {
    /// Opens a point for commands. `write: {}` allows every value the point can hold.
    pub struct WriteSettings {
        /// The smallest value allowed, in the point's unit.
        min: Option<f64> = None,
        /// The largest value allowed, in the point's unit.
        max: Option<f64> = None,
        /// Whether the device has to confirm each write.
        verify: bool = false,
    }
    check: |this, node, cx| {
        if let (Some(min), Some(max)) = (this.min, this.max)
            && min > max
        {
            cx.field_problem(node, "max", format!("the maximum {max} is below the minimum {min}"));
        }
    };
}

impl From<&WriteSettings> for WriteRule {
    fn from(settings: &WriteSettings) -> Self {
        Self { min: settings.min, max: settings.max, verify: settings.verify }
    }
}
