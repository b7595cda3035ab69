//! `wharf schema`: the JSON Schema of the site file, for editors.

use super::exit::Exit;
use crate::config;

/// Prints the schema.
pub fn run() -> Result<(), Exit> {
    super::say(&format!("{:#}", config::schema()))
}
