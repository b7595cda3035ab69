#!/usr/bin/env bash
# The radio's tests on a real bluetoothd and kernel, for each kind of duplicate filter a controller may
# have, with and without advertisement monitors. Builds the guest first where it is missing.
#   test.sh [quick]     quick: one run instead of all
# Where a virtual machine cannot be had it says `skipped` and why.
# Host packages (Debian): qemu-system-x86 binutils cpio kmod xz-utils. A run takes about a minute and a half
# where there is no KVM.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../../../..
export BLE_LAB=${BLE_LAB:-${XDG_CACHE_HOME:-$HOME/.cache}/ble-lab}
skip() {
  echo "skipped: bluetoothd in a virtual machine: $*"
  exit 0
}
[[ $(uname -m) == x86_64 ]] || skip "the guest is for x86-64"
PATH="$PATH:/usr/sbin:/sbin"
for tool in qemu-system-x86_64 apt-get readelf cpio depmod xz; do
  command -v $tool >/dev/null || skip "there is no $tool (Debian: qemu-system-x86 binutils cpio kmod xz-utils)"
done
BLE_LAB_PYTHON=$(sh "$here/../../python.sh" ble vm) || skip "no Python with bumble"
export BLE_LAB_PYTHON
[[ -e $BLE_LAB/initramfs.cpio ]] || "$here/build.sh" "$BLE_LAB" || skip "the guest could not be built"
binary=$(cd "$root" && cargo test --workspace --locked --test vm --no-run --message-format=json 2>/dev/null |
  sed -n 's/.*"executable":"\([^"]*\/vm-[^"]*\)".*/\1/p' | tail -1)
failed=0
one() { # NAME FILTER BLUETOOTHD_ARGS ENVIRONMENT TESTS...
  local name=$1 filter=$2 args=$3 environment=$4 out
  shift 4
  echo "== $name"
  out=$(mktemp -d)
  cp "$binary" "$out/radio"
  if ! "$here/run.sh" -s "$out" -d "$filter" -a "$args" -t 400 -- \
    sh -c "$environment BLUETOOTHD_ARGS='$args' RUST_BACKTRACE=0 ./radio --ignored --nocapture --test-threads=1 $*" >"$out/log" 2>&1; then
    failed=1
    tail -40 "$out/log"
  fi
  grep -a -E "RESULT|controller:|^test result" "$out/log" || true
  [[ -n ${KEEP:-} ]] && echo "kept: $out" || rm -rf "$out"
}
if [[ ${1:-} == quick ]]; then
  one "addr, monitor" addr --experimental EXPECT_ALL=1
  exit $failed
fi
one "none, monitor: everything" none --experimental EXPECT_ALL=1
one "none, no monitor: everything" none "" EXPECT_ALL=1
for filter in data addr; do
  one "$filter, monitor" $filter --experimental EXPECT_ALL=1 a_counts
  one "$filter, no monitor" $filter "" "" a_counts
done
one "addr, passive" addr --experimental PASSIVE=1 a_counts
exit $failed
