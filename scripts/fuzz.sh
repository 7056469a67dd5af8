#!/usr/bin/env bash
# Fuzzes every target for SECONDS_EACH seconds (60). Runs with the project's own toolchain and without a sanitizer, as nothing here is unsafe;
# SANITIZER=address takes nightly Rust and that sanitizer. What breaks a target is kept in its crate under fuzz/crashes/TARGET, where a plain test
# replays it.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
seconds=${SECONDS_EACH:-60}
sanitizer=${SANITIZER:-none}

if [ "$sanitizer" = none ]; then
  # cargo-fuzz asks for flags that the stable compiler has but hides.
  export RUSTC_BOOTSTRAP=1
  fuzz=(cargo fuzz)
  hint="cargo install --locked cargo-fuzz"
else
  fuzz=(cargo +nightly fuzz)
  hint="rustup toolchain install nightly && cargo install --locked cargo-fuzz"
fi
if ! "${fuzz[@]}" --version >/dev/null 2>&1; then
  echo "Fuzzing needs cargo-fuzz: $hint" >&2
  exit 1
fi

found=0
failed=()
for manifest in */fuzz/Cargo.toml; do
  [ -e "$manifest" ] || continue
  crate=${manifest%/fuzz/Cargo.toml}
  for target in $(cd "$crate" && "${fuzz[@]}" list); do
    found=1
    printf '\n== %s: %s, %s s\n' "$crate" "$target" "$seconds"
    mkdir -p "$crate/fuzz/corpus/$target" "$crate/fuzz/crashes/$target"
    (cd "$crate" && "${fuzz[@]}" run --sanitizer "$sanitizer" "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
      -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 -timeout=10 -artifact_prefix="fuzz/crashes/$target/") ||
      failed+=("$crate: $target")
    rmdir --ignore-fail-on-non-empty "$crate/fuzz/crashes/$target" "$crate/fuzz/crashes" 2>/dev/null || true
  done
done
[ "$found" = 1 ] || { echo "there are no fuzz targets" >&2; exit 1; }
if [ "${#failed[@]}" -gt 0 ]; then
  printf '\nbroken (see fuzz/crashes, and commit what is there with the fix):\n' >&2
  printf '  %s\n' "${failed[@]}" >&2
  exit 1
fi
