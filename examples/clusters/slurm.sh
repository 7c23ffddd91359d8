#!/bin/bash
# Trains a model on several machines of a Slurm cluster: sbatch examples/clusters/slurm.sh
#
# One task a machine starts torchrun, which starts a process for each GPU. All machines need the folders of the codes and
# of the run. A run that fails on one GPU goes on from its last checkpoint, up to ten times; a job that is preempted
# saves, is queued again and goes on.
#SBATCH --job-name=descant
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=descant-%j.log

set -euo pipefail

RECIPE=${RECIPE:-musicgen:medium}
RUN=${RUN:-runs/medium}
GPUS_PER_NODE=${SLURM_GPUS_ON_NODE:-8}
WORLD=$((SLURM_NNODES * GPUS_PER_NODE))
FIRST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)

resume=()
if compgen -G "$RUN/step-*" > /dev/null; then
    resume=(--resume)
fi

# Processes that start again must not find the addresses of those before.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
# Accumulate counts the batches of all processes: descant train RECIPE --plan --gpus N prints both numbers.
exec srun torchrun \
    --nnodes "$SLURM_NNODES" --nproc-per-node "$GPUS_PER_NODE" --max-restarts 10 \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$FIRST:29500" \
    -m descant train "$RECIPE" --out "$RUN" "${resume[@]}" \
    --set trainer.mesh=shard-in-node --set data.batches.batch_size="${BATCH_SIZE:-3}" \
    --set trainer.accumulate="${ACCUMULATE:-$WORLD}"
