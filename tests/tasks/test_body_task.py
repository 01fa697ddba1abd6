"""The body task without its network: inputs, and predictions and losses of ideal outputs."""

import inspect
import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.data.batch import check_batch
from handjax.engine.config import load
from handjax.pose import crop2d
from handjax.pose.skeleton import SKELETONS
from handjax.rigs import body as rig
from handjax.sources import SOURCES, synthetic
from handjax.synthetic.people import body_sample
from handjax.targets import body as targets
from handjax.tasks import TASKS

BODY = SKELETONS["body18"]
FLIP, NECK, HEAD = np.array(BODY.flip), BODY.joints.index("neck"), BODY.joints.index("head")
HEIGHT, WIDTH, GREY = 150, 190, 128
# Kinds of labels of the rows of a batch; the last is padding.
PLACED, FLAT, POSED, UNKNOWN, PADDING = (0, 1), 2, 3, 4, 5


def build(repo, variants, *overrides):
    return TASKS["body"](load(f"{repo}/configs/body.py:{variants},quick", overrides), BODY)


def motions():
    """Outputs of a kinematic head that place the people of `people`."""
    rng = np.random.default_rng(0)
    numbers = np.concatenate(
        [0.4 * rng.standard_normal((6, 29)), rng.uniform(-0.2, 0.1, (6, 1))], axis=-1
    )
    numbers[:, :3] = 0
    return jnp.asarray(numbers, jnp.float32)


@pytest.fixture(scope="module")
def people():
    """A batch with samples of all kinds, and the total bone length of row POSED. In two rows a
    joint without a label is NaN."""
    motion, scale = rig.motion_and_scale(motions())
    about = np.asarray(jax.jit(rig.joints)(motion, scale))
    roots = np.float32([[300, -100, 4000], [-500, 200, 3000]])
    k = np.tile(np.eye(3, dtype=np.float32), (6, 1, 1))
    k[:2] = [[200, 0, 70], [0, 202, 80], [0, 0, 1]]
    xyz = np.zeros((6, 18, 3), np.float32)
    xyz[:2], xyz[POSED] = about[:2] + roots[:, None], about[POSED]
    at = np.einsum("bij,bkj->bki", k[:2], xyz[:2])
    uv = np.zeros((6, 18, 2), np.float32)
    uv[:2], uv[FLAT] = at[..., :2] / at[..., 2:], [90, 70] + about[FLAT, :, :2] * 100 / 2000
    labelled = np.arange(6)[:, None] < [3] * 18
    labelled[[0, FLAT], [HEAD, NECK]] = False
    image = np.random.default_rng(1).integers(0, 30, (6, HEIGHT, WIDTH, 3))
    for row in (0, 1, FLAT):
        for u, v in np.rint(uv[row, labelled[row]]).astype(int):
            image[row, max(v - 2, 0) : v + 3, max(u - 2, 0) : u + 3] = 250
    xyz[0, HEAD], uv[0, HEAD], uv[FLAT, NECK], xyz[PADDING], uv[PADDING] = (np.nan,) * 5
    batch = {
        "image": image.astype(np.uint8),
        "joints_xyz": xyz,
        "joints_uv": uv,
        "k": k,
        "labelled": labelled,
        "visible": labelled,
        "has_uv": np.array([True, True, True, False, False, True]),
        "has_xyz": np.array([True, True, False, True, False, True]),
        "box": np.float32([[40, 20, 100, 100]] * 5 + [[0, 0, 0, 0]]),
        "head_px": np.zeros(6, np.float32),
        **{name: np.full(6, -1, np.int32) for name in ("subject", "action", "camera")},
        "source_from_image": np.tile(np.float32([[2, 0, 0.5], [0, 2, 100]]), (6, 1, 1)),
        "mask": np.arange(6) != PADDING,
        "index": np.arange(6, dtype=np.int32),
    }
    check_batch(batch)
    bones = np.array(BODY.bones)
    length = np.linalg.norm(np.diff(about[POSED][bones], axis=1)[:, 0], axis=-1).sum()
    return jax.tree.map(jnp.asarray, batch), float(length)


