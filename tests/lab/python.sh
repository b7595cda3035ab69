#!/bin/sh
# Prints the path of a Python that has what a lab needs; makes it first where it is missing.
#   python.sh LAB [PART]     LAB: ble, mqtt, mqttsn or mysensors; the Python is kept in target/LAB-lab in the repository
# What a lab needs stands in LAB/requirements.txt, what a part of it needs as well in LAB/PART/requirements.txt.
# Nothing is asked of the network as long as all of it is there in the versions named.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
lab=${1:?which lab: ble, mqtt, mqttsn or mysensors}
set -- -r "$here/$lab/requirements.txt" ${2:+-r "$here/$lab/$2/requirements.txt"}
folder=$here/../../target/$lab-lab
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
has_all() {
  "$folder/bin/python" - "$@" 2>/dev/null <<'END'
import sys
from importlib.metadata import version
for path in sys.argv[1:]:
    for line in [] if path == "-r" else open(path):
        name, _, wanted = line.partition("#")[0].strip().partition("==")
        assert not name or name.startswith("-") or version(name) == wanted
END
}
if ! has_all "$@"; then
  # One at a time: several tests may find it missing at once.
  exec 9>"$folder.lock"
  flock 9
  if ! has_all "$@"; then
    [ -x "$folder/bin/pip" ] || python3 -m venv "$folder" >&2
    "$folder/bin/python" -m pip install -q --disable-pip-version-check "$@" >&2
  fi
fi
echo "$folder/bin/python"
