"""Every config with its variants loads and makes one training step, by shapes alone."""

import functools
import importlib
import itertools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.data.batch import BATCH, HOST_ONLY
from handjax.engine.config import load
from handjax.engine.optimizer import make_optimizer
from handjax.engine.schedules import SCHEDULES
from handjax.engine.step import init_state, train_step
from handjax.pose.skeleton import SKELETONS
from handjax.pose.skeleton_file import own_skeleton
from handjax.rigs import skinning
from handjax.sources import SOURCES, Source
from handjax.sources.base import unchanged
from handjax.sources.mixed_synthetic import with_synthetic
from handjax.tasks import TASKS
from tests.own_depth import write_toys

ROOT = Path(__file__).resolve().parent.parent


def variants_of(path: str) -> list[str]:
    """The variants of a config, from the error for an unknown one."""
    try:
        load(f"{ROOT / path}:no_such_variant")
    except ValueError as error:
        return (
            re.search(r"unknown variant no_such_variant: use (.+), joined", str(error))
            .group(1)
            .split(", ")
        )
    raise AssertionError(f"{path} takes any variant")


# Variants of which a config takes one. Variants with prepared files → the set.
DATA_SETS = {
    "camera",
    "h5",
    "own",
    "nyu",
    "icvl",
    "msra",
    "hands2017",
    "bighand",
    "dexycb",
    "ho3d",
    "itop",
}
ALTERNATIVES = (
    DATA_SETS,
    {"camera", "global_joints"},
    {"rhd", "stb", "rs", "freihand", "dexycb", "ho3d", "interhand", "handdb", "list", "own"},
    {"heatmap", "dsnt"},
)
ALTERNATIVES += ({"synthetic", "selfsup", "nyu"},)
ALTERNATIVES += (
    {"direct", "integral", "kinematic", "challenge"},
    {"h36m", "h36m_mpii", "mixed", "quick"},
)
PREPARED = {"nyu": "nyu_hand", "icvl": "icvl", "msra": "msra_hand", "hands2017": "hands2017"}
PREPARED |= {name: name for name in ("bighand", "dexycb", "ho3d", "itop")}
TOY = own_skeleton(("left_ear", "right_ear", "tail"))  # for joints of one's own


def every_config() -> list:
    """Each config alone, with each of its variants, and with each of them and quick."""
    specs = []
    for path in sorted(
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "configs").glob("*.py")
        if p.stem != "common"
    ):
        known = variants_of(path)
        pairs = [
            pair
            for pair in itertools.combinations(known, 2)
            if not any(one.issuperset(pair) for one in ALTERNATIVES)
        ]
        pairs = [
            pair for pair in pairs if "quick" in pair or pair == ("h5", "global_joints")
        ]  # one rule's own maps
        for some in [(), *((variant,) for variant in known), *pairs]:
            marks = [pytest.mark.tensorflow] if PREPARED.keys() & set(some) else []
            specs.append(pytest.param(f"{path}:{','.join(some)}".removesuffix(":"), marks=marks))
    return specs


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """prepared("nyu_hand") → the folder of a set with two fake frames per split, created once."""
    folders = {}

    def prepare(name: str) -> str:
        tfds = pytest.importorskip(
            "tensorflow_datasets",
            reason="tensorflow_datasets is not installed; handjax[data] has it",
        )
        if name not in folders:
            root = tmp_path_factory.mktemp(name)
            importlib.import_module(f"handjax.data.sets.{name}.fake").write(root / "raw", 2, seed=0)
            builder = importlib.import_module(
                f"handjax.data.sets.{name}.{name}_dataset_builder"
            ).Builder(data_dir=str(root))
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(manual_dir=str(root / "raw"))
            )
            folders[name] = str(builder.data_path)
        return folders[name]

    return prepare


@pytest.fixture(scope="module")
def traced() -> set[str]:
    """Configs, without files and lengths, whose step was traced."""
    return set()


