import re
import subprocess
import sys

import cv2
import h5py
import numpy as np
import pytest

from handjax.data.batch import unpack_voxels
from handjax.data.formats.voxel_h5 import VoxelH5
from handjax.pose.lens import Lens
from handjax.prepare import main

FX, FY, CX, CY = 290.0, 300.0, 158.0, 121.0
HEIGHT, WIDTH = 240, 320
RADIUS = 60.0
# Centers of the balls in the cube: off every axis by another amount, so that no swap or sign is
# missed.
BALLS = np.asarray([[40.0, -25.0, 10.0], [-35.0, 50.0, 30.0], [0.0, 20.0, -40.0]])
CENTERS = np.asarray([[-60.0, 30.0, 700.0], [20.0, -40.0, 760.0], [5.0, 5.0, 650.0]])
# Directions from the center of a ball to joints on the side facing the camera.
TOWARD = np.asarray([[0, 0, -1.0], [0.5, 0, -1], [-0.5, 0.1, -1], [0.1, 0.5, -1], [0, -0.5, -1]])


def ball_depth(middle):
    """Depth of a ball in front of a wall at 1.3 m, from the quadratic equation per ray."""
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    ray = np.stack([(u - CX) / FX, (v - CY) / FY, np.ones_like(u, float)], -1)
    a, b, c = (ray**2).sum(-1), ray @ middle, middle @ middle - RADIUS**2
    root = b**2 - a * c
    return np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, 1300.0)


@pytest.fixture
def frames(tmp_path):
    """Three frames in NYU's format (packed PNG, y up in the texts) and a fourth whose center is
    invalid."""
    folder = tmp_path / "depth"
    folder.mkdir()
    labels, centers = [], []
    toward = TOWARD / np.linalg.norm(TOWARD, axis=-1, keepdims=True)
    for i, (ball, center) in enumerate(zip(BALLS, CENTERS, strict=True)):
        depth = np.rint(ball_depth(center + ball)).astype(np.uint16)
        bgr = np.stack([depth & 255, depth >> 8, np.full_like(depth, 9)], axis=-1).astype(np.uint8)
        assert cv2.imwrite(str(folder / f"{i}.png"), bgr)
        assert cv2.imwrite(str(folder / f"{i}_16.png"), depth * 4)
        joints = (center + ball + RADIUS * toward) * [1, -1, 1]
        labels.append("\t".join([f"{i}.png", *(f"{v:.6f}" for v in joints.reshape(-1))]))
        centers.append("{:.6f} {:.6f} {:.6f}".format(*(center * [1, -1, 1])))
    (tmp_path / "labels.txt").write_text(
        "\n".join([*labels, labels[0].replace("0.png", "3.png")]) + "\n"
    )
    (tmp_path / "centers.txt").write_text("\n".join([*centers, "invalid"]) + "\n")
    return tmp_path


def command(folder, **change):
    options = {
        "depth_dir": folder / "depth",
        "labels": folder / "labels.txt",
        "centers": folder / "centers.txt",
        "camera": f"{FX},{FY},{CX},{CY}",
        "output": folder / "out.h5",
    } | change
    return [
        "voxel_h5",
        *(f"--{k}={v}" if v is not True else f"--{k}" for k, v in options.items() if v is not None),
    ]


def surface_distance(source):
    """Mean distance of the joints from the centers of the nearest occupied cells, mm."""
    batch = source.rows(np.arange(len(source)))
    away = []
    for i, packed in enumerate(batch["voxels"]):
        row, column, depth = np.argwhere(unpack_voxels(packed)).T
        unit = (
            np.stack([column / source.size, row / source.size, depth / (source.size - 2)], -1) - 0.5
        )
        cells = batch["center_xyz"][i] + unit * batch["cube_mm"][i]
        away.append(np.linalg.norm(batch["joints_xyz"][i][:, None] - cells[None], axis=-1).min(1))
    return np.mean(away)


