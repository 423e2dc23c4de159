#!/usr/bin/env bash
# Trains the bundled model's recipe on a machine with one data-centre GPU (16 cores, 128 GB) and no network.
#
#   scripts/h200/train_mini.sh [options] STAGE...      stages: render codec teacher forcing distill score pack unpack
#   scripts/h200/train_mini.sh --tiny all              all of it on a CPU, in minutes, to see that it works
#
# A stage that is not done after --minutes, or is interrupted, stops with a checkpoint (exit code 3); the same call goes on
# from there. Where the machine is given back in between: `pack` splits what must come back (newest checkpoints, exported
# models, curves, sheets) into small files with checksums, and `unpack` puts it back in place. Clips and latents are not
# packed: they are made again, from the same seeds; use the same --clips, since checkpoints refuse other data.
#
# Options (or the environment variable in capitals, e.g. MINUTES=10):
#   --config FILE     recipe (default: configs/mini.toml)
#   --data FOLDER     clips (default: data/NAME of the recipe)
#   --run FOLDER      checkpoints and models (default: runs/NAME)
#   --device DEVICE   auto, cpu, cuda (default: auto)
#   --minutes N       most minutes of each stage (default: 24), loading included; may be a fraction
#   --clips N         clips to render (default: 6000; the codec's stage holds them in memory, about 11 MB each at its
#                     peak at 160x256)
#   --difficulty D    easy or full world (default: full)
#   --processes N     renderers (default: one per core)
#   --parser FOLDER   judge of `score` (default: models/parser; without one, one is trained from --parser-config)
#   --parser-config FILE   (default: --config where it has [stages.parser], else configs/parser.toml)
#   --score-options "..."  passed on to `quickchange score`
#   --parts FOLDER    where parts lie (default: RUN-parts)     --mib N   greatest size of a part (default: 15)
#   --only A-B        pack only these parts, to fetch them a few at a time
#   --wheels FOLDER   wheels of packages that the machine lacks, installed beside the run, nowhere else
#   --debs FOLDER     Debian packages of an OpenGL loader, likewise (libegl1 libgl1 libglx0 libopengl0 libglvnd0)
#   PYTHON=...        interpreter (default: .venv/bin/python, else python3)
set -Eeuo pipefail
cd "$(dirname "$0")/../.."

fail() { echo "train_mini: $*" >&2; exit 2; }
say() { echo "== $*"; }

known=(CONFIG DATA RUN DEVICE MINUTES CLIPS DIFFICULTY PROCESSES PARSER PARSER_CONFIG SCORE_OPTIONS PARTS MIB ONLY WHEELS DEBS)
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
    all) stages+=(render codec teacher forcing distill score) ;;
    render | codec | teacher | forcing | distill | score | pack | unpack) stages+=("$1") ;;
    *) fail "unknown stage $1; expected render codec teacher forcing distill score pack unpack, or all" ;;
  esac
  shift
done
[ ${#stages[@]} -gt 0 ] || fail "no stage given; --help lists them"

CONFIG=${CONFIG:-configs/mini.toml}
[ -f "$CONFIG" ] || fail "--config $CONFIG is not a file"
recipe=$(basename "$CONFIG" .toml)
DATA=${DATA:-data/$recipe} RUN=${RUN:-runs/$recipe} DEVICE=${DEVICE:-auto} MINUTES=${MINUTES:-24}
CLIPS=${CLIPS:-6000} DIFFICULTY=${DIFFICULTY:-full} PROCESSES=${PROCESSES:-$(nproc)} MIB=${MIB:-15}
PARTS=${PARTS:-$RUN-parts} SITE=$RUN/site
[[ "$MINUTES" =~ ^[0-9]+([.][0-9]+)?$ ]] || fail "--minutes is $MINUTES; expected a number"
seconds=$(awk -v m="$MINUTES" 'BEGIN { printf "%.1f", 60 * m }')

PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || command -v python3)}
export PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1

