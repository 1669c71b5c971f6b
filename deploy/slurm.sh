#!/bin/bash
# Train one model with lacy on two nodes of eight GPUs. Data and run folder lie on a shared disk.
#
#   DATA=/shared/packed OUT=/shared/runs/two sbatch deploy/slurm.sh --model 1b --batch-rows 512
#
# Arguments are those of lacy train. docs/how-to/several-processes.md explains the rest.

#SBATCH --job-name=lacy
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# SIGTERM to all steps two minutes before the limit; training then saves a checkpoint and stops
#SBATCH --signal=TERM@120

set -u
: "${DATA:?name the packed data}" "${OUT:?name the folder of the run}"

# without this, torchrun cannot go on after one of the machines was lost
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# One torchrun per node starts one process per GPU. If a process is killed, all start again from the
# last checkpoint.
srun torchrun \
  --nnodes "$SLURM_NNODES" \
  --nproc-per-node 8 \
  --rdzv-id "$SLURM_JOB_ID" \
  --rdzv-backend c10d \
  --rdzv-endpoint "$head_node:29500" \
  --max-restarts 3 \
  --shutdown-timeout 100 \
  -m lacy train --data "$DATA" --out "$OUT" --threads 8 --save-minutes 10 "$@"
code=$?

# A run that the limit stopped goes on in the next allocation; one that failed at once does not.
if [ "$code" -ne 0 ] && [ ! -d "$OUT/model" ] && [ "$SECONDS" -gt 600 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