def test_voxels_are_at_the_labels(frames, capsys):
    main(command(frames))
    out = capsys.readouterr().out
    counts = "3 of 4 frames written, 1 without a valid center, 0 without depth in the cube"
    away = re.escape(f"{frames / 'out.h5'}: {counts}; joints ") + r"([\d.]+) mm from the nearest"
    assert re.fullmatch(away + r" measured point \(median, 3 frames\)\n", out)
    assert float(re.match(away, out)[1]) < 1.5  # the balls' surface, in whole mm

    source = VoxelH5(frames / "out.h5")
    assert (len(source), source.joints, source.size) == (3, 5, 88)
    assert source.names(np.arange(3)) == ["0.png", "1.png", "2.png"]
    batch = source.rows(np.arange(3))
    np.testing.assert_allclose(batch["center_xyz"], CENTERS, atol=1e-3)
    assert (batch["cube_mm"] == 300).all()
    voxels = unpack_voxels(batch["voxels"])
    assert voxels.sum(-1).max() == 1
    # The outline of a ball of radius r cells has about pi r^2 of them; the wall is cut off.
    cells = np.pi * (RADIUS * 88 / 300) ** 2
    assert (np.abs(voxels.sum((1, 2, 3)) / cells - 1) < 0.12).all()
    # A cell is 3.4 mm wide: rounding alone leaves half a cell per axis.
    assert surface_distance(source) < 3.5
    # Mean of the occupied cells: the position of the ball in each frame.
    for grid, ball in zip(voxels, BALLS, strict=True):
        row, column, _ = np.argwhere(grid).mean(0) / 88 * 300 - 150
        np.testing.assert_allclose([column, row], ball[:2], atol=8)

    with h5py.File(frames / "out.h5") as file:
        np.testing.assert_allclose(
            file["labels"][:] * 150 * [1, -1, 1], file["gt3Dcrop"][:], atol=1e-4
        )
        np.testing.assert_allclose(file["com3D"][:], CENTERS * [1, -1, 1], atol=1e-3)


def test_16_bit_frames_with_y_down(frames):
    main(command(frames, output=frames / "nyu.h5", size=48, limit=2))
    for name in ("labels", "centers"):
        rows = [
            line.replace(".png", "_16.png").split()
            for line in (frames / f"{name}.txt").read_text().splitlines()
        ]
        first = 1 if name == "labels" else 0
        for row in rows:
            for j in range(first + 1, len(row), 3):
                row[j] = str(-float(row[j]))
        (frames / f"{name}_down.txt").write_text("\n".join("\t".join(row) for row in rows))
    change = {
        "labels": frames / "labels_down.txt",
        "centers": frames / "centers_down.txt",
        "no-y_up": True,
    }
    main(command(frames, depth_format="png16", depth_scale=0.25, size=48, limit=2, **change))
    a, b = VoxelH5(frames / "nyu.h5"), VoxelH5(frames / "out.h5")
    assert (a.center_from, b.center_from, a.size, len(b)) == ("com3D, y negated", "com3D", 48, 2)
    for key, value in a.rows(np.arange(2)).items():
        np.testing.assert_allclose(value, b.rows(np.arange(2))[key], atol=1e-3, err_msg=key)


def test_empty_frames_and_joints_outside_are_counted(frames, capsys):
    lines = (frames / "centers.txt").read_text().splitlines()
    lines[1] = "900 900 400"  # nothing is there
    (frames / "centers.txt").write_text("\n".join(lines))
    main(command(frames, cube=120))
    out = capsys.readouterr().out
    assert (
        "2 of 4 frames written, 1 without a valid center, 1 without depth in the cube (1.png)"
        in out
    )
    limit = float(out.split("max_label=")[1].split()[0])
    assert limit > 1
    with pytest.raises(ValueError, match=f"max_label={limit:g}"):
        VoxelH5(frames / "out.h5")
    assert len(VoxelH5(frames / "out.h5", max_label=limit)) == 2


