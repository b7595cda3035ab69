#!/bin/sh
# Fuzzes one target: run.sh [TARGET] [SECONDS], with the target recovery (the queue's), answers (the
# Modbus driver's), adverts (the Bluetooth driver's), lines, messages or datagrams (those of the drivers for
# lines of text, MySensors and MQTT-SN), packets (what the local broker reads) or saved (what it keeps). Recovery
# for a minute, if nothing else is said.
# Needs a C++ compiler for libFuzzer itself, and no nightly: the flags are those of cargo-fuzz
# without the sanitizer, since neither has unsafe code.
set -eu
cd "$(dirname "$0")"
case "${1:-}" in
recovery | answers | adverts | lines | messages | datagrams | packets | saved) fuzzed="$1" && shift ;;
*) fuzzed=recovery ;;
esac
found=found
[ "$fuzzed" = recovery ] || found="found-$fuzzed"
target="$(rustc -vV | sed -n 's/^host: //p')"
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing" \
    cargo build --release --target "$target" --bin "$fuzzed"
mkdir -p "target/corpus-$fuzzed" target/artifacts "$found"
# What stops the fuzzer is kept in target/artifacts; once mended it belongs into the folder of what was found.
exec "target/$target/release/$fuzzed" "target/corpus-$fuzzed" "$found" \
    -artifact_prefix=target/artifacts/ -max_total_time="${1:-60}" -max_len=4096 -timeout=30 -rss_limit_mb=2048 \
    -print_final_stats=1
