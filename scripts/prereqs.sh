#!/usr/bin/env bash
# Checks that what we build with is there. On Debian and Ubuntu, as root or with sudo, installs what is missing;
# elsewhere names it. Says nothing when all is well. `scripts/prereqs.sh bitcoin` also asks for what Bitcoin Core's validation
# needs: the local chain btc-devnet, and so the tests and lints of everything; `scripts/prereqs.sh browser` for the browser that the page is tested in.
# Both may be named.
set -euo pipefail

# One line a need: a command that must be found, or a C++ header | the package that brings it on Debian and Ubuntu | what for.
needs='
cc | build-essential | SQLite and other C code that is compiled into the programs
'
bitcoin_needs='
c++ | build-essential | Bitcoin Core, whose validation btc-devnet uses
make | build-essential | the same
cmake | cmake | the same
boost/multi_index/hashed_index.hpp | libboost-dev | the same
'
browser_needs='
chromium | chromium | the tests of the page that a node serves
'
for kind in "$@"; do
  case $kind in
    bitcoin) needs+=$bitcoin_needs ;;
    browser) needs+=$browser_needs ;;
    *) echo "usage: scripts/prereqs.sh [bitcoin] [browser]" >&2; exit 2 ;;
  esac
done

is_there() {
  case $1 in
    *.hpp) printf '#include <%s>\n' "$1" | c++ -x c++ -fsyntax-only - 2>/dev/null ;;
    # Other names of the same.
    chromium) [ -n "${SIDE_TESTS_CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

if ! command -v cargo >/dev/null 2>&1; then
  if [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    echo "Rust is installed but not on PATH. Run: . \"${CARGO_HOME:-$HOME/.cargo}/env\"" >&2
  else
    echo "Rust is missing. Install it from https://rustup.rs; rust-toolchain.toml then picks the right version by itself." >&2
  fi
  exit 1
fi

packages=()
while IFS='|' read -r program package reason; do
  program=${program// /} package=${package// /}
  [ -n "$program" ] || continue
  is_there "$program" && continue
  echo "missing: $program (package $package), for$reason" >&2
  packages+=("$package")
done <<<"$needs"

[ ${#packages[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
  if command -v sudo >/dev/null 2>&1; then as_root=(sudo); else as_root=(false); fi
fi
if command -v apt-get >/dev/null 2>&1 && [ "${as_root[*]:-}" != false ]; then
  echo "installing: ${packages[*]}" >&2
  "${as_root[@]}" apt-get update -q
  # Ubuntu has no package chromium; its chromium-browser brings the snap.
  for at in "${!packages[@]}"; do
    if [ "${packages[at]}" = chromium ] && ! apt-cache show chromium >/dev/null 2>&1; then packages[at]=chromium-browser; fi
  done
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"
else
  echo "Please install these (named here as Debian and Ubuntu name them) and run the command again: ${packages[*]}" >&2
  exit 1
fi