@pytest.fixture(scope="module")
def states() -> dict:
    """States, as shapes, by network, shapes of its inputs and optimizer."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("spec", every_config())
def test_every_config_loads_and_makes_a_step(spec, request, traced, states):
    config = load(str(ROOT / spec))
    assert config.is_locked
    if config.data.name == "voxel_h5":
        file = request.getfixturevalue("real_data") / "voxel" / "nyu_voxels_6frames.h5"
        config = load(str(ROOT / spec), [f"config.data.path={file}"])
    elif config.data.name == "labelled_frames":
        write_toys(folder := request.getfixturevalue("tmp_path") / "toys", 4)
        config = load(str(ROOT / spec), [f"config.data.path={folder}"])
    elif config.data.name == "labelled_crops":
        folder = request.getfixturevalue("real_data") / "depth_sr305"
        config = load(str(ROOT / spec), [f"config.data.path={folder}"])
    elif "layers" in config.model:  # a small ResNet; its depths are tested in tests/models
        config = load(str(ROOT / spec), ["config.model.layers=18"])
    elif config.data.name in PREPARED.values():
        folder = request.getfixturevalue("prepared")(config.data.name)
        more = ["config.data.eval_split=train"] * (config.data.name == "hands2017")  # two frames
        config = load(str(ROOT / spec), [f"config.data.path={folder}", *more])
    stands_in = config.data.name in ("rgb_hand", "landmarks", "body", "nyu_views")
    source = _stand_in(config) if stands_in else SOURCES[config.data.name](config)
    optimizer = make_optimizer(config.optimizer, config.steps)
    same = _what_is_traced(config, stands_in)
    if str(same) in traced:
        return
    task = TASKS[config.task.name](config, source.skeleton)
    shape = jax.eval_shape(lambda: task.dummy_inputs(1)["x"])
    asked = task.model, jax.tree.map(lambda x: (x.shape, x.dtype), shape), str(same["optimizer"])
    if asked not in states:
        states[asked] = jax.eval_shape(lambda: init_state(jax.random.key(0), task, optimizer))
    state = states[asked]
    batch = {
        name: jnp.asarray(x)
        for name, x in source.train_rows(np.arange(2)).items()
        if name not in HOST_ONLY
    }
    step = functools.partial(
        train_step, task=task, optimizer=optimizer, materialize=source.materialize
    )
    new, parts = jax.eval_shape(
        lambda state, batch: step(state, batch, key=jax.random.key(1)), state, batch
    )
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert all(part.shape == () for part in parts.values())
    traced.add(str(same))


def _what_is_traced(config, stands_in: bool) -> dict:
    """A named default, sets that differ in their files alone, and other numbers of samples and
    steps make the same step: here the batch always has two rows."""
    lengths = dict(steps=0, eval_every=0, save_every=0, batch_size=0, eval_batch_size=0)
    same = config.to_dict() | lengths | (dict(data=config.data.name) if stands_in else {})
    same["optimizer"] |= dict(boundaries=(), warmup=same["optimizer"].get("warmup", 0) > 0)
    if not stands_in:
        same["data"].pop("eval_size", None)
    return same


def _stand_in(config):
    """Stand-ins, without files, for the sources of RGB images and of several cameras."""
    if config.data.name == "nyu_views":
        size = (config.data.image_size,) * 2
        skeleton, shapes = (
            "nyu14",
            {"cube_depth": (3, *size), "cameras": (3, 4, 4), "joints_xyz": (14, 3)},
        )
        shapes |= {"center_xyz": (3,), "cube_mm": (3,)}
    else:
        joints, skeleton = (18, "body18") if config.data.name == "body" else (21, "hand21")
        joints = len(TOY.joints) if config.data.name == "landmarks" else joints
        shapes = {
            "image": (96, 128, 3),
            "joints_uv": (joints, 2),
            "visible": (joints,),
            "labelled": (joints,),
        }
        shapes |= {"source_from_image": (2, 3)}
    if config.data.name == "landmarks":
        shapes |= {"box": (4,), "area": ()}
    if config.data.name == "body":
        shapes |= {"joints_xyz": (joints, 3), "k": (3, 3), "has_uv": (), "has_xyz": (), "box": (4,)}
    shapes |= {"mask": (), "index": ()}

    def rows(numbers):
        return {
            name: np.zeros((len(numbers), *shape), BATCH[name][0]) for name, shape in shapes.items()
        }

    source = Source(
        skeleton=TOY if config.data.name == "landmarks" else SKELETONS[skeleton],
        train_size=None,
        eval_size=1,
        train_rows=rows,
        eval_rows=rows,
        materialize=unchanged,
        names=lambda numbers: [str(number) for number in numbers],
        description="",
    )
    return with_synthetic(source, config) if "synthetic" in config.data else source


@pytest.mark.parametrize(
    ("path", "pair"),
    [("v2v", pair) for pair in itertools.combinations(sorted(DATA_SETS), 2)]
    + [("cpm", ("handdb", "rhd")), ("posenet2d", ("rhd", "stb"))],
)
def test_variants_of_two_data_sets_exclude_each_other(path, pair):
    with pytest.raises(
        ValueError, match=f"variants {pair[0]} and {pair[1]} are data sets: use one of them"
    ):
        load(f"{ROOT / 'configs' / path}.py:quick,{pair[1]},{pair[0]}")


@pytest.mark.slow
def test_the_camera_sees_a_users_own_mesh(tmp_path):
    own = skinning.hand_skin()
    thin = own.vertices - 4 * skinning.vertex_normals(own)
    np.savez(
        tmp_path / "thin.npz",
        vertices=thin,
        faces=own.faces,
        weights=own.weights,
        unbind=own.unbind,
    )
    base = ["config.data.surface=skin", "config.data.image_size=32"]

    def depth(*more):
        config = load(str(ROOT / "configs/v2v.py:quick"), [*base, *more])
        source = SOURCES[config.data.name](config)
        return jax.jit(source.materialize)(
            {k: jnp.asarray(x) for k, x in source.train_rows(np.arange(8)).items()}
        )["depth"]

    ours, theirs = depth(), depth(f"config.data.mesh={tmp_path / 'thin.npz'}")
    covered, covered_less = (float((d > 0).sum()) for d in (ours, theirs))
    assert 0.5 * covered < covered_less < 0.95 * covered
    with pytest.raises(ValueError, match="is used with config.data.surface=skin only"):
        depth(f"config.data.mesh={tmp_path / 'thin.npz'}", "config.data.surface=spheres")


@pytest.mark.slow
@pytest.mark.parametrize("policy", sorted(SCHEDULES))
@pytest.mark.parametrize("path", ["cpm", "posenet2d"])
def test_every_schedule_works(path, policy):
    numbers = {"boundaries": "(10,20)", "rates": "(0.1,0.2,0.3)", "step_size": 5, "power": 0.9}
    config = load(f"{ROOT / 'configs' / path}.py:quick", [f"config.optimizer.schedule={policy}"])
    asked = [
        f"config.optimizer.{name}={value}"
        for name, value in numbers.items()
        if name in config.optimizer
    ]
    config = load(
        f"{ROOT / 'configs' / path}.py:quick", [f"config.optimizer.schedule={policy}", *asked]
    )
    update, _ = make_optimizer(config.optimizer, 30).update(
        {"w": jnp.ones(2)}, make_optimizer(config.optimizer, 30).init({"w": jnp.ones(2)})
    )
    assert np.isfinite(update["w"]).all()
