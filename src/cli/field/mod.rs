//! The commands of someone at the cabinet: read, write, probe and scan. With a site file they go
//! through its gateway while that runs, and straight to the device else.

mod form;
pub mod probe;
pub mod read;
pub mod scan;
mod show;
mod target;
mod through;
pub mod write;
