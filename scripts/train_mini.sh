#!/usr/bin/env bash
# Trains a recipe from nothing to a scored model: renders clips, then the stages one after another.
#
#   scripts/train_mini.sh [options] STAGE...      stages: render vae sft tf dmd score, or all
#   scripts/train_mini.sh --tiny all              all of it on a CPU, in minutes, to see that it works
#
# A stage that is interrupted, or not done after --minutes, stops with a checkpoint; the same call goes on from there.
#
# Options (or the environment variable in capitals, e.g. MINUTES=10):
#   --config FILE     recipe (default: configs/mini.toml)
#   --data FOLDER     clips (default: data/NAME of the recipe)
#   --run FOLDER      checkpoints and models (default: runs/NAME)
#   --device DEVICE   auto, cpu, cuda (default: auto)
#   --minutes N       most minutes of each stage of training (default: no limit)
#   --clips N         clips to render (default: 6000; vae holds them in memory, 11 MB each at its peak at 160x256)
#   --difficulty D    easy or full world (default: full)
#   --processes N     renderers (default: one per core)
#   --score-options "..."  passed on to `quickchange score`
#   PYTHON=...        interpreter (default: .venv/bin/python, else python3)
set -Eeuo pipefail
cd "$(dirname "$0")/.."

fail() { echo "train_mini: $*" >&2; exit 2; }

known=(CONFIG DATA RUN DEVICE MINUTES CLIPS DIFFICULTY PROCESSES SCORE_OPTIONS)
order=(render vae sft tf dmd score)
stages=()
while [ $# -gt 0 ]; do
  case "$1" in
    --tiny)
      CONFIG=${CONFIG:-configs/tiny.toml} CLIPS=${CLIPS:-8} DIFFICULTY=${DIFFICULTY:-easy} DEVICE=${DEVICE:-cpu}
      SCORE_OPTIONS=${SCORE_OPTIONS:---seeds 1 --drift 0 --variants full} ;;
    --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    --*)
      name=${1#--} name=${name//-/_} name=${name^^}
      [[ " ${known[*]} " == *" $name "* ]] || fail "unknown option $1; --help lists them"
      [ $# -gt 1 ] || fail "$1 needs a value"
      printf -v "$name" %s "$2"
      shift ;;
    all) stages+=("${order[@]}") ;;
    *) [[ " ${order[*]} " == *" $1 "* ]] || fail "unknown stage $1; expected ${order[*]}, or all"; stages+=("$1") ;;
  esac
  shift
done
[ ${#stages[@]} -gt 0 ] || fail "no stage given; --help lists them"

CONFIG=${CONFIG:-configs/mini.toml}
[ -f "$CONFIG" ] || fail "--config $CONFIG is not a file"
recipe=$(basename "$CONFIG" .toml)
DATA=${DATA:-data/$recipe} RUN=${RUN:-runs/$recipe} DEVICE=${DEVICE:-auto} CLIPS=${CLIPS:-6000}
DIFFICULTY=${DIFFICULTY:-full} PROCESSES=${PROCESSES:-$(nproc)}
[[ "${MINUTES:-1}" =~ ^[0-9]+([.][0-9]+)?$ ]] || fail "--minutes is $MINUTES; expected a number"

PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || command -v python3)}
export PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1

stream() { "$PYTHON" -c 'import sys, tomllib; print(tomllib.load(open(sys.argv[1], "rb"))["stream"][sys.argv[2]])' "$CONFIG" "$1"; }

for stage in "${stages[@]}"; do
  echo "== $stage ($CONFIG)"
  case "$stage" in
    render)
      "$PYTHON" -m quickchange world render --out "$DATA" --count "$CLIPS" --difficulty "$DIFFICULTY" \
        --size "$(stream width)x$(stream height)" --fps "$(stream fps)" --frames 33 --processes "$PROCESSES" \
        --clips-per-shard $((CLIPS < 50 * PROCESSES ? (CLIPS + PROCESSES - 1) / PROCESSES : 50)) ;;
    score)
      # shellcheck disable=SC2086 # several words are meant
      "$PYTHON" -m quickchange score --model "$RUN/model" --difficulty "$DIFFICULTY" --device "$DEVICE" \
        --out "$RUN/score" ${SCORE_OPTIONS:-} ;;
    *)
      "$PYTHON" -m quickchange train "$stage" --config "$CONFIG" --data "$DATA" --run "$RUN" --device "$DEVICE" \
        ${MINUTES:+--minutes "$MINUTES"} ;;
  esac
done
