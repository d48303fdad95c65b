#!/usr/bin/env bash
# Installs what the local Cloudflare of the tests is made of, exactly as its lock says.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/../tests/emulator"

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "The tests run against a local Cloudflare, which needs Node and npm: install Node 22 or newer (on Linux any version will do), then run make again." >&2
  exit 1
fi

echo "Installing the local Cloudflare of the tests …"
# Nothing that is installed needs a script of its own; the Node it runs on comes with it on Linux.
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null

node=node
[[ -x node_modules/.bin/node ]] && node=node_modules/.bin/node
if ! "$node" -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 22 || (major == 22 && minor >= 12) ? 0 : 1)'; then
  echo "The local Cloudflare of the tests needs Node 22.12 or newer; this is $("$node" --version)." >&2
  exit 1
fi