def refused(capsys, argv, *words):
    """A user error: one message that contains these words, and no result."""
    with pytest.raises(ValueError) as mistake:
        main(argv)
    assert capsys.readouterr().out == ""
    for word in words:
        assert word in str(mistake.value), mistake.value


def test_error_is_one_line_and_exit_code_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "handjax.prepare", *command(tmp_path)],
        capture_output=True,
        text=True,
    )
    lines = done.stderr.splitlines()
    assert (
        done.returncode == 2
        and done.stdout == ""
        and len(lines) == 1
        and lines[0].startswith("error: ")
    ), done


def test_everything_missing_is_listed_at_once(tmp_path, capsys):
    (tmp_path / "out.h5").write_text("mine")
    argv = command(tmp_path, limit=0)
    refused(
        capsys,
        argv,
        "--labels",
        "--centers",
        "--depth_dir",
        "out.h5: exists",
        "--overwrite",
        "--limit 0",
    )
    assert (tmp_path / "out.h5").read_text() == "mine"
    refused(
        capsys, command(tmp_path, output=tmp_path / "no" / "out.h5"), "no such folder", "create it"
    )


def test_missing_frames_are_listed_before_the_start(frames, capsys):
    for i in (0, 2):
        (frames / "depth" / f"{i}.png").unlink()
    refused(capsys, command(frames), "2 of 3 depth frames are not in", "0.png, 2.png")
    assert not (frames / "out.h5").exists()


def test_bad_inputs_give_one_line_each(frames, capsys):
    refused(capsys, [], "NAME")
    refused(capsys, ["nothing"], "invalid choice: 'nothing'")
    refused(
        capsys,
        ["rhd", "--manual_dir", "x", "--output", "x"],
        "unrecognized arguments: --output x (see",
    )
    refused(capsys, command(frames, cube=0.3), "--cube 0.3 mm: in metres?")
    refused(capsys, command(frames, camera="1,2,3"), "--camera", "1,2,3")
    refused(capsys, command(frames, camera="0,2,3,4"), "--camera")
    refused(capsys, command(frames, cube=-1), "--cube")
    refused(capsys, command(frames, size=90), "--size")
    refused(capsys, command(frames, labels=None), "required", "--labels")
    refused(capsys, command(frames, depth_format="png16"), "0.png", "depth format 'png16'")
    refused(capsys, command(frames, depth_format="png16"), "use 'nyu'")
    refused(
        capsys,
        command(frames, depth_scale=0.1),
        "centers.txt: centers 570 mm from the nearest measured point",
        "depth 10 times too small? then it would be",
    )
    (frames / "centers.txt").write_text("1 2 700\n1 2\n")
    refused(capsys, command(frames), "centers.txt, line 2")
    (frames / "centers.txt").write_text("1 2 700\n")
    refused(capsys, command(frames), "has 4 lines", "1; expected one line per frame in both")
    (frames / "centers.txt").write_text("invalid\n" * 4)
    refused(capsys, command(frames), "none of 4 centers is valid")
    assert sorted(p.name for p in frames.iterdir()) == ["centers.txt", "depth", "labels.txt"]


@pytest.mark.slow
def test_overwriting_needs_the_flag(frames, capsys):
    main(command(frames, limit=2))
    capsys.readouterr()
    refused(capsys, command(frames), "exists")
    assert len(VoxelH5(frames / "out.h5")) == 2
    main(command(frames, overwrite=True))
    assert len(VoxelH5(frames / "out.h5")) == 3


# ---------------------------------------------------------------- labels in another frame


