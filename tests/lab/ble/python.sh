#!/bin/sh
# Prints the path of a Python that has what the Bluetooth labs need; makes it first where it is missing.
#   python.sh [FOLDER]     default FOLDER: target/ble-lab in the repository
# With `vm` as a second word it has what the virtual machine's controller needs as well.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../../../target/ble-lab}
need="dbus-fast==5.2.0"
has="import dbus_fast"
if [ "${2:-}" = vm ]; then
  need="$need bumble==0.0.236"
  has="$has, bumble"
fi
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
if ! "$folder/bin/python" -c "$has" 2>/dev/null; then
  # One at a time: several tests may find it missing at once.
  exec 9>"$folder.lock"
  flock 9
  if ! "$folder/bin/python" -c "$has" 2>/dev/null; then
    [ -x "$folder/bin/pip" ] || python3 -m venv "$folder" >&2
    # shellcheck disable=SC2086 # a list of words is what is wanted
    "$folder/bin/python" -m pip install -q --disable-pip-version-check $need >&2
  fi
fi
echo "$folder/bin/python"
