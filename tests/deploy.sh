#!/bin/sh
# Keeps deploy/ honest: every wharf command there exists, a wrong site file ends with the exit code
# the unit does not retry, a secret is found where README.md says, and systemd understands the unit.
# Not part of every run: systemd-analyze is not everywhere. WHARF names a binary that is built.
set -eu
cd "$(dirname "$0")/.."
if [ -z "${WHARF:-}" ]; then
  cargo build --locked --quiet
  WHARF="${CARGO_TARGET_DIR:-target}/debug/wharf"
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() {
  echo "deploy: $*" >&2
  exit 1
}

# Commands stand in prose as `wharf run …`, in shell lines, in ExecStart=, and in CMD ["run", …].
commands=$({
  grep -rhoE '(`|bin/|-u wharf |--rm |tmpfs /tmp )wharf [a-z]+' deploy | sed 's/.*wharf //'
  sed -n 's/^CMD \["\([a-z]*\)".*/\1/p' deploy/Dockerfile
} | sort -u)
for expected in check demo run; do
  echo "$commands" | grep -qx "$expected" || fail "no wharf $expected found in deploy/; is the search still right?"
done
for command in $commands; do
  "$WHARF" "$command" --help >/dev/null 2>&1 || fail "wharf $command stands in deploy/ and does not exist"
done

unretried=$(sed -n 's/^RestartPreventExitStatus=//p' deploy/wharf.service)
echo 'gatewya: g' >"$scratch/wrong.yaml"
for command in run check; do
  code=0
  "$WHARF" "$command" "$scratch/wrong.yaml" >/dev/null 2>&1 || code=$?
  [ "$code" = "$unretried" ] || fail "wharf $command ends with $code for a wrong site file, not $unretried"
done

# An absolute path stands for /run/credentials/wharf.service/central.
echo hunter2 >"$scratch/central"
uplink='gateway: g\nuplinks:\n  u:\n    url: mqtt://a\n    username: u\n    password: '
# shellcheck disable=SC2059,SC2016 # the format is ours, and ${…} is for wharf
{
  printf "$uplink%s\n" '${file:central}' >"$scratch/relative.yaml"
  printf "$uplink%s\n" "\${file:$scratch/central}" >"$scratch/absolute.yaml"
  printf "$uplink%s\n" '${file:${env:CREDENTIALS_DIRECTORY}/central}' >"$scratch/nested.yaml"
}
for site in relative absolute; do
  "$WHARF" check "$scratch/$site.yaml" >/dev/null || fail "a secret in a file, named by a path that is $site"
done
! CREDENTIALS_DIRECTORY="$scratch" "$WHARF" check "$scratch/nested.yaml" >/dev/null 2>&1 ||
  fail "a reference inside a reference works now; deploy/README.md says it does not"

if command -v systemd-analyze >/dev/null 2>&1; then
  # The binary need not be installed where the unit expects it.
  sed 's#^ExecStart=/usr/local/bin/wharf#ExecStart=/bin/true#' deploy/wharf.service >"$scratch/wharf.service"
  said=$(systemd-analyze verify --man=no "$scratch/wharf.service" 2>&1) || fail "$said"
  # Known since systemd 254; older ones ignore them, as the unit's comment says.
  said=$(echo "$said" | grep -vE "Unknown key (name )?'Restart(Steps|MaxDelaySec)'" || true)
  [ -z "$said" ] || fail "$said"
  # 1.5 when this was written, of 10 for a service that may do everything.
  systemd-analyze security --offline=true --threshold=20 --no-pager "$scratch/wharf.service" >"$scratch/score" 2>&1 ||
    fail "$(tail -1 "$scratch/score")"
else
  echo "deploy: no systemd-analyze here; the unit was not checked"
fi
echo "deploy: well"
