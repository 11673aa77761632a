#!/usr/bin/env bash
# Makes every table of docs/performance.md in one run, on a machine that does nothing else (fifty to ninety minutes).
#
#     SHARDMILL_DATA=/folder [FFCV_PYTHON=/venv/bin/python] [OUT=build/benchmarks] bash benchmarks/all.sh [NAME...]
#
# Each benchmark writes OUT/NAME.txt; OUT/machine.txt names the machine, the versions and how busy it was before each.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${SHARDMILL_DATA:?Set SHARDMILL_DATA to a folder of collections of class folders of JPEG photographs.}"
out=${OUT:-build/benchmarks}
python=${PYTHON:-.venv/bin/python}
ffcv=()
[ -z "${FFCV_PYTHON:-}" ] || ffcv=(--ffcv-python "$FFCV_PYTHON")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
status=0

{
  date -u
  git log -1 --format='commit %h' 2>/dev/null || true
  uname -srm
  grep -m1 'model name' /proc/cpuinfo || true
  echo "$(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GB", $2 / 1e6}' /proc/meminfo)"
  "$python" -c 'import platform, tensorflow as tf, apache_beam as beam
print(f"Python {platform.python_version()}, TensorFlow {tf.__version__}, Beam {beam.__version__}")' 2>/dev/null
} | tee "$out/machine.txt"

# NAME ARGUMENTS...: runs benchmarks/NAME.py (or the script before a colon), unless other names were asked for.
measure() {
  local name=$1 script=${1%%:*} begun=$SECONDS
  shift
  [ ${#only[@]} -eq 0 ] || [[ " ${only[*]} " == *" $name "* ]] || return 0
  echo "$name: load $(cut -d' ' -f1-3 /proc/loadavg)" | tee -a "$out/machine.txt"
  if "$python" "benchmarks/$script.py" "$@" > "$out/${name/:/-}.txt" 2> "$work/errors"; then
    echo "$name: $((SECONDS - begun)) s" | tee -a "$out/machine.txt"
  else
    echo "$name failed:" && tail -n 20 "$work/errors"
    status=1
  fi
}

only=("$@")
measure prepare --count 8000 --runs 3 --quality fast
measure growth --counts 100 2000 16000 --runs 3
measure growth:50000 --counts 50000 --runs 2 --megabytes 1430
measure starts --runs 3
measure loader --count 20000 --rounds 5 --work "$work/loader" "${ffcv[@]}"
measure loader:6400 --count 6400 --rounds 5 --work "$work/loader6400" "${ffcv[@]}"
measure jpeg_crops --work "$work/crops" "${ffcv[@]}"
measure steps
measure step_turns:cnn --network cnn --deterministic
measure step_turns:resnet20 --network resnet20 --deterministic
measure step_turns:mobilenet --network MobileNetV2 --deterministic
measure feed --runs 3
measure null_decoding --counts 2000 40000 --runs 3
measure null_decoding:processes --counts 2000 40000 --runs 3 --direct_running_mode multi_processing --direct_num_workers 2
measure remote --runs 3
exit "$status"
