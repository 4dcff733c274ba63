#!/usr/bin/env bash
# Every image of a folder, one run each: bash examples/loop.sh photographs results
# (`latentflow batch` does the same with one model, skips what is finished and writes a table.)
set -euo pipefail
folder=$1 results=$2
mkdir -p "$results"
for image in "$folder"/*.{png,jpg,jpeg,webp}; do
    [ -e "$image" ] || continue
    latentflow --image_path "$image" --weights bundled --size 256 --output_path "$results/{stem}.gif" --quiet
done
