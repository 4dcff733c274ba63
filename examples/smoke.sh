#!/usr/bin/env bash
# A smoke test for continuous integration, without GPU and network: bash examples/smoke.sh examples/cat.png
set -euo pipefail
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
latentflow --image_path "$1" --weights bundled --size 64 --steps 20 --seed 0 --quiet --json \
    --output_path "$results/smoke.gif" > "$results/summary.json"
python - "$results/summary.json" <<'PYTHON'
import json, sys
summary = json.load(open(sys.argv[1]))
assert summary["outcome"] == "done" and summary["loss_last"] < summary["loss_first"], summary
PYTHON
echo "latentflow works"