@pytest.fixture(scope="module")
def prepared(repo, people):
    """prepared(variants, overrides …) → the task and its inputs of `people`, cached."""

    @cache
    def make(variants, *overrides, train=False):
        task, batch = build(repo, variants, *overrides), people[0]
        keys = jax.random.split(jax.random.key(3), len(batch["mask"]))
        return task, jax.jit(partial(task.prepare, train=train))(keys, batch)

    return make


def ideal(head, inputs, two_views=False):
    """Outputs that stand for the ground truth: the labels, or the parameters of the rig."""
    if head != "kinematic":
        views = [inputs["labels"]] + two_views * [
            targets.mirror_labels(inputs["labels"], BODY.flip, 64)
        ]
    else:
        numbers = motions()
        other = jnp.concatenate([rig.mirrored(numbers[:, :29]), numbers[:, 29:]], -1)
        views = [numbers] + two_views * [other]
    return jnp.stack(views, 1).reshape(-1, *views[0].shape[1:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "flip_test"), [("direct", False), ("integral", True), ("kinematic", True)]
)
def test_the_ground_truth_has_no_loss_and_is_predicted(people, prepared, head, flip_test):
    batch, length = people
    task, inputs = prepared(
        head, f"config.task.flip_test={flip_test}", f"config.task.skeleton_mm={length}"
    )
    assert inputs["x"].shape == (6 + 6 * flip_test, 64, 64, 3) and np.isfinite(inputs["x"]).all()
    outputs = ideal(head, inputs, flip_test)
    total, terms = jax.jit(task.loss)(outputs, inputs)
    assert total < 1e-4 and set(terms) == {"xy", "z"}
    rows, truth = jax.jit(task.predict)(outputs, inputs), task.ground_truth(batch)
    off = np.abs(rows["joints_xyz"] - truth["joints_xyz"]).max(-1)
    assert off[[0, 0, 1]][:, np.arange(18) != HEAD].max() < (
        0.2 if not flip_test or head != "kinematic" else 0.5
    )
    assert np.nanmax(off[list(PLACED)]) < 0.5 and off[POSED].max() < 0.1
    labelled = np.array(batch["labelled"])[:3]
    # The middle of an even number of pixels lies between two of them: a rig mirrored about it is
    # off by a pixel, and the mean by half of one.
    px = np.linalg.norm(rows["joints_uv"] - truth["joints_uv"], axis=-1)[:3]
    assert px[:2][labelled[:2]].max() < 0.02 and px[FLAT][labelled[FLAT]].max() < (
        2 if flip_test and head == "kinematic" else 0.02
    )
    assert all(np.isfinite(rows[name]).all() for name in rows)

    scored = jax.tree.map(
        np.asarray, rows | {f"true_{name}": value for name, value in truth.items()}
    )
    whole = {name: value[[1, FLAT, POSED, UNKNOWN]] for name, value in scored.items()}
    metrics = task.score(whole)
    assert (
        metrics[task.monitor] < 0.3
        and metrics["frames_3d"] == 2
        and metrics["frames_2d"] == 2
        and metrics["epe_px"] < 1
    )


@pytest.mark.slow
def test_only_known_labels_are_learnt(repo, people, prepared):
    batch, (_, inputs) = people[0], prepared("kinematic")
    task = build(repo, "integral", "config.task.loss=l2")
    outputs = inputs["labels"] + 0.1 * jax.random.normal(jax.random.key(0), (6, 18, 3))
    total, gradient = jax.jit(jax.value_and_grad(lambda outputs: task.loss(outputs, inputs)[0]))(
        outputs
    )
    learnt, labelled = np.asarray(gradient) != 0, np.asarray(batch["labelled"])
    np.testing.assert_array_equal(learnt[:2], np.broadcast_to(labelled[:2, :, None], (2, 18, 3)))
    np.testing.assert_array_equal(
        learnt[FLAT], labelled[FLAT][:, None] & np.array([[True, True, False]])
    )
    assert learnt[POSED].all() and not learnt[[UNKNOWN, PADDING]].any() and np.isfinite(total)
    # Without a camera the position of a pose is unknown.
    np.testing.assert_allclose(gradient[POSED].sum(0), np.zeros(3), atol=1e-6)
    # The sum over joints and coordinates, averaged over the samples without padding.
    error = np.where(inputs["counts"], outputs - inputs["labels"], 0)
    error[POSED] -= np.asarray(outputs - inputs["labels"])[POSED, 0]
    np.testing.assert_allclose(total, (error[:5] ** 2).sum() / 5, rtol=1e-5)


