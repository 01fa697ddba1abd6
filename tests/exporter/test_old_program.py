"""A StableHLO file that the oldest supported JAX wrote runs on the JAX that runs the tests.

`python -m tests.exporter.test_old_program` writes it anew; use the lowest jax of pyproject.toml.
"""

import tempfile
from pathlib import Path

import jax
import numpy as np
from jax import export

FILE = Path(__file__).parent / "old_program.stablehlo"
ANSWERS = FILE.with_suffix(".npz")  # what it answered then
_SPEC = "posenet2d.py:quick,dsnt"
_SMALL = (
    "config.model.widths=(4,4,4,4,4)",
    "config.crop.size=32",
    "config.data.image_size=48",
    "config.compile_cache=False",
)


def images(count):
    rng = np.random.default_rng(count)
    box = np.tile(np.array([4, 6, 30, 34], np.float32), (count, 1))
    return {"image": rng.integers(0, 256, (count, 48, 48, 3), np.uint8), "box": box}


def test_program_of_the_oldest_jax_runs():
    program = export.deserialize(bytearray(FILE.read_bytes()))
    known = np.load(ANSWERS)
    for count in (1, 3):  # its batch is of any size
        found = program.call(images(count))
        np.testing.assert_allclose(found["uv"], known[f"uv{count}"], atol=1e-3)
        np.testing.assert_allclose(found["confidence"], known[f"confidence{count}"], atol=1e-5)
    assert np.ptp(known["uv3"], axis=1).min() > 0.5  # joints of their own


def write():
    """Writes both files: an untrained PoseNet2D with enlarged weights."""
    from handjax import run
    from handjax.engine import config as configs
    from handjax.engine.checkpoint import Checkpoints
    from handjax.exporter.model import contents_of
    from handjax.exporter.stablehlo import to_stablehlo
    from handjax.prediction.predictor import load

    config = configs.load(str(Path("configs") / _SPEC), [*_SMALL])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(configs.to_json(config))
        state = run.open_run(Path(folder)).init_state()
        checkpoints = Checkpoints(Path(folder) / "checkpoints")
        checkpoints.save(state.replace(params=jax.tree.map(lambda a: 2.5 * a, state.params)))
        checkpoints.close()
        contents = contents_of(load(folder), config)
    FILE.write_bytes(to_stablehlo(contents))
    call = export.deserialize(bytearray(FILE.read_bytes())).call
    found = {count: jax.device_get(call(images(count))) for count in (1, 3)}
    np.savez(ANSWERS, **{f"{name}{n}": v for n, rows in found.items() for name, v in rows.items()})


if __name__ == "__main__":
    write()
