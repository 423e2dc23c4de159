#!/usr/bin/env bash
# scripts/apt_packages.sh PACKAGE...: installs those Debian / Ubuntu packages, or says which command would.
set -Eeuo pipefail

if ! command -v apt-get >/dev/null; then
  echo "quickchange: this system has no apt-get; please install what Debian calls: $*" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "quickchange: system packages are missing; please run: sudo apt-get install -y --no-install-recommends $*" >&2
  exit 1
fi
echo "== installing system packages: $*"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