@pytest.mark.slow
def test_the_rig_learns_from_every_kind_within_its_limits(repo, people, prepared):
    task, (_, inputs) = build(repo, "kinematic", "config.task.limits=0.5"), prepared("kinematic")
    wild = motions() + 3 * jax.random.normal(jax.random.key(1), (6, 30))
    (total, terms), gradient = jax.jit(
        jax.value_and_grad(lambda out: task.loss(out, inputs), has_aux=True)
    )(wild)
    np.testing.assert_allclose(total, terms["xy"] + terms["z"] + 0.5 * terms["limits"], rtol=1e-6)
    assert (
        terms["limits"] > 1
        and np.isfinite(gradient).all()
        and not np.asarray(gradient[PADDING]).any()
    )
    assert (np.abs(gradient[:4]).max(1) > 0).all()
    lengths = ",".join(str(2 * length) for length in rig.ADULT_LENGTHS)
    larger = build(
        repo, "kinematic", f"config.task.lengths=({lengths})", "config.task.learn_scale=False"
    )
    xyz = jnp.stack(
        [jax.jit(larger.predict)(motions(), inputs)["joints_xyz"][1], people[0]["joints_xyz"][1]]
    )
    sizes = np.linalg.norm(xyz - xyz[:, :1], axis=-1)[:, 1:]
    np.testing.assert_allclose(
        sizes[0] / sizes[1], np.full(17, 2 / np.exp(motions()[1, 29])), rtol=1e-3
    )
    original = build(repo, "kinematic", "config.task.rig=original")
    numbers = motions().at[:, 29].set(1 / 2000)  # from mm to labels
    assert (
        0.2 < np.abs(jax.jit(original.predict)(numbers, inputs)["joints_uv"][FLAT] / 100).max() < 4
    )


@pytest.mark.slow
@pytest.mark.parametrize("head", ["direct", "kinematic"])
def test_augmented_patches_show_joints_at_their_labels(repo, people, prepared, head):
    batch, task = people[0], build(repo, head)
    _, inputs = prepared(
        "direct",
        "config.augment.enabled=True",
        "config.augment.rotated=1.0",
        "config.augment.colour=0.0",
        train=True,
    )
    patch, depth = np.asarray(inputs["patch"]), np.asarray(inputs["depth_mm"])
    mirrored = np.linalg.det(patch[:, :, :2]) < 0
    assert (
        0 < mirrored[:4].sum() < 4
        and len(set(depth[:5])) == 5
        and 1500 <= depth.min() < depth.max() <= 2500
    )
    order = np.where(mirrored[:, None], FLIP[None], np.arange(18)[None])
    truth = task.ground_truth(batch)

    if head == "kinematic":  # rotate the person with the image
        numbers = motions()
        numbers = jnp.where(
            mirrored[:, None], numbers.at[:, :29].set(rig.mirrored(numbers[:, :29])), numbers
        )
        sign = np.where(mirrored, -1, 1)
        across, down = (
            np.asarray(batch["k"])[:, i, i] for i in (0, 1)
        )  # to the patch a pixel is as high as it is wide
        angle = np.arctan2(sign * patch[:, 1, 0] * down / across, sign * patch[:, 0, 0])
        outputs = numbers.at[:, rig.MOTION_NAMES.index("root_z")].add(-angle)
    else:
        outputs = inputs["labels"]
    total, _ = jax.jit(task.loss)(outputs, inputs)
    assert total < 1e-3
    found = jax.jit(task.predict)(outputs, inputs)
    for row in PLACED:
        off = np.abs(found["joints_xyz"][row] - np.asarray(truth["joints_xyz"])[row, order[row]])
        assert np.nanmax(off) < 0.3

    pixels = np.asarray(inputs["x"]) * [58.395, 57.12, 57.375] + [123.675, 116.28, 103.53]
    for row in (*PLACED, FLAT):
        seen = np.asarray(batch["labelled"])[row, order[row]]
        u, v = np.rint((np.asarray(inputs["labels"])[row, seen, :2].T + 0.5) * 64).astype(int)
        inside = (u >= 0) & (u < 64) & (v >= 0) & (v < 64)
        assert inside.sum() > 10 and pixels[row, v[inside], u[inside]].min() > 150


