"""handjax predict depth: hands in depth images, result files, one-line errors."""

import json
import re
from functools import cache
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax import predict
from handjax.data.formats.mesh import read_skin
from handjax.engine import weights
from handjax.fitting import depth_cube, sphere_network
from handjax.models.spherenet import SphereNet
from handjax.prediction import common
from handjax.prediction import depth as predict_depth
from handjax.rigs.spheres import sphere_depth_pinhole
from handjax.synthetic import render

pytestmark = [pytest.mark.optimized, pytest.mark.slow]

HEIGHT, WIDTH = 120, 160
K = np.array([[200, 0, 80], [0, 200, 60], [0, 0, 1]], np.float32)
CAMERA = ("--camera", "200,200,80,60")
UNIT = 0.25


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two PNG frames of a left hand that closes a little and moves, and its joints, camera mm."""
    folder = tmp_path_factory.mktemp("depth")

    @jax.jit
    def drawn(bend, aside):
        pose = jnp.zeros(26).at[:3].set(jnp.asarray([np.pi - 0.3, 0.2, np.pi / 2]))
        pose = pose.at[jnp.arange(7, 22, 4)].set(bend).at[jnp.arange(8, 22, 4)].set(bend)
        place = jnp.stack([aside, 0.0, 420.0])
        centers, radii, joints = render.hand_in_camera(pose, place, "hand21", 0.9, 1.0, -1.0)
        return (
            sphere_depth_pinhole(centers, radii, jnp.asarray(K), HEIGHT, WIDTH)[0],
            centers,
            joints,
        )

    truth = []
    for name, bend, aside in (("2.png", 0.2, -10.0), ("10.png", 0.45, 5.0)):
        depth, centers, joints = jax.device_get(drawn(bend, aside))
        cv2.imwrite(str(folder / name), np.rint(depth / UNIT).astype(np.uint16))
        truth.append((centers, joints))
    return folder, truth


@pytest.fixture(scope="module")
def done(world, tmp_path_factory):
    """The command, from rest and in sequence, with a third file that is no depth image."""
    folder, truth = world
    out = tmp_path_factory.mktemp("results") / "out"
    cv2.imwrite(str(folder / "x8.png"), np.zeros((HEIGHT, WIDTH), np.uint8))
    argv = [
        "depth",
        str(folder),
        *CAMERA,
        "--unit",
        str(UNIT),
        "--side",
        "left",
        "--start",
        "rest",
        "--refine",
        "120",
    ]
    argv += ["--sequence", "--no_forearm", "--mesh", "obj", "--output", str(out)]
    frames, write = [], predict_depth.write
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as left:
        patch.setattr(
            predict_depth,
            "write",
            lambda folder, found, *rest, **more: (
                frames.extend(found),
                write(folder, found, *rest, **more),
            ),
        )
        predict.main(argv)
    (folder / "x8.png").unlink()
    assert left.value.code == 1
    return argv, out, truth, frames


@pytest.mark.slow
def test_fit_finds_hand(done):
    _, out, truth, frames = done
    with np.load(out / "predictions.npz", allow_pickle=False) as found:
        assert list(found["ids"]) == ["2.png", "10.png"]  # in the order of their numbers
        assert list(found["side"]) == ["left"] * 2
        off = np.linalg.norm(found["centers_xyz"] - np.stack([c for c, _ in truth]), axis=-1).mean(
            1
        )
        joints_off = np.linalg.norm(
            found["joints_xyz"] - np.stack([j for _, j in truth]), axis=-1
        ).mean(1)
        before, after = found["distance_before_mm"], found["distance_mm"]
        pose, size, fingers = found["pose"], found["size"], found["fingers"]
        shown = jax.jit(
            lambda pose, at, size, fingers: render.hand_in_camera(
                pose, at, "hand21", size, fingers, -jnp.ones(2)
            )[0]
        )
        rebuilt = shown(pose, found["cube_center_xyz"], np.repeat(size[:, None], 3, 1), fingers)
        np.testing.assert_allclose(rebuilt, found["centers_xyz"], atol=0.01)
    assert off.max() < 12, off
    assert joints_off.max() < 12, joints_off
    assert after.max() < 3
    assert before[0] > 2 * after[0]
    # The second frame starts where the first ended, in another cube.
    first, second = (frame.fitted for frame in frames)
    assert np.abs(first.cube.center_xyz - second.cube.center_xyz).max() > 5
    np.testing.assert_allclose(second.before.centers, first.after.centers, atol=0.01)


def test_result_files(done):
    argv, out, *_ = done
    data = json.loads((out / "predictions.json").read_text())
    assert [hand["side"] for hand in data["hands"]] == ["left"] * 2
    assert len(data["joints"]) == 21
    assert [hand["img_name"] for hand in data["hands"]] == ["2.png", "10.png"]
    assert np.shape(data["hands"][0]["joints_xyz"]) == (21, 3)
    for hand in data["hands"]:  # the skin around the joints, and its faces outward
        mesh = read_skin((out / "meshes" / hand["img_name"]).with_suffix(".obj"), bones=17)
        joints = np.float32(hand["joints_xyz"])
        off = np.linalg.norm(mesh.vertices[:, None] - joints[None], axis=-1)
        assert off.min(0).max() < 30
    assert np.shape(data["hands"][0]["pose"]) == (26,)
    page = (out / "report.html").read_text()
    assert "x8.png" in page
    assert "PNG of 8 bits" in page
    for name in ("2.png", "10.png"):
        drawn = cv2.imread(str(out / "overlays" / name))
        assert drawn.shape == (predict_depth.OVERLAY_PX, 2 * predict_depth.OVERLAY_PX, 3)
        assert f"overlays/{name}" in page and f"{name}.png" not in page
        halves = np.split(drawn, 2, axis=1)
        assert (halves[0] != halves[1]).any()
    before = (out / "predictions.npz").read_bytes()
    with pytest.raises(FileExistsError, match="of an earlier prediction: use --overwrite"):
        predict.main(argv)
    assert (out / "predictions.npz").read_bytes() == before


@pytest.mark.slow
def test_network_alone_writes_its_own_centers(world, tmp_path, monkeypatch):
    """Random weights find no hand, but always the same one, which is written unchanged."""
    folder, _ = world
    net, network = SphereNet(width=32), sphere_network.load
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 64, 64, 1)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), shapes)
    weights.save(tmp_path / "net.npz", variables)
    argv = [
        str(folder / "2.png"),
        *CAMERA,
        "--unit",
        str(UNIT),
        "--weights",
        str(tmp_path / "net.npz"),
        "--refine",
        "0",
    ]
    monkeypatch.setattr(
        sphere_network, "load", cache(lambda path: network(Path(path)))
    )  # compiled once
    predict_depth.main([*argv, "--output", str(tmp_path / "out")])
    depth = predict_depth.read_depth(folder / "2.png", form="png16", scale=UNIT)
    cube = depth_cube.crop_cube(depth, K)
    centers = sphere_network.load(str(tmp_path / "net.npz"))(cube.depth)
    with np.load(tmp_path / "out" / "predictions.npz", allow_pickle=False) as found:
        np.testing.assert_allclose(found["centers_xyz"][0], cube.to_camera(centers), atol=1e-3)
        np.testing.assert_array_equal(found["distance_before_mm"], found["distance_mm"])
    weights.save(tmp_path / "other.npz", {"params": {"dense": {"kernel": np.zeros((2, 2))}}})
    with pytest.raises(ValueError, match="weights of another network"):
        network(tmp_path / "other.npz")


BAD = [
    (["--camera", ""], "--camera is empty: is a variable of the shell not set?"),
    ([], "the following arguments are required: --camera"),
    (["--camera", "200,200,80"], "camera 200,200,80: expected FX,FY,CX,CY in px"),
    (
        ["--camera", "0.4966,0.5085,0.4788,0.6384", "--start", "rest", "--refine", "1"],
        "fractions of the picture, in the order CX,CY,FX,FY? expected px",
    ),
    (["--camera", "nyu", "--start", "rest", "--refine", "1"], "its images are 640 x 480 px"),
    (["--camera", "0,200,80,60"], "FX and FY above 0, or one of icvl, msra, nyu"),
    ([*CAMERA, "--range", "900"], "--range 900: expected 2 numbers joined by commas"),
    ([*CAMERA, "--range", "900,200"], "the nearer first"),
    ([*CAMERA, "--unit", "-1"], "expected mm, above 0"),
    ([*CAMERA, "--start", "rest", "--refine", "0"], "with --start rest 1 or more"),
    ([*CAMERA, "--start", "rest", "--workdir", "."], "--start rest uses no network"),
    ([*CAMERA, "--model", "spherehand", "--weights", "w.npz"], "both name a network: give one"),
    ([*CAMERA, "--workdir", "nowhere"], "no such folder; expected a trained run"),
    ([*CAMERA, "--weights", "nowhere.npz"], "nowhere.npz: no such file of weights"),
    (
        [*CAMERA, "--start", "rest", "--unit", "10"],
        "no depth between 200 and 900 mm, where the hand is searched for; it is from",
    ),
    ([*CAMERA, "--start", "rest", "--method", "newton"], "invalid choice: 'newton'"),
    ([*CAMERA, "--start", "rest", "--format", "nyu"], "depth format 'nyu' is an 8-bit RGB PNG"),
]


@pytest.mark.parametrize(("argv", "message"), BAD)
def test_invalid_input_is_one_line(world, tmp_path, argv, message):
    with pytest.raises((ValueError, OSError), match=re.escape(message)) as error:
        predict.main(["depth", str(world[0]), "--output", str(tmp_path / "out"), *argv])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_missing_network_names_the_flag(monkeypatch, tmp_path):
    monkeypatch.setattr(sphere_network, "SHIPPED", tmp_path / "spherenet.npz")
    with pytest.raises(FileNotFoundError, match="use --start rest"):
        sphere_network.load()


def test_images_are_listed_in_natural_order(tmp_path):
    for name in ("f10.png", "f9.png", "F1.PNG", "f.txt", "sub/f2.npy", "out/p.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    endings, out = predict_depth.ENDINGS, tmp_path / "out"
    found = common.list_images(tmp_path, endings, exclude=out)
    assert list(found) == ["F1.PNG", "f9.png", "f10.png", "sub/f2.npy"]
    assert list(common.list_images(tmp_path / "f9.png", endings, exclude=out)) == ["f9.png"]
    with pytest.raises(FileNotFoundError, match="none: no such file or folder"):
        common.list_images(tmp_path / "none", endings, exclude=out)
    with pytest.raises(
        FileNotFoundError, match="no image in it; expected files ending in .png or .npy"
    ):
        common.list_images(out, endings, exclude=out)


def test_files_of_other_kinds_are_counted_and_named(tmp_path, capsys):
    for name, content in {
        "a.png": b"",
        "._a.png": b"\0\x05\x16\x07",
        "clip.mp4": b"\0\0\0\x18ftypmp42",
        "clip2.mp4": b"\0\0\0\x18ftypmp42",
        "labels.json": b"{}",
    }.items():
        (tmp_path / name).write_bytes(content)
    out = tmp_path / "out"
    assert list(common.list_images(tmp_path, predict_depth.ENDINGS, exclude=out)) == ["a.png"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path}: not read, ")
    for words in (
        "1 .png (._a.png: a companion file of macOS",
        "2 .mp4 (clip.mp4, clip2.mp4: an MP4 video; write its frames",
        "1 .json (labels.json: a JSON text)",
    ):
        assert words in line
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match="no image in it; .*; it has .* 2 .mp4 "):
        common.list_images(tmp_path, predict_depth.ENDINGS, exclude=out)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--depth", "x"], "--depth is now a command: handjax predict depth INPUT "),
        (["--workdir", "w", "--images=x"], "handjax predict images INPUT --workdir RUN"),
        (["audio", "x"], "invalid choice: 'audio'"),
    ],
)
def test_old_form_names_the_new_one(argv, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        predict.main(argv)