if [ -n "${WHEELS:-}" ]; then
  [ -d "$SITE" ] || "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$SITE" "$WHEELS"/*.whl
  PYTHONPATH=$PWD/src:$(realpath "$SITE")
fi
if [ -n "${DEBS:-}" ]; then
  gl=$RUN/gl
  [ -d "$gl" ] || for deb in "$DEBS"/*.deb; do mkdir -p "$gl" && dpkg -x "$deb" "$gl"; done
  libraries=$(dirname "$(find "$(realpath "$gl")" -name 'libEGL.so.1' | head -n 1)")
  export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export GLCONTEXT_LINUX_LIBEGL=$libraries/libEGL.so.1 GLCONTEXT_LINUX_LIBGL=$libraries/libGL.so.1
fi

# What a stage needs beyond the standard library, looked for before minutes are spent.
need() {
  local missing
  missing=$("$PYTHON" - "$@" <<'PY'
import importlib.util, sys
print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name) is None])
PY
  )
  [ -z "$missing" ] || fail "$PYTHON lacks: $missing; bring their wheels with --wheels FOLDER"
}

opengl() {
  "$PYTHON" -c 'from quickchange.world.gpu import open_context; print("== renderer:", open_context().info["GL_RENDERER"])' ||
    fail "no OpenGL through EGL; bring its loader with --debs FOLDER, and see that the driver's EGL vendor file is found"
}

stream() { "$PYTHON" -c 'import sys, tomllib; print(tomllib.load(open(sys.argv[1], "rb"))["stream"][sys.argv[2]])' "$CONFIG" "$1"; }

# bounded COMMAND...: asks it to stop when the time is up; it then saves and this script ends with 3.
bounded() {
  local code=0
  # In the background, since the shell passes no signal on while it waits; timeout hands it to all processes below.
  timeout --signal=TERM --kill-after=90 "$seconds" "$@" &
  local child=$!
  trap 'kill -TERM "$child" 2>/dev/null || true' INT TERM
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do code=0; wait "$child" || code=$?; done
  trap - INT TERM
  case $code in
    0) ;;
    124 | 137 | 143) echo "train_mini: $stage was stopped before its end; the same call goes on" >&2; exit 3 ;;
    *) exit "$code" ;;
  esac
}

train() { # train NAME CONFIG
  need torch transformers tokenizers safetensors av cv2 PIL tqdm matplotlib
  bounded "$PYTHON" -m quickchange train "$1" --config "$2" --data "$DATA" --run "$RUN" --device "$DEVICE"
}

run_stage() {
  case "$1" in
    render)
      need moderngl glcontext av PIL numpy tqdm
      opengl
      bounded "$PYTHON" -m quickchange world render --out "$DATA" --count "$CLIPS" --difficulty "$DIFFICULTY" \
        --size "$(stream width)x$(stream height)" --fps "$(stream fps)" --frames 33 --processes "$PROCESSES" \
        --clips-per-shard $((CLIPS < 50 * PROCESSES ? (CLIPS + PROCESSES - 1) / PROCESSES : 50)) ;;
    codec) train vae "$CONFIG" ;;
    teacher) train sft "$CONFIG" ;;
    forcing) train tf "$CONFIG" ;;
    distill) train dmd "$CONFIG" ;;
    score)
      need moderngl glcontext matplotlib torchmetrics
      if [ -z "${PARSER:-}" ]; then
        PARSER=models/parser
        if [ ! -f "$PARSER/config.json" ]; then
          PARSER=$RUN/parser/model
          grep -q '^\[stages.parser\]' "$CONFIG" && own=$CONFIG || own=configs/parser.toml
          [ -f "$PARSER/config.json" ] || train parser "${PARSER_CONFIG:-$own}"
        fi
      fi
      # shellcheck disable=SC2086 # several words are meant
      bounded "$PYTHON" -m quickchange score --model "$RUN/model" --parser "$PARSER" --difficulty "$DIFFICULTY" \
        --device "$DEVICE" --out "$RUN/score" ${SCORE_OPTIONS:-} ;;
    pack)
      local names=() folder newest
      for folder in vae sft tf dmd parser; do
        [ -d "$RUN/$folder" ] || continue
        newest=$(find "$RUN/$folder" -maxdepth 1 -name 'checkpoint-*.safetensors' -printf '%f\n' | sort | tail -n 1)
        [ -z "$newest" ] || names+=("$folder/$newest")
        while IFS= read -r found; do names+=("$folder/$found"); done < <(find "$RUN/$folder" -maxdepth 1 \
          \( -name metrics.jsonl -o -name curves.png -o -name 'sample-*.png' -o -name model \) -printf '%f\n')
      done
      for folder in codec model score; do [ ! -d "$RUN/$folder" ] || names+=("$folder"); done
      [ ${#names[@]} -gt 0 ] || fail "nothing to pack in $RUN"
      "$PYTHON" scripts/h200/parts.py pack "$PARTS" "$RUN" "${names[@]}" --mib "$MIB" ${ONLY:+--only "$ONLY"} ;;
    unpack) "$PYTHON" scripts/h200/parts.py unpack "$PARTS" "$RUN" ;;
  esac
}

for stage in "${stages[@]}"; do
  say "$stage ($CONFIG, at most $MINUTES min)"
  started=$SECONDS
  run_stage "$stage"
  say "$stage done after $((SECONDS - started)) s"
done
