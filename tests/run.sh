#!/bin/sh
# Everything that has to hold before a change is taken: format, lints, all tests.
# As root, with loop devices and the right to mount, the power-cut and full-disk tests run as well;
# elsewhere they say `skipped` and why.
set -eu
cd "$(dirname "$0")/.."
sh tests/prepare.sh
PATH="$PATH:/usr/sbin"
export PATH
cargo fmt --all -- --check
cargo clippy --workspace --all-targets --locked -- -D warnings
# Without Bluetooth, too.
cargo clippy --package wharf --no-default-features --lib --bins --locked -- -D warnings
# The tests mostly wait: for brokers, lines and clocks.
RUST_TEST_THREADS="${RUST_TEST_THREADS:-8}" cargo test --workspace --locked
