#!/usr/bin/env bash
# The whole of Side on one machine: a watcher and four nodes, each in its own process with its own key; lines typed into each
# node; and the four digests, which must be equal. On a terminal node1's console is then yours; without one the demo ends.
# Everything lives in a temporary folder and is gone afterwards. SIDE_PROFILE=release builds with optimisation first.
set -euo pipefail
cd "$(dirname "$0")/.."

patience=60 # seconds that any single step may take
nodes=(node1 node2 node3 node4)
profile=${SIDE_PROFILE:-dev}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
die() {
  printf '\nThe demo failed: %s\n' "$*" >&2
  for log in "$work"/*.log; do
    [ -s "$log" ] && printf '\n-- the last lines of %s\n' "$(basename "$log")" >&2 && tail -n 15 "$log" >&2
  done
  exit 1
}

say "Building (the first time takes some minutes)"
cargo build --locked --profile "$profile" -p side-watcher -p side-node
folder=$profile
[ "$profile" != dev ] || folder=debug
bin=$(cd "${CARGO_TARGET_DIR:-target}/$folder" && pwd)
side_node=$bin/side-node

work=$(mktemp -d "${TMPDIR:-/tmp}/side-demo.XXXXXX")
export SIDE_HOME=$work/home
mkdir -m 700 "$SIDE_HOME"
pids=()

# Ends everything that this script started, politely first.
cleanup() {
  trap '' INT TERM HUP
  for pid in "${pids[@]:-}"; do [ -n "$pid" ] && kill -TERM "$pid" 2>/dev/null || true; done
  for _ in $(seq 50); do
    alive=0
    for pid in "${pids[@]:-}"; do [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && alive=1; done
    [ $alive = 0 ] && break
    sleep 0.1
  done
  for pid in "${pids[@]:-}"; do [ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
ready() {
  { exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || return 1
  printf 'GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' >&3
  local answer=
  read -r -t 5 answer <&3 || true
  exec 3>&-
  [[ $answer == *" 200 "* ]]
}
# until_true SECONDS COMMAND…
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}

port=8080
if port_taken $port; then
  until ! port_taken $port; do port=$((20000 + RANDOM % 20000)); done
  echo "Port 8080 is taken; the watcher listens on $port instead."
fi
export SIDE_RELAY=ws://127.0.0.1:$port

say "Starting the watcher on 127.0.0.1:$port"
"$bin/side-watcher" --listen "127.0.0.1:$port" >"$work/watcher.log" 2>&1 </dev/null &
pids+=($!)
watcher=$!
watcher_ready() { kill -0 "$watcher" 2>/dev/null || die "the watcher ended"; ready; }
until_true $patience watcher_ready || die "the watcher did not become ready"

say "Making four nodes"
for node in "${nodes[@]}"; do
  "$side_node" init "$node" || die "side-node init $node"
done

# A node reads what is typed from a pipe that this script holds open.
declare -A keyboard pid_of
for node in "${nodes[@]}"; do
  mkfifo "$work/$node.keys"
  "$side_node" run "$node" <"$work/$node.keys" >"$work/$node.log" 2>&1 &
  pids+=($!)
  pid_of[$node]=$!
  exec {fd}>"$work/$node.keys"
  keyboard[$node]=$fd
done

type_line() { # type_line NODE TEXT
  printf '  %s> %s\n' "$1" "$2"
  kill -0 "${pid_of[$1]}" 2>/dev/null || die "$1 ended"
  printf '%s\n' "$2" >&"${keyboard[$1]}"
}

say "Typing into each"
type_line node1 "good morning from the bakery"
type_line node2 "the mill delivers forty sacks on Tuesday"
type_line node3 "the dairy is closed on Monday"
type_line node4 "the market opens at seven"
type_line node1 "then we bake on Wednesday"
type_line node3 "and the butter is with you on Tuesday evening"
lines=6

notes_of() { "$side_node" history "$1" --json 2>/dev/null | grep -o '"kind": *"note"' | wc -l; }
digest_of() { "$side_node" history "$1" --json 2>/dev/null | grep -o '"digest": *"[^"]*"' | head -n 1 | cut -d '"' -f 4; }
agreed() {
  local node first digest
  for node in "${nodes[@]}"; do [ "$(notes_of "$node")" -ge $lines ] || return 1; done
  first=$(digest_of "${nodes[0]}")
  [ -n "$first" ] || return 1
  for node in "${nodes[@]}"; do
    digest=$(digest_of "$node")
    [ "$digest" = "$first" ] || return 1
  done
}
show_digests() { for node in "${nodes[@]}"; do printf '  %s  %s\n' "$node" "$(digest_of "$node")"; done; }

if ! until_true $patience agreed; then
  show_digests
  die "the nodes do not agree after $patience seconds"
fi
say "All four hold the same history of $lines lines. Their digests:"
show_digests

if ! [ -t 0 ] || ! [ -t 1 ]; then
  exit 0
fi

# The person takes node1's place at the keyboard: its process ends and runs again on this terminal.
kill -TERM "${pid_of[node1]}" 2>/dev/null || true
wait "${pid_of[node1]}" 2>/dev/null || true
say "Now you are node1. Type a line and press return; /history, /peers, /status, /help; /quit ends the demo."
cat <<TXT
From another terminal you can follow another node, or write as it:
  SIDE_HOME=$SIDE_HOME $side_node history node2
  SIDE_HOME=$SIDE_HOME $side_node note node3 "hello from node3"

TXT
# Ctrl-C is for the console; the script goes on to its end either way.
trap : INT
"$side_node" run node1 || true
trap '' INT
if until_true 5 agreed; then
  say "The four digests at the end:"
else
  say "The digests (a node may still be catching up):"
fi
show_digests
