#!/bin/sh
# Fuzzes the queue's recovery: run.sh [SECONDS]. A minute, if nothing else is said.
# Needs a C++ compiler for libFuzzer itself, and no nightly: the flags are those of cargo-fuzz
# without the sanitizer, since the queue has no unsafe code.
set -eu
cd "$(dirname "$0")"
target="$(rustc -vV | sed -n 's/^host: //p')"
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing" \
    cargo build --release --target "$target"
mkdir -p target/corpus target/artifacts
# What stops the fuzzer is kept in target/artifacts; once mended it belongs into found/.
exec "target/$target/release/recovery" target/corpus found \
    -artifact_prefix=target/artifacts/ -max_total_time="${1:-60}" -max_len=4096 -timeout=30 -rss_limit_mb=2048 \
    -print_final_stats=1
