//! One read, asked again where that is worth it.

use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;
use wharf_contract::Port;

use super::Session;
use crate::decode::Raw;
use crate::line::{Fault, Limits};
use crate::link::{Device, Table};

/// Over RTU, a unit that owes an answer is asked again after so many timeouts, and no sooner than
/// this: its late answer would look like the next one.
const OWED_TIMEOUTS: u32 = 4;
const OWED: Duration = Duration::from_secs(1);

impl Session<'_> {
    /// One read. A connection that turns out to be broken is replaced and the read asked again,
    /// once: many devices close connections that were idle. A silent device is asked again as
    /// often as its settings say, unless it is only being probed; over RTU that is left to `poll`.
    /// Nothing is begun after `send_by`, so it ends within one timeout of that.
    pub(crate) async fn exchange(
        &mut self,
        device: usize,
        table: Table,
        start: u16,
        count: u16,
        send_by: Option<Instant>,
        port: &Port,
    ) -> Result<Raw, Fault> {
        let Device { unit_id, timeout, retries, .. } = self.link.devices[device];
        let at_once = !self.states[device].breaker.is_open() && !self.link.is_rtu();
        let mut retries = if at_once { retries } else { 0 };
        let mut may_reconnect = true;
        let limits = Limits { send_by, ..timeout.into() };
        loop {
            let outcome = self.line_to(device).read(unit_id, table, start, count, limits).await;
            let again = !limits.are_over(Instant::now());
            match &outcome {
                Err(Fault::Broken(_)) if again && may_reconnect => may_reconnect = false,
                Err(Fault::Silent(_)) if again && retries > 0 && !self.stop.is_cancelled() => {
                    // A command does not wait until a device has been given up.
                    self.gave_way = send_by.is_none() && port.is_command_waiting();
                    if self.gave_way {
                        return outcome;
                    }
                    retries -= 1;
                }
                Err(Fault::Silent(_)) if self.link.is_rtu() => {
                    self.quiet_until = Instant::now() + timeout;
                    return outcome;
                }
                _ => return outcome,
            }
            if let Err(fault) = &outcome {
                debug!(link = %self.link.name, reason = fault.reason(), "asking again");
            }
            if !self.line.is_connected() {
                match limits.in_time(self.reconnect()).await {
                    Some(Ok(())) => {}
                    Some(Err(error)) => return Err(Fault::Broken(error.to_string())),
                    None => return outcome,
                }
            }
        }
    }

    /// Over RTU a device is not asked again at once. The others have the line meanwhile. Elsewhere it was
    /// asked again already, unless a command had to go before.
    pub(super) fn is_asked_again(&mut self, device: usize, index: usize, fault: Option<&Fault>) -> bool {
        let Device { timeout, retries, .. } = self.link.devices[device];
        let state = &mut self.states[device];
        let is_silent = matches!(fault, Some(Fault::Silent(_)));
        let gave_way = std::mem::take(&mut self.gave_way);
        if !is_silent || !(gave_way || self.link.is_rtu()) || state.breaker.is_open() || state.retried >= retries {
            state.retried = 0;
            return false;
        }
        state.retried += 1;
        let rest = if self.link.is_rtu() { (timeout * OWED_TIMEOUTS).max(OWED) } else { Duration::ZERO };
        self.schedule.again(device, index, Instant::now() + rest);
        true
    }
}
