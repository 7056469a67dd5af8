#!/usr/bin/env bash
# Everything a change must pass: format, lints, tests, doc tests, documentation. `scripts/test.sh lint` stops after the lints.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

step() { printf '\n== %s\n' "$*" >&2; "$@"; }

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
[ "${1:-}" != lint ] || exit 0

if ! command -v cargo-watch >/dev/null 2>&1; then
  echo "cargo-watch is missing: a test types into a node through it. Installing it once; this takes a few minutes." >&2
  # Its own target folder, so that it neither waits for nor fills ours.
  step env -u CARGO_TARGET_DIR cargo install --locked cargo-watch
fi

# The end-to-end tests let cargo build the programs as `cargo run` in side-node/ and in side-watcher/ does. Compiled here, so that no test's time
# limit has to allow for it.
step cargo build --locked -p side-node -p side-watcher -p shared-list
step cargo build --locked -p side-watcher

# nextest runs each test in a process of its own and ends those that hang; plain `cargo test` runs the same tests.
if cargo nextest --version >/dev/null 2>&1; then
  step cargo nextest run --workspace --locked --profile "${NEXTEST_PROFILE:-default}"
else
  step cargo test --workspace --locked --lib --bins --tests
fi
step cargo test --workspace --locked --doc
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --locked
