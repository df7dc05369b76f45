# shellcheck shell=bash
# What the scripts beside this file share; it is sourced, not run.
#
#   script                          here: a Turnpike of this build over memif, on two cores
#   script CLIENTS_PCI PEERS_PCI    bare metal: two NICs bound to vfio-pci and a TURN server behind them
#
# Bare metal takes the server from TURN_SERVER=ADDRESS:PORT, TURN_USER and TURN_PASSWORD, and more flags of
# turnpike-pktgen (--clients, --peers, --gateway, …) from PKTGEN_FLAGS. TURNPIKE_BUILD names another build directory.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
build=${TURNPIKE_BUILD:-$root/build}
name=$(basename "$0")
seconds=${SECONDS_EACH:-1}
scratch=$(mktemp -d)
relay=
ceiling=0
read -ra flags <<<"${PKTGEN_FLAGS:-}"

fail() {
  echo "$name: $1" >&2
  exit "${2:-1}"
}

stop_relay() {
  [ -z "$relay" ] || { kill "$relay" 2>/dev/null || true; wait "$relay" 2>/dev/null || true; }
  relay=
  rm -f "$scratch/memif.sock"
}

finish() {
  stop_relay
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

[ "$(id -u)" -eq 0 ] || fail "DPDK wants root: sudo $0" 2
[ -x "$build/bench/pktgen/turnpike-pktgen" ] ||
  fail "no generator in $build: meson setup $build -Dbench=true && ninja -C $build" 2

case $# in
  0)
    bare_metal=no
    link=(--port "memif:$scratch/memif.sock")
    [ "$(nproc)" -ge 2 ] || fail "needs two cores, one for the relay and one for the generator"
    ;;
  2)
    bare_metal=yes
    [ -n "${TURN_SERVER:-}" ] || fail "which server? TURN_SERVER=192.0.2.1:3478 TURN_USER=… TURN_PASSWORD=… $0 $*" 2
    link=(--port "$1" --peer-port "$2" --server "$TURN_SERVER" --user "${TURN_USER:-alice}"
      --password "${TURN_PASSWORD:-secret}")
    ;;
  *) fail "expected no arguments, or two PCI addresses like 0000:01:00.0 0000:01:00.1; found $*" 2 ;;
esac

# Megapackets a second of the generator looped to itself, told before any figure. Measured while the relay is not yet
# there: on two cores it would be in the way.
tell_ceiling() {
  local line
  line=$("$build/bench/pktgen/turnpike-pktgen" --loop --seconds 0.5 "${flags[@]}" 2>/dev/null | tail -n 1)
  ceiling=$(field mpps "$line")
  echo "the generator itself: $ceiling Mpps"
}

# start_relay ALLOCATIONS: on bare metal the relay is the operator's.
start_relay() {
  [ $bare_metal = no ] || return 0
  local core
  core=$(taskset -pc $$ | sed 's/.*: //; s/[-,].*//')
  cat >"$scratch/relay.toml" <<TOML
realm = "example.org"
worker_cores = [$core]
[[port]]
device = "memif:$scratch/memif.sock"
memif_server = true
next_hop = "02:00:00:00:00:02"
exception = "none"
[[listener]]
address = "10.203.0.1:3478"
[[listener]]
address = "[fd00:203::1]:3478"
[[relay]]
address = "10.203.0.0/28"
[[relay]]
address = "fd00:203::/124"
[auth]
users = [{ name = "alice", password = "secret" }]
[peers]
allow = ["10.205.0.0/16", "fd00:205::/64"]
[limits]
allocations = $1
allocations_per_user = 0
requests_per_source_per_second = 0
challenges_per_source_per_second = 0
challenges_per_second = 0
[metrics]
enabled = false
TOML
  "$build/src/turnpike" --config "$scratch/relay.toml" >"$scratch/relay.log" 2>&1 &
  relay=$!
  for _ in $(seq 200); do
    ! grep -q ' ready$' "$scratch/relay.log" || return 0
    kill -0 $relay 2>/dev/null || break
    sleep 0.05
  done
  cat "$scratch/relay.log" >&2
  fail "the relay does not start"
}

# The generator's last line of JSON; what it says for people goes to stderr.
generate() {
  "$build/bench/pktgen/turnpike-pktgen" "${link[@]}" --seconds "$seconds" --ceiling "$ceiling" "${flags[@]}" "$@" | tail -n 1
}

# field NAME JSON…: the first number of that name.
field() {
  local wanted=$1
  shift
  sed -n "s/.*/&/; s/\"$wanted\": \([0-9.e+-]*\).*/\n\1/; s/.*\n//p" <<<"$*" | head -n 1
}

calculate() { awk "BEGIN { printf \"%.0f\", $1 }"; }
