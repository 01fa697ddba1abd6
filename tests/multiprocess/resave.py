"""Reads the newest checkpoint of the tiny training onto the devices there are, and saves it again.

python scripts/launch.py local -n 2 --module tests.multiprocess.resave -- FROM TO
"""

import argparse
import json
from pathlib import Path

import jax

from handjax import run as runs
from handjax.engine import cli, runtime
from handjax.engine import config as configs
from handjax.engine.checkpoint import Checkpoints
from handjax.sources import SOURCES
from handjax.tasks import TASKS
from tests.multiprocess import tiny_train

CONFIG = Path(__file__).with_name("tiny_config.py")


def tiny_run(*overrides):
    """The tiny training, with Adam, whose state has two arrays for each of the network's."""
    SOURCES["tiny"], TASKS["tiny"] = tiny_train.source, tiny_train.task
    return runs.build(configs.load(str(CONFIG), ["config.optimizer.name=adam", *overrides]))


def save(folder, state):
    checkpoints = Checkpoints(folder)
    checkpoints.save(state, 1.0)
    checkpoints.close()


def resave(run, source, to):
    checkpoints = Checkpoints(source, read_only=True)
    state = checkpoints.restore_latest(run.target)
    checkpoints.close()
    save(to, state)
    return state


def metrics(run, state):
    """All of an evaluation, to the last digit."""
    rows, loss = run.predict(state)
    return json.dumps({**run.task.score(rows), "frames": len(rows["index"])})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("to", type=Path)
    parser.add_argument("--shard_optimizer", default="false")
    cli.add_distributed(parser)
    args = parser.parse_args()
    runtime.start_distributed(args)
    run = tiny_run(f"config.shard_optimizer={args.shard_optimizer}")
    state = resave(run, args.source, args.to)
    parts = [leaf.is_fully_replicated for leaf in jax.tree.leaves(state.opt_state)]
    print(f"{run.mesh.size} devices, {len(parts) - sum(parts)} arrays in parts", flush=True)
    print("metrics", metrics(run, state), flush=True)


if __name__ == "__main__":
    main()
