#!/usr/bin/env bash
# The whole of Side on one machine: four nodes, each in its own process with its own key, that find each other without a server; lines typed into
# each of them; a payment; and blocks, whose ids and state roots must be equal on all four, as must the digests. node1 serves a page that shows all of it,
# live: on a desktop it is opened as soon as there are blocks (SIDE_DEMO_OPEN=no leaves that to you), and what it shows is checked in any case. On a terminal
# node1's console is then yours; without one the demo ends. Everything lives in a temporary folder and is gone afterwards. SIDE_PROFILE=release builds with
# optimisation first.
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
cargo build --locked --profile "$profile" -p side-node
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

# until_true SECONDS COMMAND…
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}

built=$SECONDS # what follows is measured from here
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

# The page, as soon as it has a block to show.
page_of() { "$side_node" status "$1" --json 2>/dev/null | sed -n 's/.*"page": *"\(http:[^"]*\)".*/\1/p'; }
# fetch URL: what is answered to a browser there.
fetch() {
  local rest=${1#http://}
  local at=${rest%%/*} socket
  exec {socket}<>"/dev/tcp/${at%:*}/${at##*:}" || return 1
  printf 'GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "${rest#*/}" "$at" >&"$socket"
  cat <&"$socket"
  exec {socket}>&-
}
# The height that node1's page shows; nothing while there is no block.
shown_height() { fetch "$page" 2>/dev/null | sed -n 's/.*<dt>Block<\/dt><dd><span class="value">\([1-9][0-9,]*\)<.*/\1/p'; }
page_has_a_block() { [ -n "$(shown_height)" ]; }
page=''
page_is_known() { page=$(page_of node1); [ -n "$page" ]; }
until_true $patience page_is_known || die "node1 serves no page"
until_true $patience page_has_a_block || die "the page at $page shows no block"
say "Look at it: $page"
printf '  block %s after %s seconds; the page goes on by itself\n' "$(shown_height)" $((SECONDS - built))
if [ -t 1 ] && [ "${SIDE_DEMO_OPEN:-yes}" != no ]; then
  if [ "$(uname)" = Darwin ]; then
    open "$page" >/dev/null 2>&1 || true
  elif [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && command -v xdg-open >/dev/null 2>&1; then
    (xdg-open "$page" >/dev/null 2>&1 &)
  elif [ -n "${SSH_CONNECTION:-}" ]; then
    at=${page#http://}; at=${at%/}
    printf '  from your own machine: ssh -L %s:%s %s, then open that address there\n' "${at##*:}" "$at" "$(hostname)"
  fi
fi

four_vote() { [ "$("$side_node" status node1 --json 2>/dev/null | grep -o '"elector"' | wc -l)" = 4 ]; }
until_true $patience four_vote || die "the four nodes did not all become voters"
type_line node1 "/send node2 25"
type_line node2 "/send node3 10"

# field NODE NAME: the first field of that name in the status.
field() { "$side_node" status "$1" --json 2>/dev/null | grep -o "\"$2\": *[^,}]*" | head -n 1 | cut -d : -f 2 | tr -d '" '; }
notes_of() { "$side_node" history "$1" --json 2>/dev/null | grep -o '"kind": *"note"' | wc -l; }
# Whether the four of them agree on everything that is compared here, and nothing waits for a block.
agreed() {
  local node name first
  for node in "${nodes[@]}"; do [ "$(notes_of "$node")" -ge $lines ] && [ "$(field "$node" pending)" = 0 ] || return 1; done
  for name in digest height block state_root; do
    first=$(field "${nodes[0]}" $name)
    [ -n "$first" ] && [ "$first" != null ] || return 1
    for node in "${nodes[@]}"; do [ "$(field "$node" $name)" = "$first" ] || return 1; done
  done
}
show() {
  local node
  printf '  %-6s %-7s %-16s %-16s %s\n' '' height block 'state root' digest
  for node in "${nodes[@]}"; do
    printf '  %-6s %-7s %.16s %.16s %.16s\n' "$node" "$(field "$node" height)" "$(field "$node" block)" "$(field "$node" state_root)" "$(field "$node" digest)"
  done
}

if ! until_true $patience agreed; then
  show
  die "the nodes do not agree after $patience seconds"
fi
say "No watcher: the four found each other. All hold the same $lines lines and the same blocks:"
show

if ! [ -t 0 ] || ! [ -t 1 ]; then
  exit 0
fi

# The person takes node1's place at the keyboard: its process ends and runs again on this terminal.
kill -TERM "${pid_of[node1]}" 2>/dev/null || true
wait "${pid_of[node1]}" 2>/dev/null || true
say "Now you are node1. Type a line and press return; /history, /send node2 10, /blocks, /peers, /status, /help; /quit ends the demo."
cat <<TXT
From another terminal you can follow another node, or write as it:
  SIDE_HOME=$SIDE_HOME $side_node history node2
  SIDE_HOME=$SIDE_HOME $side_node note node3 "hello from node3"

TXT
# Ctrl-C is for the console; the script goes on to its end either way.
trap : INT
"$side_node" run node1 || true
trap '' INT
if until_true 5 agreed; then say "At the end:"; else say "At the end (a node may still be catching up):"; fi
show
