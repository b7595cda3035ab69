#!/bin/sh
# Prints the path of a folder with `web.mjs` and the npm package mqtt, the client of browsers and of Node-RED;
# makes it first where it is missing. Fails where there is no Node.js.
#   node.sh [FOLDER]     default FOLDER: target/mqtt-node in the repository
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../../../target/mqtt-node}
command -v node >/dev/null && command -v npm >/dev/null || { echo "there is no node or no npm" >&2; exit 1; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
if [ ! -e "$folder/ready-5.16.0" ]; then
  # One at a time: several tests may find it missing at once.
  exec 9>"$folder.lock"
  flock 9
  if [ ! -e "$folder/ready-5.16.0" ]; then
    cp "$here/package.json" "$here/package-lock.json" "$folder"
    (cd "$folder" && npm ci --silent --no-audit --no-fund --ignore-scripts >&2)
    touch "$folder/ready-5.16.0"
  fi
fi
# Packages are looked for beside the script.
cp "$here/web.mjs" "$folder"
echo "$folder"
