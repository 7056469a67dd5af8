#!/usr/bin/env bash
# Fuzzes every decoder for SECONDS_EACH seconds (60). What crashes one is kept as a file that a plain test replays.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-60}

if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  echo "Fuzzing needs nightly Rust and cargo-fuzz: rustup toolchain install nightly && cargo install --locked cargo-fuzz" >&2
  exit 1
fi

found=0
for manifest in */fuzz/Cargo.toml; do
  [ -e "$manifest" ] || continue
  crate=$(dirname "$(dirname "$manifest")")
  for target in $(cd "$crate" && cargo +nightly fuzz list); do
    found=1
    printf '\n== %s: %s, %s s\n' "$crate" "$target" "$seconds"
    (cd "$crate" && cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10)
  done
done
[ "$found" = 1 ] || { echo "there are no fuzz targets" >&2; exit 1; }
