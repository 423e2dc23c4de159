#!/usr/bin/env bash
# Checks the types of the page's scripts (JSDoc) with TypeScript, strictly. Installs the compiler once, in build/page.
# Without Node it says so in one line and succeeds: the product itself needs no Node.
set -euo pipefail
cd "$(dirname "$0")/.."

TYPESCRIPT=7.0.2
TOOLS=build/page
TSC=$TOOLS/node_modules/.bin/tsc

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "check_page: node or npm is missing; the page's types are not checked"
  exit 0
fi
if [[ "$("$TSC" --version 2>/dev/null || true)" != "Version $TYPESCRIPT" ]]; then
  mkdir -p "$TOOLS"
  npm install --prefix "$TOOLS" --no-save --no-package-lock --no-audit --no-fund --silent "typescript@$TYPESCRIPT"
fi
"$TSC" --project src/quickchange/serve/page/jsconfig.json
echo "check_page: no type errors"
