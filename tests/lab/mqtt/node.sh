#!/bin/sh
# Prints the path of a folder with `node`, `web.mjs` and the npm package mqtt, the client of browsers and of Node-RED;
# makes it first where it is missing. Fails where the network is needed for that and not there.
#   node.sh [FOLDER]     default FOLDER: target/mqtt-node in the repository
# Where there is no Node.js with npm, one comes from PyPI into the lab's Python: 61 MB in a few seconds, without root.
# Debian's npm would be 357 packages, and its nodejs alone cannot fetch anything.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../../../target/mqtt-node}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
is_ready() { [ -e "$folder/ready-5.16.0" ] && [ -x "$folder/node" ]; }
if ! is_ready; then
  # One at a time: several tests may find it missing at once.
  exec 9>"$folder.lock"
  flock 9
  if ! is_ready; then
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
      python=$(sh "$here/../python.sh" mqtt node)
      PATH="$(dirname "$python"):$PATH"
      export PATH
    fi
    cp "$here/package.json" "$here/package-lock.json" "$folder"
    (cd "$folder" && npm ci --silent --no-audit --no-fund --ignore-scripts >&2)
    ln -sfn "$(node -p process.execPath)" "$folder/node"
    touch "$folder/ready-5.16.0"
  fi
fi
# Packages are looked for beside the script.
cp "$here/web.mjs" "$folder"
echo "$folder"
