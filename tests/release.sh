#!/bin/sh
# What takes too long for every push and has to hold before a release.
#   release.sh [--quick] [PART…]    all parts, if none is named; `bench` and `fuzz` name all of theirs
# Takes about four hours, on a machine that does nothing else; --quick takes minutes: short runs of debug builds, which
# show that everything still works, and no figures worth keeping. What a part says is in target/release-check/PART.log.
# WHARF_SOAK_SECONDS (7200) and WHARF_FUZZ_SECONDS (600, each target) set other durations.
set -eu
cd "$(dirname "$0")/.."

all="soak outage serial vm
  bench-adverts bench-gateway bench-lines bench-local_broker bench-polling bench-queue
  fuzz-recovery fuzz-answers fuzz-adverts fuzz-lines fuzz-messages fuzz-datagrams fuzz-packets fuzz-saved"
usage() {
  sed -n '2,/^set -eu/s/^# //p' "$0"
  echo "parts: $(echo $all)"
}

quick=""
parts=""
for word in "$@"; do
  case "$word" in
  --quick) quick=1 ;;
  -h | --help) usage && exit 0 ;;
  *)
    named=""
    for part in $all; do
      case "$part" in "$word" | "$word"-*) named="$named $part" ;; esac
    done
    [ -n "$named" ] || { usage >&2 && exit 2; }
    parts="$parts$named"
    ;;
  esac
done
parts="${parts:-$all}"

# either FULL QUICK: the one that counts.
either() { if [ -n "$quick" ]; then echo "$2"; else echo "$1"; fi; }

build=$(either --release "")
bench=$(either "" "--profile dev")
WHARF_SOAK_SECONDS="${WHARF_SOAK_SECONDS:-$(either 7200 20)}"
WHARF_FUZZ_SECONDS="${WHARF_FUZZ_SECONDS:-$(either 600 5)}"
PATH="$PATH:/usr/sbin"
export WHARF_SOAK_SECONDS PATH

# ignored ARGS… FILTER: runs an ignored test, which has to be there. Its words go to the log whatever becomes of it.
ignored() {
  said=$(cargo test --locked "$@" -- --ignored --nocapture 2>&1) || { echo "$said" && return 1; }
  echo "$said"
  echo "$said" | grep -q '^test result: ok\. [1-9]'
}

# shellcheck disable=SC2046,SC2086 # words are what is wanted
run() {
  case "$1" in
  soak) ignored $build --test gateway bluetooth_soak ;;
  outage)
    if [ -n "$quick" ]; then echo "skipped: there is no short form of it"; else
      ignored $build --test gateway two_million
    fi
    ;;
  serial) if [ -n "$quick" ]; then ignored -p wharf-modbus --lib a_million; else sh tests/bench/serial.sh; fi ;;
  vm) bash tests/lab/ble/vm/test.sh $(either "" quick) ;;
  bench-adverts) cargo bench --locked $bench -p wharf-ble --bench adverts -- $(either 1 0.1) ;;
  bench-gateway | bench-queue) cargo bench --locked $bench --bench "${1#bench-}" -- $(either 300000 20000) ;;
  bench-local_broker) cargo bench --locked $bench --bench local_broker -- $(either 200000 20000) ;;
  bench-lines) cargo bench --locked $bench --bench lines -- $(either 20 2) ;;
  bench-polling) cargo bench --locked $bench --bench polling -- $(either 10 2) ;;
  fuzz-*) sh tests/fuzz/run.sh "${1#fuzz-}" "$WHARF_FUZZ_SECONDS" ;;
  esac
}

sh tests/prepare.sh
logs="${CARGO_TARGET_DIR:-target}/release-check"
mkdir -p "$logs"
failed=0
table=""
for part in $parts; do
  log="$logs/$part.log"
  echo "== $part, see $log"
  begin=$(date +%s)
  if ! (run "$part") >"$log" 2>&1; then
    verdict=failed
    failed=1
    tail -n 40 "$log"
  elif grep -q '^skipped: ' "$log"; then
    verdict="$(sed -n '/^skipped: /{p;q;}' "$log")"
  else
    verdict=ok
  fi
  table="$table$(printf '%-14s %6d s  %s' "$part" $(($(date +%s) - begin)) "$verdict")
"
done
printf '\n%s' "$table"
exit $failed
