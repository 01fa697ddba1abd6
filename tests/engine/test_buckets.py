"""Addresses gs://…: where they are allowed they stay addresses, and elsewhere they are refused.

Nothing here reads a bucket: what TensorFlow and Orbax do with one is not tested.
"""

import pytest
from etils import epath
from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine import files, workdir
from handjax.engine.checkpoint import Checkpoints
from handjax.sources.base import required_path

RUN = "gs://bucket/run"


def test_prepared_sets_and_checkpoints_may_be_in_one():
    given = [f"config.checkpoints={RUN}", "config.data.path=gs://bucket/sets"]
    config = configs.load("posenet2d:rhd", given)
    assert required_path(config, "sets", bucket=True) == "gs://bucket/sets"
    with pytest.raises(ValueError, match="--config.data.path gs://bucket/sets: gs:// cannot be"):
        required_path(config, "file of voxels", "FILE")


@pytest.mark.parametrize(
    "setting",
    ["checkpoints=s3://bucket/run", "data.path=s3://bucket/sets", "init=gs://bucket/run"],
)
def test_any_other_is_refused_with_the_way_out(setting):
    with pytest.raises(ValueError, match=r"^--config\.\S+ \w+://.*cannot be.*mount the bucket"):
        configs.load("posenet2d:rhd", [f"config.{setting}"])


def test_the_checkpoints_of_a_run(tmp_path):
    assert workdir.checkpoints(tmp_path) == tmp_path / "checkpoints"
    config = ConfigDict(dict(checkpoints=RUN))
    assert str(workdir.checkpoints(tmp_path, config)) == RUN
    (tmp_path / "config.json").write_text(configs.to_json(config))
    assert str(workdir.checkpoints(tmp_path)) == RUN
    config.checkpoints = str(tmp_path / "elsewhere")
    assert workdir.checkpoints(tmp_path, config) == tmp_path / "elsewhere"
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json: not a config"):
        workdir.checkpoints(tmp_path)


def test_an_address_stays_one(monkeypatch):
    """No folder of that name below the working directory."""
    assert str(Checkpoints(epath.Path(RUN)).folder) == RUN
    assert files.in_bucket(epath.Path(RUN)) and not files.in_bucket("gs/bucket")
    written = {}
    monkeypatch.setattr(
        type(epath.Path(RUN)), "write_text", lambda path, text: written.update({str(path): text})
    )
    files.write_atomic(epath.Path(RUN) / "metrics", "{}")
    assert written == {f"{RUN}/metrics": "{}"}