@pytest.mark.slow
def test_the_depth_of_the_pelvis_can_be_estimated(people, prepared):
    batch, (given, _) = people[0], prepared("kinematic")
    task, inputs = prepared("direct", "config.task.root_depth=box")
    assert "depth of the pelvis from the size of the joints' box" in task.title
    rows, truth = jax.jit(task.predict)(ideal("direct", inputs), inputs), task.ground_truth(batch)
    side = 1.25 * np.ptp(np.asarray(batch["joints_uv"])[1], axis=0).max()
    np.testing.assert_allclose(
        rows["joints_xyz"][1, 0, 2], np.sqrt(200 * 202) * 2000 / side, rtol=1e-5
    )
    np.testing.assert_allclose(rows["joints_uv"][1], truth["joints_uv"][1], atol=0.02)
    assert "as labelled" in given.title


@pytest.mark.slow
def test_an_image_without_labels_is_shown_entirely(repo, people):
    task = build(repo, "challenge", "config.task.flip_test=False")
    alone = {name: people[0][name] for name in ("image", "mask")}
    inputs = jax.jit(partial(task.prepare, train=False))(
        jax.random.split(jax.random.key(0), 6), alone
    )
    patches, affine = task.visualize(inputs)
    assert patches.shape == (6, 128, 96, 3) and patches.dtype == jnp.uint8
    corners = crop2d.apply(
        np.asarray(affine), np.tile(np.float32([[0, 0], [96, 128], [48, 64]]), (6, 1, 1))
    )
    middle, high = (WIDTH - 1) / 2, WIDTH * 4 / 3
    np.testing.assert_allclose(corners[0, 2], [middle, (HEIGHT - 1) / 2], atol=1e-3)
    np.testing.assert_allclose(corners[0, 1] - corners[0, 0], [WIDTH, high], atol=1e-2)
    assert (patches[:, 0] == GREY).all()
    assert not any(
        np.asarray(value).any()
        for name, value in task.ground_truth(alone).items()
        if name.startswith("has")
    )
    total, _ = task.loss(jnp.ones((6, 18, 3)), inputs)
    assert total == 0


