//! The commands of someone at the cabinet: read, write, probe and scan, and a walk through a
//! SunSpec device. With a site file they go
//! through its gateway while that runs, and straight to the device else.

mod form;
pub mod probe;
pub mod read;
pub mod scan;
mod show;
pub mod sunspec;
mod target;
mod through;
pub mod write;

pub use show::is_for_people;
