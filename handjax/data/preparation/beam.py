"""Writes a data set's shards on an Apache Beam pipeline (the extra `beam`), equal to shards.py's.

One worker walks through the labels and decides which samples make a shard; the runner's workers
read the samples and write the shards. All workers need handjax, and the raw files and the folder of
the prepared set under the same paths.
"""

from typing import Any

from handjax.data.preparation.shard import write_shard
from handjax.data.preparation.shards import Preparation
from handjax.data.preparation.split import Split
from handjax.pose.skeleton import Skeleton


def write(preparation: Preparation, options: str, skeleton: Skeleton | None) -> dict[str, Split]:
    """`Preparation.write` on a pipeline.

    `options`: Beam's own, without dashes: "runner=FlinkRunner,parallelism=8". Without a runner the
    pipeline runs in this process (Beam's FnApiRunner): the default, DirectRunner, would download
    another program first.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed; pip install 'handjax[beam]'") from None
    flags = [f"--{option}" for option in options.split(",") if option]
    runner = None if any(flag.startswith("--runner=") for flag in flags) else FnApiRunner()
    splits = preparation.start()
    try:
        with apache_beam.Pipeline(runner, PipelineOptions(flags)) as pipeline:
            shards = (
                pipeline
                | apache_beam.Create(preparation.incomplete(splits))
                | apache_beam.FlatMap(preparation.shards, skeleton)
            )
            _ = shards | apache_beam.Reshuffle() | apache_beam.Map(_write)
    except Exception as error:  # the runner's own, or a worker's error as the runner reports it
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"--beam={options}: {lines[-1]}; finished shards are kept") from error
    return {split: preparation.collect(split) for split in splits}


def _write(shard: tuple[Any, ...]) -> None:
    write_shard(*shard)