@pytest.mark.slow
def test_synthetic_people_have_the_keys_of_prepared_ones(repo, people, monkeypatch):
    asked, options = inspect.signature(body_sample), {}

    def sample(key, **given):
        options.update(given)
        drawn = {name: people[0][name][1] for name in ("k", "joints_xyz", "joints_uv", "visible")}
        return drawn | {
            "image": jnp.zeros((32, 32, 3), jnp.uint8),
            "depth": jnp.zeros((32, 32)),
            "mask": jnp.zeros((32, 32), bool),
        }

    monkeypatch.setattr(synthetic, "body_sample", sample)
    source = SOURCES["body_world"](
        load(
            f"{repo}/configs/body.py:quick",
            ["config.data.image_size=32", "config.data.eval_size=4"],
        )
    )
    batch = jax.tree.map(np.asarray, source.materialize(source.train_rows(np.arange(4)), None))
    check_batch(batch)
    assert set(options) == set(asked.parameters) - {"key"} and options["image_size"] == 32
    assert set(batch) == set(people[0])
    assert (
        batch["has_uv"].all()
        and batch["has_xyz"].all()
        and batch["labelled"].all()
        and batch["mask"].all()
    )
    np.testing.assert_allclose(
        batch["box"][:, :2] + batch["box"][:, 2:] / 2, batch["joints_uv"][:, 0], atol=1e-3
    )
    np.testing.assert_allclose(
        batch["box"][:, 2:], np.tile([200 * 2000 / 3000, 202 * 2000 / 3000], (4, 1)), rtol=1e-5
    )
    assert source.description == "4 synthetic people held out by seed 1" and source.skeleton == BODY


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "model.head=hourglass",
            "config.model.head=hourglass: expected direct or integral or kinematic",
        ),
        ("model.layers=20", "expected 18 or 34 or 50 or 101 or 152"),
        ("model.dtype=float16", "float32 or bfloat16"),
        ("task.loss=huber", "expected l1 or l2"),
        ("task.root_depth=net", "expected label or box"),
        ("task.rig=smpl", "expected default or original"),
        ("task.lengths=(1.0, 2.0)", "expected 12 bones in mm, or none"),
        ("crop.size=(64, 65)", "expected height and width, multiples of 32 px"),
        (
            "crop.box_mm=(1485.0, 1980.0)",
            "stretches config.crop.box_mm=(1485.0, 1980.0) (width, height)",
        ),
        ("augment.flip=1.5", "a probability"),
        ("task.monitor=pck", "expected mpjpe_mm or epe_px"),
    ],
)
def test_invalid_options_are_reported(repo, text, words):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        build(repo, "kinematic", f"config.{text}")
    assert "\n" not in str(caught.value)


def test_invalid_combinations_are_reported(repo):
    with pytest.raises(ValueError, match="the original rig has no joint limits"):
        build(repo, "kinematic", "config.task.rig=original", "config.task.limits=0.1")
    with pytest.raises(ValueError, match="needs joints of body18, and the samples have hand21"):
        TASKS["body"](load(f"{repo}/configs/body.py:quick"), SKELETONS["hand21"])
    with pytest.raises(ValueError, match="variants direct and integral are heads: use one of them"):
        load(f"{repo}/configs/body.py:integral,direct")
    with pytest.raises(ValueError, match="variants h36m and mixed are data sets: use one of them"):
        load(f"{repo}/configs/body.py:mixed,h36m")


def test_every_option_of_the_originals_has_a_config_key(repo):
    options = (repo / "configs" / "body.py").read_text().split("OPTIONS = {")[1].split("\n}\n")[0]
    config = load(f"{repo}/configs/body.py:mixed")
    for key in re.findall(r"--config\.([\w.]*\w)", options):
        value = config
        for part in key.split("."):
            value = value[part]
    assert len(re.findall(r"--config\.", options)) > 20
    with pytest.raises(
        ValueError, match=r"the original's depth_dim is here --config\.model\.depth"
    ):
        load(f"{repo}/configs/body.py", ["config.depth_dim=72"])


@pytest.mark.slow
def test_a_label_many_boxes_away_is_not_learnt(repo, people):
    """A box without size elsewhere leaves nothing to learn; one joint far away, the others."""
    batch = dict(people[0])
    wrong = jnp.asarray([10.0, 10.0, 0.0, 0.0])
    task, keys = build(repo, "integral"), jax.random.split(jax.random.key(3), 6)
    prepare = jax.jit(partial(task.prepare, train=False))
    for box, moved, learnt in ((wrong, 0.0, 0), (batch["box"][FLAT], 3000.0, 16)):
        uv = batch["joints_uv"].at[FLAT, 2].add(moved)
        inputs = prepare(keys, batch | {"box": batch["box"].at[FLAT].set(box), "joints_uv": uv})
        counts = np.asarray(inputs["counts"])[FLAT, :, 0]
        assert counts.sum() == learnt and np.abs(np.asarray(inputs["labels"])).max() <= crop2d.FAR
        assert np.asarray(inputs["counts"])[0].sum() == 3 * 17  # other rows are as before
