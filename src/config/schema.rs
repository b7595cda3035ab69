//! The JSON Schema of the site file, for editors. Draft 7, which yaml-language-server knows best.

use serde_json::{Value, json};
use wharf_contract::settings::Setting;

use super::Site;

/// The whole schema, from the same definitions as the decoder.
pub fn schema() -> Value {
    let mut document = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "wharf site file",
    });
    if let (Value::Object(document), Value::Object(site)) = (&mut document, Site::schema()) {
        document.extend(site);
    }
    document
}
