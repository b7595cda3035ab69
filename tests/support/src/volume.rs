//! File systems of a test's own, mounted in a temporary folder: ext4 in an image, whose power can
//! be cut, and a tmpfs that can be filled.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Opens the folder, waits for a line, and makes ext4 forget all that has not reached the device:
/// `EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH`. From then on the file system fails every call. It is done
/// from Python because calling an ioctl is `unsafe` in Rust, which this package forbids.
const CUT: &str = "
import fcntl, os, struct, sys
folder = os.open(sys.argv[1], os.O_RDONLY)
print('ready', flush=True)
sys.stdin.readline()
fcntl.ioctl(folder, 0x8004587D, struct.pack('I', 2))
print('cut', flush=True)
";

/// Says why a test does nothing here, past the test runner's capture: nobody should take it for
/// having passed.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(io::stderr(), "skipped: {test}: {why}");
}

/// A mounted file system; unmounted, and its loop device let go, when dropped.
pub struct Volume {
    root: TempDir,
    kind: Kind,
}

enum Kind {
    Ext4,
    Tmpfs(u64),
}

impl Volume {
    /// An ext4 of that many MiB in an image file.
    ///
    /// # Errors
    /// Why this cannot be had here.
    pub fn ext4(megabytes: u64) -> Result<Self, String> {
        may_mount()?;
        let volume = Self::new(Kind::Ext4);
        File::create(volume.image()).and_then(|image| image.set_len(megabytes << 20)).unwrap();
        let options = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", options]).arg(volume.image()))?;
        volume.mount()?;
        Ok(volume)
    }

    /// A tmpfs of that many MiB.
    ///
    /// # Errors
    /// Why this cannot be had here.
    pub fn tmpfs(megabytes: u64) -> Result<Self, String> {
        may_mount()?;
        let volume = Self::new(Kind::Tmpfs(megabytes));
        volume.mount()?;
        Ok(volume)
    }

    fn new(kind: Kind) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("mount")).unwrap();
        Self { root, kind }
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.root.path().join("mount")
    }

    fn image(&self) -> PathBuf {
        self.root.path().join("image")
    }

    fn mount(&self) -> Result<(), String> {
        let mut command = Command::new("mount");
        match self.kind {
            // The loop device goes with the mount.
            Kind::Ext4 => command.args(["-t", "ext4", "-o", "loop,noatime"]).arg(self.image()),
            Kind::Tmpfs(megabytes) => command.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]),
        };
        run(command.arg(self.path()))
    }

    fn unmount(&self) -> Result<(), String> {
        let mut outcome = Ok(());
        // Whoever was killed a moment ago may not have let go of it yet.
        for _ in 0..50 {
            outcome = run(Command::new("umount").arg(self.path()));
            if outcome.is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        outcome
    }

    /// Takes it away and brings it back, as a start of the machine does: the journal is replayed.
    pub fn remount(&self) {
        self.unmount().unwrap();
        self.mount().unwrap();
    }

    /// Gets ready to cut the power.
    pub fn switch(&self) -> Switch {
        Switch::on(&self.path())
    }

    /// Writes a file of that many bytes.
    pub fn ballast(&self, name: &str, bytes: usize) {
        fs::write(self.path().join(name), vec![0; bytes]).unwrap();
    }

    /// Writes a file until the disk takes no more byte.
    pub fn fill(&self, name: &str) {
        let mut file = File::create(self.path().join(name)).unwrap();
        let error = io::copy(&mut io::repeat(0), &mut file).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    /// Removes such a file.
    pub fn make_room(&self, name: &str) {
        fs::remove_file(self.path().join(name)).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
        let mounted = device(&self.path()) != device(self.root.path());
        if mounted && self.unmount().is_err() {
            // Then it goes as soon as its last user does.
            let _ = run(Command::new("umount").arg("-l").arg(self.path()));
        }
    }
}

/// What cuts the power at once when told to.
pub struct Switch {
    process: Child,
    tell: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Switch {
    fn on(folder: &Path) -> Self {
        let mut process = Command::new("/usr/bin/python3")
            .args(["-c", CUT])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is not installed; `sh tests/prepare.sh` installs it");
        let tell = process.stdin.take().unwrap();
        let hear = BufReader::new(process.stdout.take().unwrap());
        let mut switch = Self { process, tell, hear };
        switch.hear("ready");
        switch
    }

    /// Cuts the power: what has not reached the device by now never will.
    pub fn cut(mut self) {
        writeln!(self.tell).unwrap();
        self.hear("cut");
    }

    fn hear(&mut self, expected: &str) {
        let mut line = String::new();
        self.hear.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), expected);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn may_mount() -> Result<(), String> {
    match fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0) {
        true => Ok(()),
        false => Err("mounting a file system needs root".into()),
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
