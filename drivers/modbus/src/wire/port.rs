//! The serial port itself: opened by its path, set up, held alone, read and written. Every call
//! here returns at once or waits no longer than it is told, and none waits for characters to leave.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::{Errno, read, write};
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, ioctl_tiocexcl, ioctl_tiocnxcl, tcflush,
    tcgetattr, tcsetattr,
};
use tracing::warn;
use wharf_contract::DriverError;
use wharf_contract::settings::{Frame, Parity};

use super::pace::Pace;
use super::rs485;
use super::turns::Echo;

/// How long a port may take to accept a request. It has room for several.
const STUCK: Duration = Duration::from_secs(2);

/// How far the speed may be off, in percent: a receiver takes its samples in the middle of a bit,
/// and after ten bits both ends together may have drifted by less than half of one.
const TOLERANCE: u64 = 2;

/// What a serial port is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// The path, best one that lasts, such as `/dev/serial/by-id/…`.
    pub(crate) path: String,
    /// In baud.
    pub(crate) baud: u32,
    pub(crate) frame: Frame,
    /// The kernel switches the line driver.
    pub(crate) rs485: Option<rs485::Setup>,
    pub(crate) echo: Echo,
}

impl Setup {
    /// The times of the line.
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(self.baud, self.frame.bits())
    }
}

/// An open port. Nobody else can open it meanwhile.
#[derive(Debug)]
pub(crate) struct Port {
    fd: OwnedFd,
}

impl Port {
    /// Opens the port. Takes milliseconds.
    ///
    /// # Errors
    /// `Fatal` when someone has to change something, else `Lost`: the adapter may come back.
    pub(crate) fn open(setup: &Setup) -> Result<Self, DriverError> {
        let path = &setup.path;
        let how = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = open(path.as_str(), how, Mode::empty()).map_err(|error| cannot_open(path, error))?;
        let settings = tcgetattr(&fd).map_err(|error| cannot_open(path, error))?;
        // The lock is for programs run by root, which the exclusive mode does not keep away.
        flock(&fd, FlockOperation::NonBlockingLockExclusive).map_err(|error| cannot_open(path, error))?;
        ioctl_tiocexcl(&fd).map_err(|error| cannot_open(path, error))?;
        let port = Self { fd };
        port.set_up(settings, setup)?;
        if let Some(rs485) = &setup.rs485 {
            rs485::switch_on(&port.fd, rs485, path)?;
        }
        tcflush(&port.fd, QueueSelector::IOFlush).map_err(|error| cannot_open(path, error))?;
        Ok(port)
    }

    fn set_up(&self, mut settings: Termios, setup: &Setup) -> Result<(), DriverError> {
        let path = &setup.path;
        let failed = |error: Errno| DriverError::fatal(format!("{path} cannot be set up: {error}"));
        settings.make_raw();
        // Nothing to read is then told apart from a port that is gone.
        settings.special_codes[SpecialCodeIndex::VMIN] = 1;
        settings.special_codes[SpecialCodeIndex::VTIME] = 0;
        let form = ControlModes::CSIZE | ControlModes::PARENB | ControlModes::PARODD | ControlModes::CSTOPB;
        settings.control_modes -= form | ControlModes::CRTSCTS | ControlModes::CMSPAR;
        let wanted = form_of(setup.frame);
        settings.control_modes |= wanted | ControlModes::CREAD | ControlModes::CLOCAL;
        settings.set_speed(setup.baud).map_err(|_| failed(Errno::INVAL))?;
        // Now, and not when all has been sent: waiting for that may take for ever.
        tcsetattr(&self.fd, OptionalActions::Now, &settings).map_err(failed)?;
        let got = tcgetattr(&self.fd).map_err(failed)?;
        let (speed, wanted_speed) = (u64::from(got.output_speed()), u64::from(setup.baud));
        if speed.abs_diff(wanted_speed) * 100 > wanted_speed * TOLERANCE {
            let message = format!("{path} cannot run at {wanted_speed} baud, the nearest it can is {speed}");
            return Err(DriverError::fatal(message));
        }
        if got.control_modes & form != wanted {
            // Pseudo terminals have no parity, and do not need one.
            warn!(port = %path, frame = %setup.frame, "the port does not take this frame in full");
        }
        Ok(())
    }

