#!/usr/bin/env bash
# Runs the benchmarks. Each prints our figure beside its limit, measured in the same run on the same number of threads.
# Without arguments all of them; with arguments those of these names.
set -euo pipefail
cd "$(dirname "$0")/.."

# The crates' own benches, then every program tests/src/bin/bench-NAME.rs: a new file there is a new entry here.
names=(library store relay chain esplora)
for file in tests/src/bin/bench-*.rs; do
  [ -e "$file" ] || continue
  name=$(basename "$file" .rs)
  names+=("${name#bench-}")
done

run() {
  printf '\n== %s\n' "$1"
  case $1 in
    library) cargo bench --locked -p bft-json-crdt --bench replica ;;
    store) cargo bench --locked -p side-store --bench durable ;;
    chain) cargo bench --locked -p btc-devnet --bench chain ;;
    esplora) cargo bench --locked -p btc-devnet --bench esplora ;;
    relay) cargo bench --locked -p side-watcher --bench fanout ;;
    *) cargo run --locked --release --quiet -p side-tests --bin "bench-$1" ;;
  esac
}

for name in "$@"; do
  case " ${names[*]} " in
    *" $name "*) ;;
    *) echo "no benchmark is called $name; there are: ${names[*]}" >&2; exit 2 ;;
  esac
done
[ $# -gt 0 ] || set -- "${names[@]}"

printf 'machine: %s, %s threads, %s\n' "$(uname -sm)" "$(getconf _NPROCESSORS_ONLN)" "$(rustc --version)"
failed=()
for name in "$@"; do run "$name" || failed+=("$name"); done
[ ${#failed[@]} -eq 0 ] || { echo "failed or over their limit: ${failed[*]}" >&2; exit 1; }
