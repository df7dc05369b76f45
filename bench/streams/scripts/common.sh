# shellcheck shell=bash
# What the scripts beside this file share; it is sourced, not run.
#
#   script [TRANSPORT]     here: a Turnpike of this build behind a veth, in two namespaces of its own
#   TURN_SERVER=ADDRESS:PORT script [TRANSPORT]     a TURN server on another host
#
# TRANSPORT is tcp (the default), tls or dtls. Another host's server takes TURN_USER and TURN_PASSWORD, and must let its
# clients reach an address of this host as peer: PEERS=ADDRESS where it isn't the one that they come from. CLIENTS says
# how many, STREAMGEN_FLAGS adds flags of turnpike-streamgen, TURNPIKE_BUILD names another build directory.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
build=${TURNPIKE_BUILD:-$root/build}
name=$(basename "$0")
transport=${1:-tcp}
clients=${CLIENTS:-1000}
seconds=${SECONDS_EACH:-5}
scratch=$(mktemp -d)
relay=
namespaces=()
read -ra flags <<<"${STREAMGEN_FLAGS:-}"

fail() {
  echo "$name: $1" >&2
  exit "${2:-1}"
}

stop_relay() {
  [ -z "$relay" ] || { kill "$relay" 2>/dev/null || true; wait "$relay" 2>/dev/null || true; }
  relay=
}

finish() {
  stop_relay
  for one in "${namespaces[@]}"; do ip netns del "$one" 2>/dev/null || true; done
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

case $transport in
  tcp | tls | dtls) ;;
  *) fail "expected tcp, tls or dtls, found $transport" 2 ;;
esac
[ -x "$build/bench/streams/turnpike-streamgen" ] ||
  fail "no generator in $build: meson setup $build -Dbench=true && ninja -C $build" 2

if [ -n "${TURN_SERVER:-}" ]; then
  here=no
  link=(--server "$TURN_SERVER" --user "${TURN_USER:-alice}" --password "${TURN_PASSWORD:-secret}")
  [ -z "${PEERS:-}" ] || link+=(--peers "$PEERS")
  inside=()
else
  here=yes
  [ "$(id -u)" -eq 0 ] || fail "namespaces want root: sudo $0" 2
  [ "$(nproc)" -ge 2 ] || fail "needs two cores, one for the relay and one for the generator"
  gen=streams-$$-gen srv=streams-$$-srv
  namespaces=("$gen" "$srv")
  ip netns add "$gen"
  ip netns add "$srv"
  ip link add g0 netns "$gen" numrxqueues 1 numtxqueues 1 type veth \
    peer name s0 netns "$srv" numrxqueues 1 numtxqueues 1
  ip -n "$gen" addr add 10.203.0.254/24 dev g0
  ip -n "$gen" addr add 10.205.0.1/32 dev g0
  ip -n "$srv" addr add 10.203.0.1/24 dev s0
  for one in "$gen" "$srv"; do ip -n "$one" link set lo up; done
  ip -n "$gen" link set g0 up
  ip -n "$srv" link set s0 up
  ip -n "$srv" route add 10.205.0.0/16 via 10.203.0.254
  link=(--server 10.203.0.1:3478 --peers 10.205.0.1)
  inside=(ip netns exec "$gen")
fi
link+=(--transport "$transport")

# start_relay: another host's is the operator's.
start_relay() {
  [ $here = yes ] || return 0
  local certificate=
  if [ "$transport" != tcp ]; then
    [ -e "$scratch/key.pem" ] ||
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=turn.example.org \
        -keyout "$scratch/key.pem" -out "$scratch/cert.pem" 2>/dev/null
    certificate="[[certificate]]
chain = \"$scratch/cert.pem\"
key = \"$scratch/key.pem\""
  fi
  cat >"$scratch/relay.toml" <<TOML
realm = "example.org"
hugepages = false
idle_sleep_us = 50
[[port]]
device = "af_xdp:s0"
[[listener]]
address = "10.203.0.1:3478"
transport = "$transport"
$certificate
[[relay]]
address = "10.203.0.1"
[streams]
connections = $((clients + 1000))
connections_per_source = 0
[auth]
users = [{ name = "alice", password = "secret" }]
[peers]
allow = ["10.205.0.0/16"]
[limits]
allocations = $((clients + 1000))
allocations_per_user = 0
requests_per_source_per_second = 0
challenges_per_source_per_second = 0
challenges_per_second = 0
[metrics]
enabled = false
TOML
  ip netns exec "$srv" "$build/src/turnpike" --config "$scratch/relay.toml" >"$scratch/relay.log" 2>&1 &
  relay=$!
  for _ in $(seq 400); do
    ! grep -q ' ready$' "$scratch/relay.log" || return 0
    kill -0 $relay 2>/dev/null || break
    sleep 0.05
  done
  cat "$scratch/relay.log" >&2
  fail "the relay does not start"
}

generate() {
  "${inside[@]}" "$build/bench/streams/turnpike-streamgen" "${link[@]}" --clients "$clients" --seconds "$seconds" \
    "${flags[@]}" "$@"
}

# field NAME JSON…: the first number of that name.
field() {
  local wanted=$1
  shift
  sed -n "s/.*/&/; s/\"$wanted\": \([0-9.e+-]*\).*/\n\1/; s/.*\n//p" <<<"$*" | head -n 1
}

calculate() { awk "BEGIN { printf \"%.$2f\", $1 }"; }
