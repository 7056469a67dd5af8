#!/usr/bin/env bash
# What checking a signature costs at several batch sizes, under one key and under many, beside the batch checks of ed25519-zebra and ed25519-dalek.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top/bft-json-crdt/bench-peers"
cargo build --locked --release --no-default-features --bin signatures
printf 'machine: %s, %s threads, %s\n' "$(uname -sm)" "$(getconf _NPROCESSORS_ONLN)" "$(rustc --version)"
exec target/release/signatures
