#!/usr/bin/env bash
# What the two programs are made of, as CycloneDX documents: `scripts/sbom.sh FOLDER`. Needs cargo-cyclonedx.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?usage: scripts/sbom.sh FOLDER}
mkdir -p "$folder"

if ! cargo cyclonedx --version >/dev/null 2>&1; then
  echo "cargo-cyclonedx is missing. Install it: cargo install --locked cargo-cyclonedx" >&2
  exit 1
fi
for program in side-node side-watcher; do
  # It writes beside the manifest; moved, so that the tree stays as it was.
  cargo cyclonedx --quiet --format json --spec-version 1.5 --manifest-path "$program/Cargo.toml" --override-filename "$program.cdx"
  mv "$program/$program.cdx.json" "$folder/"
done
# It describes every member of the workspace that the manifest leads to; the other documents are not asked for.
find . -name '*.cdx.json' -not -path "./$folder/*" -not -path './target/*' -delete
ls -l "$folder"
