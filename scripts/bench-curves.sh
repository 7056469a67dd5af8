#!/usr/bin/env bash
# What our own operations cost at 1,000, 10,000, 100,000 and 1,000,000 operations, ordinary and hostile ones: a table, and docs/benchmarks-curves.svg.
# MOST=100000 stops at that size; WRITE=1 puts the table into docs/benchmarks.md and draws the picture.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
arguments=(--most "${MOST:-1000000}")
[ -z "${WRITE:-}" ] || arguments+=(--write "$top/docs")
cd "$top/bft-json-crdt/bench-peers"
cargo build --locked --release --no-default-features --bin curves
exec target/release/curves "${arguments[@]}"
