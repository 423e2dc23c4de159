#!/usr/bin/env bash
# scripts/setup.sh run|serve|dev: makes .venv with the pinned versions of constraints.txt. Safe to run again at any time.
#   run    what generating a video needs
#   serve  that, and the server of the studio page
#   dev    that, and what tests, lint, training and the renderer need, Mesa's software OpenGL and Chromium included
set -Eeuo pipefail
cd "$(dirname "$0")/.."

say() { echo "== $*"; }

mode=${1:-}
case "$mode" in
  run) package="." ;;
  serve) package=".[serve]" ;;
  dev) package=".[dev]" ;;
  *) echo "usage: scripts/setup.sh run|serve|dev" >&2; exit 2 ;;
esac

find_python() {
  local candidate
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; }

# A machine with its own package index or wheel folder chooses the build of torch itself.
has_own_index() {
  local config # first into a variable: with pipefail, grep -q would break the pipe and count as a no
  config=$(.venv/bin/python -m pip config list)
  grep -qE '(index-url|find-links|no-index)=' <<<"$config"
}

install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"; }

renders() {
  .venv/bin/python -c 'import moderngl; moderngl.create_context(standalone=True, backend="egl").release()' 2>/dev/null
}

if [ ! -x .venv/bin/python ]; then
  python=$(find_python) || { scripts/apt_packages.sh python3 python3-venv; python=$(find_python); } || {
    echo "quickchange: needs Python >= 3.11, found none" >&2
    exit 1
  }
  if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    scripts/apt_packages.sh "$version-venv"
  fi
  say "creating .venv with $("$python" --version)"
  "$python" -m venv .venv
fi

torch=$(grep -E '^torch==' constraints.txt)
if .venv/bin/python -c "import sys, torch; sys.exit(torch.__version__.split('+')[0] != '${torch#torch==}')" 2>/dev/null; then
  say "$torch is there"
elif has_gpu || has_own_index || [ "$(uname -s)" != Linux ]; then
  say "installing $torch"
  install -c constraints.txt "$torch"
else
  say "installing $torch, the CPU build (no NVIDIA GPU here)"
  # --no-deps: what torch needs comes with the package below, from the usual index and in its pinned version.
  install --no-deps --retries 1 --timeout 20 --index-url https://download.pytorch.org/whl/cpu "$torch" ||
    install -c constraints.txt "$torch"
fi

say "installing quickchange ($mode) in its pinned versions"
install -c constraints.txt -e "$package"

if [ "$mode" = dev ] && ! renders; then
  say "the renderer of the generated world needs OpenGL"
  scripts/apt_packages.sh libegl1 libgl1 libgl1-mesa-dri
  renders || { echo "quickchange: OpenGL through EGL still does not work here" >&2; exit 1; }
fi

if [ "$mode" = dev ] && ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then
  say "the tests of the studio page need a browser"
  scripts/apt_packages.sh chromium
fi
say "ready"
