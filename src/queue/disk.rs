//! Which kind of disk a queue is on, and how often that wants to be written to.
//!
//! Nothing moves a card's wear as much as how often it is synced: each sync rewrites at least a
//! page, and inside the card much more than that. So on anything that may be a card commits are
//! rare, and on a solid-state disk they are frequent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a disk is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An SD card or eMMC.
    Card,
    /// A stick, or anything else that can be pulled.
    Removable,
    /// One with a head that has to move.
    Rotational,
    /// A fixed disk without moving parts.
    SolidState,
    /// The system does not say.
    Unknown,
}

/// The disk, or the partition, that a directory is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What it is.
    pub kind: Kind,
    /// Size of its file system in bytes.
    pub size: u64,
}

impl Kind {
    /// How long a commit should wait for company on such a disk.
    pub fn commit_interval(self) -> Duration {
        match self {
            Self::SolidState => Duration::from_millis(10),
            Self::Card | Self::Removable | Self::Rotational | Self::Unknown => Duration::from_millis(100),
        }
    }
}

impl Disk {
    /// Looks at the disk that `dir`, or the nearest directory above it that exists, is on.
    ///
    /// # Errors
    /// Those of the file system. That the system does not know the disk is not one.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let there = dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
        let stat = rustix::fs::stat(there)?;
        let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        let device = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"));
        let volume = rustix::fs::statvfs(there)?;
        Ok(Self {
            kind: device.map_or(Kind::Unknown, |device| look(&device, 4)),
            size: volume.f_blocks.saturating_mul(volume.f_frsize),
        })
    }

    /// How often the whole disk would be overwritten in a year at the rate of `bytes` in `time`.
    /// `None` while there is too little to tell from.
    pub fn overwrites_per_year(&self, bytes: u64, time: Duration) -> Option<f64> {
        const YEAR: f64 = 365.25 * 86_400.0;
        (self.size > 0 && time >= Duration::from_secs(1))
            .then(|| bytes as f64 / time.as_secs_f64() * YEAR / self.size as f64)
    }
}

/// What the system says of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    name: String,
    rotational: Option<bool>,
    removable: Option<bool>,
}

/// Judges a device by its directory under `/sys/devices`; one made of others, such as an encrypted
/// one, by the slowest of those.
fn look(device: &Path, depth: u32) -> Kind {
    let parts: Vec<PathBuf> = fs::read_dir(device.join("slaves"))
        .into_iter()
        .flatten()
        .filter_map(|entry| fs::canonicalize(entry.ok()?.path()).ok())
        .collect();
    if parts.is_empty() || depth == 0 {
        return judge(&facts(device));
    }
    let kinds = parts.iter().map(|part| look(part, depth - 1));
    kinds.reduce(|worst, kind| if worst == Kind::SolidState { kind } else { worst }).unwrap_or(Kind::Unknown)
}

/// Reads what the system says. A partition has its disk's directory around its own.
fn facts(device: &Path) -> Facts {
    let whole = if device.join("partition").exists() { device.parent().unwrap_or(device) } else { device };
    let flag = |file: &str| match fs::read_to_string(whole.join(file)).ok()?.trim() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    };
    Facts {
        name: whole.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        rotational: flag("queue/rotational"),
        removable: flag("removable"),
    }
}

fn judge(facts: &Facts) -> Kind {
    match (facts.rotational, facts.removable) {
        _ if facts.name.starts_with("mmcblk") => Kind::Card,
        (_, Some(true)) => Kind::Removable,
        (Some(true), _) => Kind::Rotational,
        (Some(false), Some(false)) => Kind::SolidState,
        _ => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device directory as under `/sys/devices`.
    fn device(root: &Path, name: &str, rotational: &str, removable: &str) -> PathBuf {
        let dir = root.join(name);
        fs::create_dir_all(dir.join("queue")).unwrap();
        fs::write(dir.join("queue/rotational"), rotational).unwrap();
        fs::write(dir.join("removable"), removable).unwrap();
        dir
    }

    #[test]
    fn only_a_fixed_disk_without_moving_parts_is_written_to_often() {
        let root = tempfile::tempdir().unwrap();
        let cases = [
            ("mmcblk0", "0\n", "0\n", Kind::Card, 100),
            ("nvme0n1", "0\n", "0\n", Kind::SolidState, 10),
            ("sda", "1\n", "0\n", Kind::Rotational, 100),
            ("sdb", "0\n", "1\n", Kind::Removable, 100),
            ("vda", "", "0\n", Kind::Unknown, 100),
            ("vdb", "0\n", "?", Kind::Unknown, 100),
        ];
        for (name, rotational, removable, kind, millis) in cases {
            let found = look(&device(root.path(), name, rotational, removable), 4);
            assert_eq!((found, found.commit_interval()), (kind, Duration::from_millis(millis)), "{name}");
        }
    }

    #[test]
    fn a_partition_is_judged_by_its_disk_and_an_encrypted_one_by_what_it_lies_on() {
        let root = tempfile::tempdir().unwrap();
        let disk = device(root.path(), "mmcblk1", "0", "0");
        let partition = disk.join("mmcblk1p2");
        fs::create_dir(&partition).unwrap();
        fs::write(partition.join("partition"), "2").unwrap();
        assert_eq!(look(&partition, 4), Kind::Card);
        let mapped = device(root.path(), "dm-0", "0", "0");
        let fast = device(root.path(), "nvme0n1", "0", "0");
        fs::create_dir(mapped.join("slaves")).unwrap();
        std::os::unix::fs::symlink(&fast, mapped.join("slaves/nvme0n1")).unwrap();
        assert_eq!(look(&mapped, 4), Kind::SolidState);
        std::os::unix::fs::symlink(&partition, mapped.join("slaves/mmcblk1p2")).unwrap();
        assert_eq!(look(&mapped, 4), Kind::Card);
    }

    #[test]
    fn every_directory_has_a_disk_even_one_that_is_still_to_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::of(dir.path()).unwrap();
        assert!(disk.size > 0);
        assert_eq!(Disk::of(&dir.path().join("not/yet")).unwrap(), disk);
    }

    #[test]
    fn wear_is_told_in_overwrites_of_the_whole_disk() {
        let disk = Disk { kind: Kind::Card, size: 32 << 30 };
        let day = Duration::from_secs(86_400);
        let times = disk.overwrites_per_year(9_300_000_000, day).unwrap();
        assert!((98.0..100.0).contains(&times), "{times}");
        assert_eq!(disk.overwrites_per_year(1, Duration::ZERO), None);
    }
}