def in_frame(joints, form):
    """Joints [j, 3] of a frame, camera mm, as somebody else may have written them."""
    x, y, z = joints.T
    other = {
        "m": joints / 1000,
        "cm": joints / 10,
        "uvd": np.stack([x / z * FX + CX, y / z * FY + CY, z], axis=-1),
        "mirrored": joints * [-1, 1, 1],
        "y up": joints * [1, -1, 1],
        "opengl": joints * [1, -1, -1],
        "swapped": joints[:, [1, 0, 2]],
    }
    return other[form]


@pytest.fixture
def aside(monkeypatch, request):
    """`frames` with the balls far from the camera's axis, where a mirrored one is elsewhere."""
    monkeypatch.setattr(sys.modules[__name__], "CENTERS", CENTERS + [-190, 90, 0])
    return request.getfixturevalue("frames")


def write_labels(frames, form):
    rows = []
    for line in (frames / "labels.txt").read_text().splitlines():
        name, *words = line.split("\t")
        joints = np.array(words, float).reshape(-1, 3) * [1, -1, 1]
        joints = in_frame(joints, form) * [1, -1, 1]
        rows.append("\t".join([name, *(f"{v:.6f}" for v in joints.ravel())]))
    (frames / "labels.txt").write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize(
    ("form", "cause"),
    [
        ("m", "joints in m?"),
        ("cm", "joints in cm?"),
        ("uvd", "(u, v, d) for (x, y, z)?"),
        ("mirrored", "x mirrored?"),
        ("y up", "y up?"),
        ("opengl", "y up and z backward, as in OpenGL?"),
        ("swapped", "axes in the order y, x, z?"),
    ],
)
def test_labels_in_another_frame_are_refused(aside, capsys, form, cause):
    frames = aside
    write_labels(frames, form)
    refused(capsys, command(frames), "labels.txt: joints ", cause, "then it would be")
    assert not (frames / "out.h5").exists()


def test_a_wrong_y_up_is_named(aside, capsys):
    refused(capsys, command(aside, **{"no-y_up": True}), "y up?", "check --depth_scale, --camera")


def test_a_camera_that_cannot_be_the_frames_is_refused(frames, capsys):
    refused(
        capsys,
        command(frames, camera="580,600,316,242"),
        "0.png: camera 580,600,316,242: cannot be that of an image of 320 x 240 px",
        "scaled to 320 x 240: 290,300",
    )
    refused(capsys, command(frames, camera="nyu"), "its images are 640 x 480 px")
    refused(capsys, command(frames, camera="0.9,1.2,0.5,0.5"), "fractions of the picture?")


@pytest.mark.slow
def test_a_lens_is_taken_out_before_voxels(aside):
    """Frames drawn through a lens become the voxels of those without it."""
    frames = aside
    main(command(frames))
    plain = VoxelH5(frames / "out.h5").rows(np.arange(3))
    lens = Lens("opencv", (-0.25, 0.06, 0.001, -0.001))
    bent = (np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1) - [CX, CY]) / [FX, FY]
    slopes = bent.copy()
    for _ in range(60):
        slopes += 0.8 * (bent - lens.distort(slopes))
    at = np.rint(slopes * [FX, FY] + [CX, CY]).astype(int)
    columns, rows = np.clip(at[..., 0], 0, WIDTH - 1), np.clip(at[..., 1], 0, HEIGHT - 1)
    for i in range(3):
        path = frames / "depth" / f"{i}.png"
        assert cv2.imwrite(str(path), cv2.imread(str(path))[rows, columns])
    text = ",".join(map(str, (FX, FY, CX, CY, *lens.coefficients)))
    main(command(frames, camera=text, output=frames / "lens.h5"))
    found = VoxelH5(frames / "lens.h5").rows(np.arange(3))
    main(command(frames, output=frames / "without.h5"))
    without = VoxelH5(frames / "without.h5").rows(np.arange(3))
    want, same, other = (unpack_voxels(batch["voxels"]) for batch in (plain, found, without))
    shared = (want & same).sum() / (want | same).sum()
    assert shared > 0.5 and shared > 2 * (want & other).sum() / (want | other).sum()
