#!/bin/bash
# Four machines of eight GPUs under Slurm: sbatch training/configs/slurm.sh DATA RUN [options of `diffused-heads train`]
# Slurm sends SIGTERM two minutes before the time is up; the trainer saves and stops, and the job is queued again.
#SBATCH --job-name=diffused-heads
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node 8 --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d \
    --rdzv-endpoint "$first:29500" -m diffused_heads.training.train "$@" --workers 7 &
work=$!
again() {
    kill -TERM "$work"
    wait "$work" || true
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
}
trap again TERM
wait "$work"
