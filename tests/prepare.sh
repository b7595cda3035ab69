#!/bin/sh
# Installs the counterparts the tests talk to, if they are missing: Mosquitto (broker and clients),
# pymodbus and libmodbus, what makes an ext4 whose power can be cut, and a D-Bus for the mock of
# BlueZ, from Debian's packages; and below target/ the mock's own Python, one with pymysensors, one with the MQTT
# clients of others, and their like from npm, with a Node.js of its own where the machine has none.
set -eu
need=""
command -v mosquitto >/dev/null 2>&1 || [ -x /usr/sbin/mosquitto ] || need="$need mosquitto"
command -v mosquitto_pub >/dev/null 2>&1 || need="$need mosquitto-clients"
[ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import pymodbus.server' 2>/dev/null ||
  need="$need python3-pymodbus python3-serial-asyncio"
command -v mkfs.ext4 >/dev/null 2>&1 || [ -x /usr/sbin/mkfs.ext4 ] || need="$need e2fsprogs"
[ -e /usr/include/modbus/modbus.h ] || need="$need libmodbus-dev"
command -v cc >/dev/null 2>&1 || need="$need gcc libc6-dev"
command -v dbus-daemon >/dev/null 2>&1 || need="$need dbus-daemon"
python3 -c 'import ensurepip' 2>/dev/null || need="$need python3-venv"
if [ -n "$need" ]; then
  echo "installing:$need"
  as_root=""
  [ "$(id -u)" = 0 ] || as_root="sudo"
  export DEBIAN_FRONTEND=noninteractive
  $as_root apt-get update -qq
  # shellcheck disable=SC2086 # a list of words is what is wanted
  $as_root apt-get install -y -qq --no-install-recommends $need
fi
sh "$(dirname "$0")/lab/python.sh" mysensors >/dev/null || echo "no pymysensors: tests with a controller say skipped"
sh "$(dirname "$0")/lab/python.sh" ble >/dev/null || echo "no Python for the mock of BlueZ: its tests say skipped"
sh "$(dirname "$0")/lab/python.sh" mqtt >/dev/null || echo "no paho-mqtt: tests with MQTT clients of others say skipped"
sh "$(dirname "$0")/lab/python.sh" mqttsn >/dev/null || echo "no mqttsn: the test with a public MQTT-SN client says skipped"
sh "$(dirname "$0")/lab/mqtt/node.sh" >/dev/null || echo "no mqtt of npm: tests with web clients say skipped"
