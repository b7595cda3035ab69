#!/bin/sh
# Prints the path of a Python with pymysensors, the library by which Home Assistant speaks MySensors;
# makes it first where it is missing.
#   python.sh [FOLDER]     default FOLDER: target/mysensors-lab in the repository
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../../../target/mysensors-lab}
need="pymysensors==0.26.0 paho-mqtt==2.1.0"
has="import mysensors, paho.mqtt.client"
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
