#!/usr/bin/env bash
#SBATCH --job-name=latentflow
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
# Eight jobs divide the images of a folder among them: sbatch examples/job_array.sh photographs results
# If a job was stopped, submit it again: finished images are skipped, unfinished ones are continued.
set -euo pipefail
folder=$1 results=$2
mkdir -p "$results"
latentflow batch "$folder" --output_dir "$results" --checkpoint_every 20 \
    --shard "${SLURM_ARRAY_TASK_ID:?}/${SLURM_ARRAY_TASK_COUNT:?}" --quiet
