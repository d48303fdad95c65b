#!/usr/bin/env bash
# Runs the shipped conformance suite against the built wheel, alone in a fresh environment and
# outside the checkout: what is missing from the wheel can't be found in the sources.
# Usage: scripts/test_wheel.sh PYTHON
set -euo pipefail

python=$(realpath --no-symlinks "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$room" .
wheel=("$room"/storage_providers-*.whl)
"$python" -m venv "$room/venv"
"$room/venv/bin/python" -m pip install --quiet --disable-pip-version-check "${wheel[0]}[testing]"

mkdir "$room/suite"
cp -r tests/test_conformance.py tests/conftest.py tests/providers "$room/suite"
cd "$room/suite"
unset PYTHONPATH
"$room/venv/bin/python" -c '
import sys, storage_providers
home = storage_providers.__file__
sys.exit(None if home.startswith(sys.prefix) else f"not the installed package: {home}")'
"$room/venv/bin/python" -m pytest -q -W error -p no:cacheprovider --import-mode=importlib \
  -c /dev/null --rootdir . test_conformance.py $(grep -l ProviderConformance providers/*.py)
