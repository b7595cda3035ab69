#!/bin/sh
# The long runs of the serial line, about twelve minutes: a million requests over a pretend line with
# every fault, the share of the wire limit at three speeds, and ten minutes of a bad line in real time.
# Each fails at the first wrong value. The speeds mean something on a quiet machine only.
set -eu
cd "$(dirname "$0")/../.."
sh tests/prepare.sh
echo "load: $(cut -d' ' -f1-3 /proc/loadavg)"
exec cargo test -p wharf-modbus --lib --locked wire:: -- --ignored --nocapture --test-threads=1
