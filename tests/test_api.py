"""The public API: `handjax.load` on the included network and on tiny runs of every system."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import handjax
from handjax import run, train
from handjax.data.batch import unpack_voxels
from handjax.data.camera_presets import preset
from handjax.data.cameras import PRESETS, intrinsics, read_camera
from handjax.data.formats.voxel_h5_writer import write_voxel_h5
from handjax.engine import config as configs
from handjax.engine.checkpoint import Checkpoints
from handjax.pose import crop2d, look_at
from handjax.pose.lens import Lens
from handjax.pose.pinhole import project
from handjax.pose.skeleton import SKELETONS
from handjax.prediction import depth_base, hand_search
from handjax.prediction.network import _compile
from handjax.prediction.recognizers import load_for_frames
from handjax.synthetic import camera_world
from handjax.targets import body as body_targets

COMMON = (
    "config.eval_batch_size=2",
    "config.devices=1",
    "config.compile_cache=False",
    "config.optimizer.name=sgd",
)
V2V = ("config.model.widths=(2,4,4,4)", "config.task.grid=16", "config.task.heatmap_grid=8")
RGB = ("config.crop.size=32", "config.data.image_size=48", "config.data.supersampling=1")
TINY = {
    "v2v": ("v2v.py:quick", *V2V, "config.data.image_size=32"),
    "camera": ("v2v.py:camera,quick", *V2V),
    "posenet2d": ("posenet2d.py:quick,dsnt", *RGB, "config.model.widths=(4,4,4,4,4)"),
    "cpm": ("cpm.py:quick", *RGB, "config.model.widths=(4,4,4)", "config.task.mirror_left=True"),
    "body": (
        "body.py:direct,quick",
        "config.model.width=2",
        "config.crop.size=(32,32)",
        "config.data.image_size=48",
        "config.data.supersampling=1",
    ),
    "spherehand": ("spherehand.py:quick", "config.data.image_size=32"),
}


@pytest.fixture(scope="module")
def tiny(repo, tmp_path_factory):
    """tiny(system, *overrides) → the folder of an untrained run and its rows of an evaluation."""

    @cache
    def make(system: str, *overrides: str) -> tuple[Path, run.Run, dict]:
        spec, *own = TINY[system]
        size = () if "data.path" in str(overrides) else ("config.data.eval_size=3",)
        config = configs.load(f"{repo}/configs/{spec}", [*own, *COMMON, *size, *overrides])
        folder = tmp_path_factory.mktemp(system)
        (folder / "config.json").write_text(configs.to_json(config))
        opened = run.open_run(folder)
        checkpoints = Checkpoints(folder / "checkpoints")
        checkpoints.save(opened.init_state())
        checkpoints.close()
        ((_, state),) = opened.restore("last")
        return folder, opened, opened.predict(state)[0]

    return make


def held_out(opened: run.Run) -> dict[str, np.ndarray]:
    """All samples of the evaluation split, as the task sees them."""
    source = opened.source
    rows = source.eval_rows(np.arange(source.eval_size))
    return jax.device_get(jax.jit(lambda batch: source.materialize(batch, None))(rows))


def same(found, wanted, atol=2e-2):
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=atol, rtol=1e-4)


# ---------------------------------------------------------------- the module


def test_import_is_free():
    code = "import sys, handjax; print(handjax.__version__, {'jax', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"{handjax.__version__} set()\n", done.stderr


def test_public_names():
    assert set(handjax.__all__) <= set(dir(handjax))
    assert list(handjax.list_models()) == [
        "hand-depth",
        "v2v",
        "spherehand",
        "hand-rgb",
        "body-rgb",
    ]
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        handjax.lode  # noqa: B018


@pytest.mark.slow
def test_readme_snippet_runs(repo, capsys):
    readme = (repo / "README.md").read_text()
    (code,) = re.findall(r"<!-- test: python -->\n```python\n(.*?)```", readme, re.DOTALL)
    depth = np.zeros((240, 320), np.float32)
    depth[80:160, 120:200] = 500
    exec(code, dict(depth=depth, fx=300.0, fy=300.0, cx=160.0, cy=120.0))
    printed = capsys.readouterr().out
    shapes = "xyz [21, 3] mm (camera frame), uv [21, 2] px, std [21] mm"
    shapes += ", covariance [21, 3, 3] mm², presence []"
    assert f"Prediction(21 joints; {shapes}, center [3] mm, box [4] px)" in printed
    assert re.search(r"^joint +x_mm +y_mm +z_mm +std_mm", printed, re.MULTILINE)
    assert "index_tip" in printed


# ---------------------------------------------------------------- every system


@pytest.mark.slow
def test_v2v_run(tiny):
    folder, opened, rows = tiny("v2v")
    predictor, batch = handjax.load(folder), held_out(opened)
    assert predictor.joints == SKELETONS["hand21"].joints
    assert "VoxelPredictor" in repr(predictor) and "step 0" in repr(predictor)
    found = predictor(batch["depth"], camera=batch["k"], center=batch["center_xyz"])
    same(found.xyz, rows["joints_xyz"])
    same(found.confidence, rows["confidence"])
    same(found.uv, project(found.xyz, batch["k"]))
    # One image, as JAX arrays.
    first = {name: jnp.asarray(batch[name][0]) for name in ("depth", "k", "center_xyz")}
    one = predictor(first["depth"], first["k"][None], first["center_xyz"])
    same(one.xyz, rows["joints_xyz"][0])
    same(one["index_tip"], rows["joints_xyz"][0, one.joints.index("index_tip")])
    # The nearest thing has its center of mass near the mean of the points of the evaluation.
    fx, fy, cx, cy = (float(batch["k"][0][at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    camera = f"crop:{fx},{fy},{cx},{cy}"
    free = predictor(batch["depth"][0], camera, center="nearest")
    nearest = depth_base.nearest_centers(
        batch["depth"][:1], batch["k"][:1], predictor.cube_mm, predictor.range_mm
    )
    same(free.xyz, predictor(batch["depth"][0], batch["k"][:1], nearest[0]).xyz)
    # By default the hand network says where the hand is.
    found = predictor(batch["depth"][0], camera)
    hand = handjax.load("hand-depth")(batch["depth"][0], camera, side="right")
    same(found.center, hand.xyz.mean(0))
    same(found.xyz, predictor(batch["depth"][0], camera, hand.xyz.mean(0)).xyz)


@pytest.mark.slow
def test_a_run_of_an_included_networks_name_is_not_taken_for_it(tiny, tmp_path, monkeypatch):
    folder, _, _ = tiny("v2v")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v2v").symlink_to(folder)
    with pytest.raises(ValueError, match="v2v: an included network, and a run's folder here; wri"):
        handjax.load("v2v")
    with pytest.raises(ValueError, match="write ./v2v for the run"):
        train._weights_of("v2v")
    for own in ("./v2v", Path("v2v")):
        assert "step 0" in repr(handjax.load(own))
    assert "step 0" in repr(load_for_frames(None, "v2v", True))
    assert train._weights_of("hand-depth").name == "handnet.npz"


def hands_aside(side: float):
    """A rendered depth image of a right hand in the left half of the picture, for `side` -1 its
    mirror image; and the camera."""
    sample = camera_world.frame_sample(jax.random.key(9), none=0.0, sensors=())
    depth, k = np.asarray(sample["depth"]), np.asarray(sample["k"])
    return (depth if side > 0 else depth[:, ::-1].copy()), k


@pytest.mark.slow
def test_v2v_in_the_crops_of_the_hand_network(tiny):
    """Its joints are those of the network on the upright crop, turned back."""
    folder, opened, _ = tiny("camera")
    predictor, finder = handjax.load(folder), handjax.load("hand-depth")
    assert "HandVoxelPredictor" in repr(predictor)
    depth, k = hands_aside(1)
    for side in ("right", "left"):
        hand = finder(depth, k, side=side)
        found = predictor(depth, k, side=side)
        assert found.side == side and found.std is None
        np.testing.assert_allclose(found.presence, hand.presence, atol=1e-5)
        same(found.center, hand.xyz.mean(0))
        mirror = np.float32([1 if side == "right" else -1, 1, 1])
        crop, rotation, distance = hand_search.upright_crop(
            jnp.asarray(depth), jnp.asarray(k), jnp.asarray(hand.xyz), jnp.asarray(mirror[0])
        )
        batch = {
            "depth": np.asarray(crop)[None],
            "k": np.asarray(look_at.crop_camera(distance, 64))[None],
            "center_xyz": np.float32([[0, 0, distance]]),
            "cube_mm": np.full((1, 3), 300, np.float32),
        }
        rows = predictor.network(batch)
        same(found.xyz, (rows["joints_xyz"][0] * mirror) @ np.asarray(rotation), atol=0.05)
        # In the crop the hand points up.
        ahead = (hand.xyz * mirror) @ (np.asarray(rotation) * mirror[:, None] * mirror).T
        assert abs(look_at.roll(jnp.asarray(ahead, jnp.float32))) < 0.02
    # What the mirror shows is a left hand.
    right = predictor(depth, k, side="right")
    mirrored, _ = hands_aside(-1)
    k = k.copy()
    k[0, 2] = depth.shape[1] - 1 - k[0, 2]
    left = predictor(mirrored, k, side="left")
    same(left.xyz, right.xyz * np.float32([-1, 1, 1]), atol=3.0)


def test_included_v2v_finds_the_hand():
    predictor = handjax.load("v2v")
    depth, k = hands_aside(1)
    found = predictor(depth, k, side="right")
    hand = handjax.load("hand-depth")(depth, k, side="right")
    assert found.joints == hand.joints and np.isfinite(found.xyz).all()
    assert np.linalg.norm(found.xyz - hand.xyz, axis=-1).mean() < 40


@pytest.mark.slow
def test_left_hand_is_mirrored(tiny):
    folder, opened, _ = tiny("v2v")
    predictor, batch = handjax.load(folder), held_out(opened)
    k = batch["k"].copy()
    k[:, 0, 2] = batch["depth"].shape[2] - 1 - k[:, 0, 2]
    mirror = np.float32([-1, 1, 1])
    right = predictor(batch["depth"], batch["k"], batch["center_xyz"])
    left = predictor(batch["depth"][..., ::-1].copy(), k, batch["center_xyz"] * mirror, side="left")
    same(left.xyz, right.xyz * mirror)


@pytest.mark.slow
def test_v2v_run_on_voxels(tiny, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "hands.h5"

    def hands():
        for n in range(3):
            joints = rng.uniform(-100, 100, (14, 3)).astype(np.float32)
            center = np.float32([0, 0, 600 + n])
            voxels = rng.random((16, 16, 16)) < 0.05
            yield voxels, joints + center, center, np.full(3, 300, np.float32), f"{n}"

    write_voxel_h5(path, hands())
    more = (f"config.data.path={path}", "config.task.heatmap_grid=8")
    TINY["h5"] = ("v2v.py:h5,quick", *V2V)
    folder, opened, rows = tiny("h5", *more)
    batch = held_out(opened)
    path.unlink()  # a predictor needs no data
    predictor = handjax.load(folder)
    assert predictor.joints == SKELETONS["nyu14"].joints
    voxels = unpack_voxels(batch["voxels"])
    found = predictor.from_voxels(voxels, batch["center_xyz"], batch["cube_mm"])
    same(found.xyz, rows["joints_xyz"])
    assert found.uv is None
    same(predictor.from_voxels(voxels[1], batch["center_xyz"][1]).xyz, rows["joints_xyz"][1])


@pytest.mark.slow
@pytest.mark.parametrize("system", ["posenet2d", "cpm"])
def test_hand_image_runs(tiny, repo, system):
    folder, opened, rows = tiny(system)
    predictor, batch = handjax.load(folder), held_out(opened)
    crop = crop2d.Crop(**opened.config.crop, center_joint=_palm_joint(opened))

    def box(uv, visible):
        known = jnp.ones(len(uv), bool)
        center, side = crop2d.square(crop, uv, known, batch["image"].shape[1:3], None, visible)
        return jnp.concatenate([center - side / 2, side[None]])

    boxes = np.asarray(jax.vmap(box)(batch["joints_uv"], batch["visible"]))
    sides = ["left" if left else "right" for left in batch["left"]]
    found = [
        predictor(image, box, side=side)
        for image, box, side in zip(batch["image"], boxes, sides, strict=True)
    ]
    same(np.stack([one.uv for one in found]), rows["joints_uv"])
    same(np.stack([one.confidence for one in found]), rows["confidence"])
    assert found[0].xyz is None
    np.testing.assert_array_equal(found[0]["wrist"], found[0].uv[0])
    # Several boxes of one image, and one box for each of several images.
    side = sides[0]
    both = predictor(batch["image"][0], boxes[[0, 0]], side=side)
    same(both.uv, np.stack([found[0].uv] * 2))
    same(predictor(batch["image"][[0, 0]], boxes[[0, 0]], side=side).uv, both.uv)
    whole = predictor(batch["image"][0], side=side)
    same(whole.uv, predictor(batch["image"][0], [-0.5, -0.5, 48, 48], side=side).uv)


def _palm_joint(opened: run.Run) -> int:
    palm = opened.config.crop.rule == "palm"
    return opened.source.skeleton.joints.index("middle_base") if palm else 0


@pytest.mark.slow
def test_body_run(tiny):
    folder, opened, rows = tiny("body")
    predictor, batch = handjax.load(folder), held_out(opened)
    assert predictor.joints == SKELETONS["body18"].joints

    def box(k, root):
        sides = body_targets.box_px(root[2], k, opened.config.crop.box_mm)
        return jnp.concatenate([project(root[None], k)[0] - sides / 2, sides])

    boxes = np.asarray(jax.vmap(box)(batch["k"], batch["joints_xyz"][:, 0]))
    found = predictor(batch["image"], boxes)
    same(found.uv, rows["joints_uv"])
    # Without a camera: the pelvis is the origin, and all bones together have a fixed length.
    np.testing.assert_allclose(found["pelvis"], 0, atol=1e-3)
    lengths = [
        np.linalg.norm(found.xyz[:, a] - found.xyz[:, b], axis=-1)
        for a, b in SKELETONS["body18"].bones
    ]
    np.testing.assert_allclose(np.sum(lengths, 0), opened.config.task.skeleton_mm, rtol=1e-3)
    assert "mm (pelvis frame)" in repr(found)
    same(found.box, boxes, atol=1e-4)
    assert np.asarray(found.plot()).ndim == 3
    same(predictor(batch["image"][1], boxes[1]).xyz, found.xyz[1])


@pytest.mark.slow
def test_sphere_hand_run(tiny):
    folder, opened, rows = tiny("spherehand")
    predictor, batch = handjax.load(str(folder), checkpoint="0"), held_out(opened)
    assert predictor.joints == SKELETONS["nyu14"].joints
    found = predictor.from_cubes(batch["cube_depth"][:, 0])
    same(found.xyz, rows["joints_xyz"])
    center = np.float32([10, 20, 600])
    moved = predictor.from_cubes(batch["cube_depth"][1, 0], center)
    same(moved.xyz, rows["joints_xyz"][1] + center)


@pytest.mark.slow
def test_included_sphere_hand():
    predictor = handjax.load("spherehand")
    rng = np.random.default_rng(0)
    frames = np.zeros((2, 120, 160), np.float32)
    frames[:, 40:80, 60:110] = 500 + rng.uniform(-20, 20, (2, 40, 50))
    found = predictor(frames, camera=[200, 200, 80, 60])
    assert found.xyz.shape == (2, 21, 3) and found.confidence is None
    assert found.side == ("right", "right") and found.std is None and found.presence is None
    np.testing.assert_allclose(found.center[:, 2], 500, atol=25)
    one = predictor(frames[1], camera=np.array([[200, 0, 80], [0, 200, 60], [0, 0, 1]]))
    same(one.xyz, found.xyz[1])
    same(one.center, found.center[1])
    again = predictor(frames[1], camera=[200, 200, 80, 60], center=one.center)
    same(again.xyz, one.xyz)
    same(found["wrist"], found.xyz[:, 0])
    mirrored = predictor(frames[..., ::-1], camera=(200, 200, 79, 60), side="left")
    same(mirrored.xyz, found.xyz * np.float32([-1, 1, 1]), atol=0.5)
    same(mirrored.center, found.center * np.float32([-1, 1, 1]), atol=0.5)
    assert mirrored.side == ("left", "left")


@pytest.mark.slow
@pytest.mark.parametrize("fisheye", [False, True])
def test_a_lens_is_taken_out_of_the_image(fisheye):
    """A ball seen through a lens is found where it is seen without; `uv` are of the image."""
    predictor, k = handjax.load("spherehand"), np.array([[120, 0, 80], [0, 120, 60], [0, 0, 1.0]])
    lens = Lens("fisheye", (0.0,) * 4) if fisheye else Lens("opencv", (-0.2, 0.05, 0.0, 0.0))
    # A ball left of the axis, by its equation, along the pinhole's rays and along the lens's.
    middle, radius = np.array([-200.0, -110.0, 450.0]), 55.0
    v, u = np.mgrid[:120, :160].astype(np.float64)
    bent = (np.stack([u, v], axis=-1) - k[:2, 2]) / 120

    def depth(slopes):
        rays = np.concatenate([slopes, np.ones_like(slopes[..., :1])], axis=-1)
        a, b = (rays**2).sum(-1), rays @ middle
        root = b**2 - a * (middle @ middle - radius**2)
        return np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, 0)

    slopes = bent.copy()
    for _ in range(60):
        slopes += 0.8 * (bent - lens.distort(slopes))
    name = "fisheye" if fisheye else "opencv"
    text = ",".join(map(str, (120, 120, 80, 60, *lens.coefficients)))
    seen = predictor(depth(slopes), f"fisheye:{text}" if fisheye else text)
    plain = predictor(depth(bent), k)
    away = np.linalg.norm(seen.xyz - plain.xyz, axis=-1)
    assert away.mean() < 4, (name, away)
    same(seen.uv, lens.project(seen.xyz.astype(np.float64), k), atol=1e-3)
    if not fisheye:
        same(predictor(depth(slopes), (k, lens.coefficients)).xyz, seen.xyz)
    # The lens matters: without it the hand is elsewhere.
    with_lens = np.linalg.norm(predictor(depth(slopes), k).xyz.mean(0) - plain.xyz.mean(0))
    assert with_lens > 2 * away.mean() + 1


@pytest.mark.slow
def test_loading_again_compiles_once(tiny):
    folder, opened, _ = tiny("v2v", "config.task.sigma=1.5")
    batch = held_out(opened)
    compiled = _compile.cache_info().misses
    first, second = handjax.load(folder), handjax.load(folder)
    assert _compile.cache_info().misses == compiled + 1
    for predictor in (first, second, first):
        predictor(batch["depth"], batch["k"], batch["center_xyz"])
    assert second.network.compiled is first.network.compiled
    # Two samples, and one padded to two.
    assert first.network.compiled.in_process() == 1


# ---------------------------------------------------------------- invalid input


@pytest.mark.parametrize("name", PRESETS)
def test_camera_presets(name):
    width, height = next(iter(preset(name).modes))
    k = read_camera(name).of_image(height, width).k
    assert k.shape == (3, 3) and k.dtype == np.float32
    assert k[0, 0] > 200


@pytest.mark.parametrize(
    "camera", ["200,200,80,60", "200 200 80 60", (200, 200, 80, 60), jnp.array([200, 200, 80, 60])]
)
def test_cameras_of_four_numbers(camera):
    np.testing.assert_array_equal(intrinsics(camera), [[200, 0, 80], [0, 200, 60], [0, 0, 1]])


@pytest.mark.parametrize(
    "camera", ["", "kinect", "1,2,3", (0, 1, 1, 1), (1, 1, np.nan, 1), np.eye(2), None, 1e9]
)
def test_invalid_camera_says_what_is_expected(camera):
    with pytest.raises(ValueError, match="expected FX,FY,CX,CY in px .* icvl, msra, nyu") as error:
        intrinsics(camera)
    assert "\n" not in str(error.value)


def test_invalid_models(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: expected a model \(hand-depth, v2v, s"):
        handjax.load("nowhere")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="not a config"):
        handjax.load(tmp_path)


DEPTH = np.full((12, 16), 500, np.float32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": np.zeros(3)}, r"depth: float64 \[3\]; expected \[h, w\] or \[n, h, w\] in mm"),
        ({"depth": DEPTH * 9}, "no depth between 200 and 900 mm"),
        ({"camera": (1, 2, 3)}, r"camera \(1, 2, 3\): expected FX,FY,CX,CY"),
        ({"camera": np.eye(3)[None].repeat(2, 0)}, "camera: 2 matrices for 1 frames"),
        ({"camera": (0.5, 0.5, 0.5, 0.5)}, "cannot be that of an image of 16 x 12 px"),
        ({"camera": (40, 40, 16, 12)}, "the numbers of 32 x 24 px"),
        ({"camera": "nyu"}, "its images are 640 x 480 px, this one is 16 x 12"),
        ({"camera": (20, 20, 8, 6, 0.1)}, "1 distortion coefficients"),
        ({"center": [0, 0]}, r"center: \[2\]; expected camera mm, \[3\] or \[1, 3\]"),
        ({"side": "both"}, "side='both': expected right or left"),
    ],
)
def test_invalid_depth_arguments(arguments, message):
    predictor = handjax.load("spherehand")
    with pytest.raises(ValueError, match=message):
        predictor(**{"depth": DEPTH, "camera": (20, 20, 8, 6)} | arguments)


@pytest.mark.slow
def test_invalid_image_arguments(tiny):
    predictor = handjax.load(tiny("cpm")[0])
    image = np.zeros((48, 48, 3), np.uint8)
    for call, message in (
        (lambda: predictor(image / 255, side="left"), r"image: float64 .* RGB as uint8"),
        (lambda: predictor(image), "side=None: this run mirrors left hands"),
        (lambda: predictor(image, [0, 0, -1], side="left"), r"boxes \[0.0, 0.0, -1.0\]: expected"),
        (
            lambda: predictor(image[None].repeat(2, 0), np.ones((3, 3)), side="left"),
            "boxes: 3 for 2 images; expected one per image",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(KeyError, match="did you mean 'index_tip'"):
        predictor(image, side="left")["index_tips"]
