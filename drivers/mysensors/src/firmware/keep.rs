//! What is kept over a restart, as text: what nodes reported, and the images that were given to them.
//!
//! A node in the middle of a transfer does not report again when the gateway comes back, so what it
//! reported has to be known: the size of its blocks is in there.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::image::{Image, Name};
use super::wire::{Config, Report, hex, unhex};
use super::{Firmware, Identity, MOST_BYTES, MOST_GIVEN, Offer};
use crate::message::{GATEWAY, SELF};

/// The most bytes that the text can have: the images in hexadecimal, and little else.
pub const LARGEST: u64 = 2 * MOST_BYTES as u64 + (256 << 10);

impl Firmware {
    /// All that is to be kept.
    pub fn text(&self) -> String {
        let mut images: Vec<&Image> = Vec::new();
        let mut given = serde_json::Map::new();
        for (number, offer) in &self.given {
            let place = images.iter().position(|image| *image == &offer.image).unwrap_or_else(|| {
                images.push(&offer.image);
                images.len() - 1
            });
            let offer = json!({ "image": place, "change_type": offer.may_change_type, "rle": offer.may_repeat });
            given.insert(number.to_string(), offer);
        }
        let nodes = self.nodes.iter().filter(|(_, node)| node.report.is_some() || node.asked.is_some());
        let nodes = nodes.map(|(number, node)| {
            let report = node.report.map(|report| report_json(&report));
            let asked = node.asked.map(|(name, crc)| json!([name.kind, name.version, crc]));
            (number.to_string(), json!({ "report": report, "asked": asked }))
        });
        let nodes: serde_json::Map<_, _> = nodes.collect();
        let images = images.iter().map(|image| {
            let Name { kind, version } = image.name();
            json!({ "type": kind, "version": version, "crc": image.crc(), "bytes": hex(image.bytes()) })
        });
        json!({ "nodes": nodes, "given": given, "images": images.collect::<Vec<_>>() }).to_string()
    }

    /// Takes up what was kept; an empty text is nothing. What was heard since counts more.
    ///
    /// # Errors
    /// It makes no sense, and nothing of it is taken up.
    pub fn recall(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        let kept: Json = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let images: Vec<Image> =
            list(&kept["images"]).map(image).collect::<Option<_>>().ok_or("an image is damaged")?;
        let mut given = BTreeMap::new();
        for (number, offer) in by_node(&kept["given"]).take(MOST_GIVEN) {
            let place = offer["image"].as_u64().and_then(|place| usize::try_from(place).ok());
            let image = place.and_then(|place| images.get(place)).ok_or("an image is missing")?;
            let (may_change_type, may_repeat) = (offer["change_type"] == true, offer["rle"] == true);
            given.insert(number, Offer { image: image.clone(), may_change_type, may_repeat });
        }
        for (number, kept) in by_node(&kept["nodes"]) {
            let node = self.nodes.entry(number).or_default();
            node.report = node.report.or_else(|| report(&kept["report"]));
            node.asked = node.asked.or_else(|| identity(&kept["asked"]));
        }
        for (number, offer) in given {
            // The site file may have been changed since.
            if !self.is_settled(number) {
                self.given.entry(number).or_insert(offer);
            }
        }
        Ok(())
    }
}

fn report_json(report: &Report) -> Json {
    let Config { name, blocks, crc } = report.runs;
    json!([name.kind, name.version, blocks, crc, report.block_size, u8::from(report.is_extended)])
}

fn report(kept: &Json) -> Option<Report> {
    let [kind, version, blocks, crc, block_size, is_extended] = words(kept)?;
    let runs = Config { name: Name { kind, version }, blocks, crc };
    Some(Report { runs, block_size: u8::try_from(block_size).ok()?, is_extended: is_extended == 1 })
}

fn identity(kept: &Json) -> Option<Identity> {
    let [kind, version, crc] = words(kept)?;
    Some((Name { kind, version }, crc))
}

fn image(kept: &Json) -> Option<Image> {
    let [kind, version, crc] = ["type", "version", "crc"].map(|key| word(&kept[key]));
    let bytes = unhex(kept["bytes"].as_str()?)?;
    Image::new(Name { kind: kind?, version: version? }, bytes, super::hex::LARGEST, Some(crc?)).ok()
}

fn words<const COUNT: usize>(kept: &Json) -> Option<[u16; COUNT]> {
    list(kept).map(word).collect::<Option<Vec<_>>>()?.try_into().ok()
}

fn word(kept: &Json) -> Option<u16> {
    kept.as_u64().and_then(|word| u16::try_from(word).ok())
}

fn list(kept: &Json) -> impl Iterator<Item = &Json> {
    kept.as_array().into_iter().flatten()
}

fn by_node(kept: &Json) -> impl Iterator<Item = (u8, &Json)> {
    let entries = kept.as_object().into_iter().flatten();
    entries
        .filter_map(|(number, kept)| Some((number.parse().ok()?, kept)))
        .filter(|(number, _)| !matches!(*number, GATEWAY | SELF))
}
