#!/usr/bin/env bash
# Bitcoin on one machine: a devnet (Bitcoin Core's own validation), two nodes with wallets, a payment from one to the other, and two hash time locked
# contracts. Everything lives in a temporary folder and is gone afterwards. SIDE_PROFILE=release builds with optimisation first.
set -euo pipefail
cd "$(dirname "$0")/.."

patience=60 # seconds that any single step may take
profile=${SIDE_PROFILE:-dev}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '\033[2m$ side-node %s\033[0m\n' "$*"; }
die() {
  printf '\nThe demo failed: %s\n' "$*" >&2
  [ -s "$work/devnet.log" ] && printf '\n-- the last lines of the devnet\n' >&2 && tail -n 15 "$work/devnet.log" >&2
  exit 1
}

say "Building (the first time takes some minutes: Bitcoin Core's library is compiled)"
# Each as `cargo run` builds it, so that what is compiled here is compiled for both.
cargo build --locked --profile "$profile" -p side-node
cargo build --locked --profile "$profile" -p btc-devnet
folder=$profile
[ "$profile" != dev ] || folder=debug
bin=$(cd "${CARGO_TARGET_DIR:-target}/$folder" && pwd)

work=$(mktemp -d "${TMPDIR:-/tmp}/side-demo-btc.XXXXXX")
export SIDE_HOME=$work/home
mkdir -m 700 "$SIDE_HOME"
devnet=

cleanup() {
  trap '' INT TERM HUP
  if [ -n "$devnet" ]; then
    kill -TERM "$devnet" 2>/dev/null || true
    for _ in $(seq 50); do
      kill -0 "$devnet" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$devnet" 2>/dev/null || true
    wait "$devnet" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
port=3002
if port_taken $port; then
  until ! port_taken $port; do port=$((20000 + RANDOM % 20000)); done
  echo "Port 3002 is taken; the devnet listens on $port instead."
fi
url=http://127.0.0.1:$port
export SIDE_BTC_NETWORK=regtest SIDE_BTC_ESPLORA=$url

say "Starting a devnet on $url: a block every second"
"$bin/btc-devnet" --listen "127.0.0.1:$port" --block-time 1 >"$work/devnet.log" 2>&1 </dev/null &
devnet=$!
end=$((SECONDS + patience))
until port_taken "$port"; do
  kill -0 "$devnet" 2>/dev/null || die "the devnet ended"
  [ $SECONDS -lt $end ] || die "the devnet did not answer"
  sleep 0.1
done

# post PATH JSON: a command to the devnet, without curl, which not everybody has.
post() {
  local answer=
  exec 3<>"/dev/tcp/127.0.0.1/$port"
  printf 'POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: %s\r\n\r\n%s' "$1" "${#2}" "$2" >&3
  read -r -t "$patience" answer <&3 || true
  exec 3>&-
  [[ $answer == *" 200 "* ]] || die "the devnet refuses $1: $answer"
}
run() {
  show "$*"
  "$bin/side-node" "$@" || die "side-node $*"
}
# Shows what happens without coins: an error with the way out, exit code 1.
run_unfunded() {
  show "$*"
  local code=0
  "$bin/side-node" "$@" || code=$?
  [ $code = 1 ] || die "side-node $* should have ended with 1, not $code"
}
# balance NODE: what it can spend, in sats.
balance() { "$bin/side-node" btc balance "$1" --json 2>/dev/null | grep -o '"spendable_sat":[0-9]*' | cut -d : -f 2; }

say "Making two nodes, each with a wallet"
run init dave
run init sammy

say "Without coins a payment says where they come from"
run_unfunded btc-transfer

say "The devnet gives dave a coin"
address=$("$bin/side-node" btc address dave) || die "side-node btc address dave"
post /devnet/fund "{\"address\":\"$address\",\"sats\":10000000}"
end=$((SECONDS + patience))
until [ "$(balance dave)" = 10000000 ]; do
  [ $SECONDS -lt $end ] || die "the coin did not arrive"
  sleep 0.5
done
run btc balance dave

say "dave pays sammy"
run btc-transfer --amount 25000 --confirmations 2
run btc history sammy
[ "$(balance sammy)" = 25000 ] || die "sammy does not have what dave paid"

say "Two hash time locked contracts: one is claimed with its preimage, one times out and is refunded"
run btc-htlc

say "Done"
