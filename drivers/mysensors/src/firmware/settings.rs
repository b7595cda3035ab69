//! The part of the site file that says which nodes get which firmware.
//!
//! The decoder leaves the files alone. They are looked at when a site is checked, so that a broken one is
//! told with its place before anything starts, and read when the link is opened.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use wharf_contract::settings;
use wharf_contract::settings::{
    ByteSize, Context, FilePath, Name as ConfiguredName, NamedEntry, Problem, Severity, Spanned, suggestion,
};

use super::image::{self, BLANK, Image, ImageError, Name, USUAL_ROOM};
use super::{Offer, Offers};
use crate::config::{DeviceSettings, LinkSettings};

/// The largest file: the largest image as Intel HEX in short records.
const LARGEST_FILE: u64 = 4 << 20;

settings! {
    /// A firmware for nodes.
    pub struct FirmwareSettings {
        /// The type of node it is for: a number of your choice, the same in the sketch's own settings.
        r#type: u16,
        /// Its version; a node that reports another one, older or newer, gets this one.
        version: u16,
        /// The image: Intel HEX, or the bytes themselves.
        file: Spanned<FilePath>,
        /// The CRC that it has to have (CRC-16/MODBUS over the image, filled up with 0xFF to a multiple of
        /// 128 bytes).
        crc: Option<u16> = None,
        /// How much the nodes can hold: 30KiB on an ATmega328 with its bootloader.
        max_size: ByteSize<128, { 512 << 10 }> = ByteSize::bytes(USUAL_ROOM as u64),
        /// Whether every node that reports this type gets it. Else it is for the devices that name it in
        /// `firmware`.
        every_node: bool = false,
        /// Whether a device that names it may report another type and become one of this.
        change_type: bool = false,
        /// Whether blocks made of one byte are told together, to nodes that speak version 3.1 of the
        /// protocol.
        rle: bool = false,
    }
    check: |this, node, cx| {
        if this.r#type == BLANK {
            cx.field_problem(node, "type", "type 65535 stands for a node without any firmware");
        }
    };
}

/// Why there is no image to offer.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file is not there, or not for us.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is a folder, a pipe, a device.
    #[error("it is not a file")]
    NotAFile,
    /// Larger than any image.
    #[error("it has more than {LARGEST_FILE} bytes")]
    TooLarge,
    /// It cannot be sent.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl FirmwareSettings {
    /// Reads the image. Waits for the disk.
    ///
    /// # Errors
    /// There is none that could be sent.
    pub fn image(&self) -> Result<Image, FileError> {
        let name = Name { kind: self.r#type, version: self.version };
        let room = usize::try_from(self.max_size.get()).unwrap_or(usize::MAX);
        Ok(Image::new(name, read(self.file.as_path())?, room, self.crc)?)
    }

    /// What is wrong with the file, for whoever checks a site. Waits for the disk.
    pub fn problem(&self) -> Option<Problem> {
        let error = self.image().err()?;
        let mut problem =
            Problem::new(self.file.span, self.file.path.clone(), format!("{}: {error}", self.file.as_path().display()));
        if let FileError::Image(ImageError::TooLarge { .. }) = error {
            problem.help("raise max_size if the nodes can hold more");
        }
        Some(problem)
    }
}

/// The bytes of the image in a file. Waits for the disk.
///
/// # Errors
/// There is none in it.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = File::open(path)?;
    // What is no file, a pipe say, could keep us waiting for ever.
    if !file.metadata()?.is_file() {
        return Err(FileError::NotAFile);
    }
    let mut content = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST_FILE {
        return Err(FileError::TooLarge);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(image::from_file(&name, &content)?)
}

/// Which nodes of a link get which firmware.
#[derive(Clone, Debug, Default)]
pub struct Plan(Vec<Planned>);

#[derive(Clone, Debug)]
struct Planned {
    firmware: FirmwareSettings,
    nodes: Vec<u8>,
}

impl Plan {
    /// As the site file has it.
    pub fn new(link: &LinkSettings) -> Self {
        let of = |name: &ConfiguredName| {
            let getting = link.devices.iter().filter(|(_, device)| names(device, name));
            getting.map(|(_, device)| device.node.get()).collect()
        };
        let planned = link.firmware.iter();
        Self(planned.map(|(name, firmware)| Planned { firmware: firmware.clone(), nodes: of(name) }).collect())
    }

    /// Reads the images. Waits for the disk. What could not be read is not offered, and told.
    pub fn offers(&self) -> (Offers, Vec<String>) {
        let (mut offers, mut troubles) = (Offers::default(), Vec::new());
        for Planned { firmware, nodes } in &self.0 {
            let image = match firmware.image() {
                Ok(image) => image,
                Err(error) => {
                    troubles.push(format!("{}: {error}", firmware.file.as_path().display()));
                    continue;
                }
            };
            let offer = Offer { image, may_change_type: firmware.change_type, may_repeat: firmware.rle };
            offers.by_node.extend(nodes.iter().map(|node| (*node, offer.clone())));
            if firmware.every_node {
                offers.by_type.insert(firmware.r#type, offer);
            }
        }
        (offers, troubles)
    }
}

/// Checks what no firmware can know by itself: that each is for somebody, and nobody gets two.
pub fn check(link: &LinkSettings, cx: &mut Context<'_>) {
    let known: Vec<&str> = link.firmware.iter().map(|(name, _)| name.as_str()).collect();
    for (_, device) in link.devices.iter() {
        let Some(wanted) = device.firmware.as_ref().filter(|wanted| !known.contains(&wanted.as_str())) else {
            continue;
        };
        let problem = cx.problem(wanted.span, format!("there is no firmware `{}` on this link", wanted.value));
        problem.path.clone_from(&wanted.path);
        problem.help(match known.as_slice() {
            [] => "describe it under `firmware` of the link".into(),
            known => suggestion(wanted, known),
        });
    }
    let mut types: HashMap<u16, &NamedEntry<FirmwareSettings>> = HashMap::new();
    for entry in link.firmware.entries() {
        let kind = entry.value.r#type;
        if entry.value.every_node {
            if let Some(first) = types.insert(kind, entry) {
                let message = format!("every node of type {kind} gets `{}` already", *first.name);
                cx.problem(entry.name.span, message).path.clone_from(&entry.name.path);
            }
        } else if !link.devices.iter().any(|(_, device)| names(device, &entry.name)) {
            let problem = cx.problem(entry.name.span, format!("no node gets the firmware `{}`", *entry.name));
            problem.severity = Severity::Warning;
            problem.path.clone_from(&entry.name.path);
            problem.help("name it in `firmware` of a device, or write every_node: true");
        }
    }
}

fn names(device: &DeviceSettings, firmware: &ConfiguredName) -> bool {
    device.firmware.as_ref().is_some_and(|wanted| wanted.value == firmware.as_str())
}
