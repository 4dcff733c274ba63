#!/usr/bin/env bash
# One run for each image of a folder: bash examples/loop.sh photographs results
# (`latentflow batch` loads the model only once, skips finished images and writes a table.)
set -euo pipefail
folder=$1 results=$2
mkdir -p "$results"
for image in "$folder"/*.{png,jpg,jpeg,webp}; do
    [ -e "$image" ] || continue
    latentflow --image_path "$image" --weights bundled --size 256 --output_path "$results/{stem}.gif" --quiet
done
