#!/usr/bin/env bash
# Runs the tests with the oldest release of every dependency that pyproject.toml accepts.
# Usage: scripts/test_floors.sh PYTHON
set -euo pipefail

python=$(realpath --no-symlinks "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

"$python" scripts/floors.py > "$room/floors.txt"
cat "$room/floors.txt"
"$python" -m venv "$room/venv"
"$room/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  --constraint "$room/floors.txt" --editable '.[cli,cloudflare,testing]' pytest-xdist
"$room/venv/bin/python" -m pytest -q -n auto \
  -W ignore::DeprecationWarning  # What old releases still use of even older ones is not ours.