    /// Waits for characters until then, or until `wake` can be read.
    ///
    /// # Errors
    /// The port is gone.
    pub(crate) fn listen(&self, until: Instant, wake: &OwnedFd) -> io::Result<Woken> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
        match poll(&mut fds, Some(&left_until(until))) {
            Ok(0) => return Ok(Woken::Time),
            Err(Errno::INTR) => return Ok(Woken::Time),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        let [port, wake] = fds.map(|fd| fd.revents());
        Ok(if !wake.is_empty() {
            Woken::Call
        } else if port.is_empty() {
            Woken::Time
        } else {
            Woken::Characters
        })
    }

    /// The characters that have come in; 0 if none have.
    ///
    /// # Errors
    /// The port is gone.
    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        match read(&self.fd, into) {
            // A port that is there and empty says so by `AGAIN`. This is what is left of one that
            // was pulled out.
            Ok(0) => Err(io::ErrorKind::NotConnected.into()),
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands characters to the port, without waiting until they are sent.
    ///
    /// # Errors
    /// The port is gone, or takes nothing.
    pub(crate) fn write(&self, mut characters: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + STUCK;
        while !characters.is_empty() {
            match write(&self.fd, characters) {
                Ok(count) => characters = characters.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait_for_room(deadline)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self, deadline: Instant) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        match poll(&mut fds, Some(&left_until(deadline))) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::TimedOut, "the port takes no characters")),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Some ports stay exclusive even when nobody has them open.
        let _ = ioctl_tiocnxcl(&self.fd);
    }
}

/// Why [`Port::listen`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There is something to read.
    Characters,
    /// It is time.
    Time,
    /// The other descriptor can be read.
    Call,
}

/// What is left until then; none of the waits here is longer than an hour.
fn left_until(moment: Instant) -> Timespec {
    let left = moment.saturating_duration_since(Instant::now()).min(Duration::from_secs(3600));
    Timespec::try_from(left).unwrap_or_default()
}

fn form_of(frame: Frame) -> ControlModes {
    let parity = match frame.parity {
        Parity::None => ControlModes::empty(),
        Parity::Even => ControlModes::PARENB,
        Parity::Odd => ControlModes::PARENB | ControlModes::PARODD,
    };
    let stop = if frame.two_stop_bits { ControlModes::CSTOPB } else { ControlModes::empty() };
    let data = if frame.seven_bits { ControlModes::CS7 } else { ControlModes::CS8 };
    data | parity | stop
}

fn cannot_open(path: &str, error: Errno) -> DriverError {
    match error {
        _ if is_something_else(path) => DriverError::fatal(format!("{path} is not a serial port")),
        Errno::NOENT | Errno::NXIO | Errno::NODEV => DriverError::lost(format!("no such port {path}")),
        Errno::ACCESS | Errno::PERM => DriverError::fatal(format!(
            "no permission to open {path}: add the user that runs the gateway to the group dialout"
        )),
        Errno::BUSY | Errno::AGAIN => DriverError::lost(format!("{path} is in use by another program")),
        Errno::NOTTY => DriverError::fatal(format!("{path} is not a serial port")),
        _ => DriverError::lost(format!("{path} cannot be opened: {error}")),
    }
}

fn is_something_else(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.file_type().is_char_device())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(path: &str) -> Setup {
        Setup { path: path.into(), baud: 9600, frame: Frame::default(), rs485: None, echo: Echo::Off }
    }

    #[test]
    fn a_port_that_is_not_there_may_be_plugged_in_later() {
        let error = Port::open(&setup("/dev/no-such-port")).unwrap_err();
        assert!(matches!(error, DriverError::Lost(_)), "{error:?}");
        assert_eq!(error.to_string(), "no such port /dev/no-such-port");
    }

    #[test]
    fn what_is_no_port_will_never_be_one() {
        for path in ["/etc/passwd", "/dev", "/dev/null"] {
            let error = Port::open(&setup(path)).unwrap_err();
            assert!(matches!(error, DriverError::Fatal(_)), "{error:?}");
            assert_eq!(error.to_string(), format!("{path} is not a serial port"));
        }
    }

    #[test]
    fn a_missing_permission_says_what_to_do() {
        let error = cannot_open("/dev/ttyUSB0", Errno::ACCESS);
        assert!(matches!(error, DriverError::Fatal(_)), "{error:?}");
        assert!(error.to_string().contains("dialout"), "{error}");
    }
}
