#!/usr/bin/env bash
# Runs the tests with the oldest release of every dependency that pyproject.toml accepts.
# Usage: scripts/test_floors.sh PYTHON [PYTEST ARGUMENT …]
# Arguments that name tests choose among them: scripts/test_floors.sh python3 tests/cli -x
set -euo pipefail

python=$(realpath --no-symlinks "$1")
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

extras=cli,cloudflare,key-value,langgraph,otel,r2,testing,dev-tests
adapters=() others=() options=()
for argument; do
  case $argument in
    tests/adapters*) adapters+=("$argument") ;;
    tests/*) others+=("$argument") ;;
    *) options+=("$argument") ;;
  esac
done
if ((${#adapters[@]} + ${#others[@]} == 0)); then
  adapters=(tests/adapters)
  # Not the engines and pairs, which meet no dependency but by the providers, nor the test servers
  # themselves, nor the benchmarks, whose peers have floors of their own.
  others=(tests/test_*.py tests/{agents,cli,cloudflare,docs,providers,transfer,valet})
fi

# try NAME EXTRAS CONSTRAINTS TESTS: an environment of its own, and these tests in it
try() {
  local name=$1 extras=$2 constraints=$3
  local bin=$room/$name/bin
  shift 3
  echo "== $name"
  echo "$constraints" | tee "$room/$name.txt"
  # A caller that goes on after a failure keeps `set -e` from ending this one: hence the `&&`.
  "$python" -m venv "$room/$name" \
    && "$bin/python" -m pip install --quiet --disable-pip-version-check \
      --constraint "$room/$name.txt" --editable ".[$extras]" \
    && "$bin/python" -m pytest -q -n auto --dist worksteal \
      -W ignore::DeprecationWarning "${options[@]}" "$@" # What old releases use is not ours.
}

failed=()
if ((${#others[@]})); then
  try floors "$extras" "$("$python" scripts/floors.py ${extras//,/ })" "${others[@]}" \
    || failed+=(floors)
fi
if ((${#adapters[@]})); then
  # The OpenAI Agents SDK asks for a newer pydantic than the package itself does.
  extras+=,openai-agents
  floors=$("$python" scripts/floors.py ${extras//,/ } | grep -v '^pydantic==')
  try floors-of-frameworks "$extras" "$floors" "${adapters[@]}" || failed+=(floors-of-frameworks)
fi
if ((${#failed[@]})); then
  echo "Failed: ${failed[*]}"
  exit 1
fi
