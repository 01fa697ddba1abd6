#!/bin/bash
# A training of several nodes under Slurm that outlives its time limit and its nodes:
#
#     sbatch scripts/cluster/slurm.sh --config v2v --workdir runs/v2v
#
# Two minutes before the limit Slurm sends SIGUSR1 to the processes. They save and end with 75, and
# the job is queued again; so it is when a node fails or another job takes its place (--requeue).
# The same command then continues the run. All nodes must see the work folder.
#SBATCH --job-name=handjax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append

python scripts/launch.py slurm -- "$@"
code=$?
# Other than 75: a process was lost; srun reports the highest code of all.
case "$code" in
    75 | 76 | 134 | 137 | 143)
        [ "${SLURM_RESTART_COUNT:-0}" -lt 100 ] && scontrol requeue "$SLURM_JOB_ID"
        ;;
esac
exit "$code"
