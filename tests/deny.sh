#!/bin/sh
# Licences, bans, sources and advisories of every dependency. Not part of every run: installing
# cargo-deny takes minutes.
set -eu
cd "$(dirname "$0")/.."
command -v cargo-deny >/dev/null 2>&1 || cargo install --locked cargo-deny
# The list of advisories is fetched from the network; without it the rest is still checked.
cargo deny --all-features --locked check licenses bans sources
cargo deny --all-features --locked check advisories ||
  { [ "${OFFLINE:-}" = 1 ] && echo "advisories not checked: no network"; }
