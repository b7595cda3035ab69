//! What a site file may say of Bluetooth: the driver's own settings, or, in a wharf that was built
//! without it, that it cannot be used.

#[cfg(feature = "ble")]
use std::path::Path;

#[cfg(feature = "ble")]
use wharf_contract::settings::Named;

#[cfg(feature = "ble")]
pub use wharf_ble::LinkSettings as BleLink;

/// The kinds of Bluetooth sensors that a site file in this directory knows without saying anything: the
/// built-in ones, and those of its profiles.
#[cfg(feature = "ble")]
pub fn descriptions(directory: &Path) -> Result<Named<wharf_ble::config::Described>, super::SiteErrors> {
    let no_secrets = |_: &str| Err("there are no secrets here".to_owned());
    let mut site = super::read("gateway: g\nble: { any: }\n", &directory.join("site.yaml"), &no_secrets)?;
    let link = std::mem::take(&mut site.ble).into_iter().next();
    Ok(link.map_or_else(Named::none, |link| link.value.descriptions))
}

#[cfg(not(feature = "ble"))]
pub use absent::BleLink;

#[cfg(not(feature = "ble"))]
mod absent {
    use serde_json::json;
    use wharf_contract::settings::{Context, Named, Node, Schema, Setting};

    /// Stands for a link that this wharf cannot serve.
    #[derive(Clone, Debug, PartialEq)]
    pub struct BleLink {
        /// None: nothing of it is read.
        pub devices: Named<Device>,
    }

    /// Stands for a device of such a link.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Device {
        /// None.
        pub points: Named<String>,
    }

    impl Setting for BleLink {
        fn schema() -> Schema {
            json!({ "type": ["object", "null"] })
        }

        fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
            cx.hide_all(node);
            cx.problem(cx.here(node), "this wharf was built without Bluetooth")
                .help("take one that was built with the feature `ble`");
            None
        }
    }
}
