"""Shards of a data set written on an Apache Beam pipeline (the extra `beam`): the same ones that parts.py writes by itself.

One worker goes through the labels and hands out what each shard is made of; the runner's workers read the samples and write the
shards. All must see the raw files and the folder of the prepared set under the same names, and have handjax installed.
"""

from handjax.data.preparation import shards as parts


def write(task: parts.Preparation, options: str, skeleton: str | None) -> dict[str, parts.Split]:
    """`Preparation.write` on a pipeline. `options` are Beam's own, without dashes: "runner=FlinkRunner,parallelism=8".

    Without a runner's name it is Beam's in this process: its DirectRunner would fetch another program from the network first.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed; pip install 'handjax[beam]'") from None
    given = [option for option in options.split(",") if option]
    runner = None if any(option.startswith("runner=") for option in given) else FnApiRunner()
    splits = task.begin()
    try:
        with apache_beam.Pipeline(
            runner, PipelineOptions([f"--{option}" for option in given])
        ) as pipeline:
            shards = (
                pipeline
                | apache_beam.Create(task.to_do(splits))
                | apache_beam.FlatMap(task.shards, skeleton)
            )
            _ = shards | apache_beam.Reshuffle() | apache_beam.Map(_write)
    except Exception as error:  # of the runner's, or a worker's in the runner's words
        what = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"--beam={options}: {what[-1]}; what is whole is kept") from error
    return {split: task.gathered(split) for split in splits}


def _write(shard: tuple) -> None:
    parts.write_shard(*shard)
