#!/usr/bin/env bash
# Ours beside loro, yrs, automerge, diamond-types and cola: every row in one run, each measurement in a process of its own.
# TRACES=folder of recorded editing traces (NAME.json.gz); without it, traces of like shape are generated from a seed.
# RUNS=5 runs a cell; ONLY=words (comma between) runs only the rows whose name holds one of them; WRITE=1 puts the tables into docs/benchmarks.md.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
arguments=(--runs "${RUNS:-5}")
[ -z "${TRACES:-}" ] || arguments+=(--traces "$(realpath "$TRACES")")
[ -z "${ONLY:-}" ] || arguments+=(--only "$ONLY")
[ -z "${WRITE:-}" ] || arguments+=(--write "$top/docs/benchmarks.md")
cd "$top/bft-json-crdt/bench-peers"
cargo build --locked --release --bin peers
printf 'machine: %s, %s threads, %s\n' "$(uname -sm)" "$(getconf _NPROCESSORS_ONLN)" "$(rustc --version)"
exec target/release/peers "${arguments[@]}"
