"""Labels of real frames that cannot be right: another unit or frame, px of another image, a camera
of another image."""

import json

import cv2
import numpy as np
import pytest

from handjax import bench
from handjax.data.formats.labelled_frames import read_frames
from handjax.data.frame_checks import camera_fits, check_labels
from handjax.pose.pinhole import project

K = np.array([[240.0, 0, 158], [0, 240, 121], [0, 0, 1]])
HEIGHT, WIDTH = 240, 320
CAMERA = [240, 240, 158, 121]


@pytest.fixture(scope="module")
def joints():
    """Of four hands, in a corner of the image each, camera mm."""
    rng = np.random.default_rng(0)
    middles = np.array([[70, 40, 480], [60, 50, 540], [80, -60, 560], [-90, 50, 530.0]])
    return middles[:, None] + rng.uniform(-50, 50, (4, 21, 3))


@pytest.fixture(scope="module")
def images(joints, tmp_path_factory):
    """A folder of depth images: a disc 8 mm in front of every joint, and nothing else."""
    folder = tmp_path_factory.mktemp("images")
    for n, hand in enumerate(joints):
        depth = np.zeros((HEIGHT, WIDTH), np.uint16)
        for (u, v), z in sorted(
            zip(project(hand, K), hand[:, 2], strict=True), key=lambda p: -p[1]
        ):
            cv2.circle(depth, (round(u), round(v)), 5, int(z - 8), -1)
        cv2.imwrite(str(folder / f"{n}.png"), depth)
    return folder


@pytest.fixture
def frames(images):
    """frames(labels by frame, kind, **shared) → the frames read from a file."""

    def write(labels, kind="joints", **shared):
        content = {"k": CAMERA, "order": "hand21", "kind": kind, "frames": labels} | shared
        (images / "frames.json").write_text(json.dumps(content))
        return read_frames(images)

    return write


def in_mm(joints):
    return {f"{n}.png": {"xyz_mm": hand.tolist()} for n, hand in enumerate(joints)}


def in_px(points):
    return {f"{n}.png": {"uv": np.asarray(hand).tolist()} for n, hand in enumerate(points)}


def test_sound_labels_are_about_a_centimetre_deep(frames, joints):
    found = check_labels(frames(in_mm(joints)))
    assert found.frames == 4 and 5 < found.median_mm < 12 and not found.refused
    clicks = [project(hand, K) for hand in joints]
    assert check_labels(frames(in_px(clicks), "surface")) is None
    assert check_labels(frames({"0.png": {"hand": "none"}})) is None


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda xyz: xyz * [-1, 1, 1], "x mirrored?"),
        (lambda xyz: xyz * [1, -1, 1], "y up?"),
        (lambda xyz: xyz[..., [1, 0, 2]], "axes in the order y, x, z?"),
        (lambda xyz: xyz + [0, 0, 400], "expected at most 40 mm"),
    ],
)
def test_labels_in_another_frame(frames, joints, change, cause):
    with pytest.raises(ValueError, match=r"frames.json: joints .* nearest measured point") as error:
        check_labels(frames(in_mm(change(joints))))
    assert cause in str(error.value) and "\n" not in str(error.value)


def test_depth_in_another_unit(frames, joints):
    with pytest.raises(ValueError, match="depth 4 times too large.*unit_mm"):
        check_labels(frames(in_mm(joints), unit_mm=4.0))


def test_centers_in_another_frame(frames, joints):
    labels = in_mm(joints)
    for label, hand in zip(labels.values(), joints, strict=True):
        label["center"] = (hand.mean(0) * [-1, 1, 1]).tolist()
    with pytest.raises(ValueError, match="frames.json: centers .*x mirrored"):
        check_labels(frames(labels))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda uv: uv[:, ::-1], "u and v exchanged?"),
        (lambda uv: uv * [1, -1] + [0, HEIGHT - 1], "v counted from below?"),
        (lambda uv: uv * [-1, 1] + [WIDTH - 1, 0], "u counted from the right?"),
        (lambda uv: uv / 2, "px of images of half the size?"),
        (lambda uv: uv * 2, "px of images of twice the size?"),
        (lambda uv: uv / [WIDTH, HEIGHT], "fractions of the picture?"),
        (lambda uv: uv / [WIDTH / 100, HEIGHT / 100], "percent of the picture?"),
    ],
)
def test_clicks_of_another_image(frames, joints, change, cause):
    clicks = [change(project(hand, K)) for hand in joints]
    with pytest.raises(ValueError, match="frames.json: 'uv': ") as error:
        check_labels(frames(in_px(clicks), "surface"))
    assert str(error.value).count(cause) == 1 and str(error.value).lower().count("expected") == 1


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda x, y, w, h: (x, y, x + w, y + h), "fits as two corners; expected left, top, width"),
        (lambda x, y, w, h: (x + w / 2, y + h / 2, w, h), "are its center; expected left, top"),
        (lambda x, y, w, h: (x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT), "a box without size"),
    ],
)
def test_boxes_in_another_form(frames, joints, change, cause):
    def labels(form):
        result = in_mm(joints)
        for label, hand in zip(result.values(), joints, strict=True):
            uv = project(hand, K)
            label["box"] = list(map(float, form(*uv.min(0) - 5, *np.ptp(uv, axis=0) + 10)))
        return result

    assert not check_labels(frames(labels(lambda *box: box))).refused
    with pytest.raises(ValueError, match="frames.json: 'box': . of 4 frames: ") as error:
        check_labels(frames(labels(change)))
    assert cause in str(error.value)


@pytest.mark.parametrize(
    ("k", "cause"),
    [
        ([480, 480, 316.5, 242.5], "the numbers of 640 x 480 px?"),
        ([0.75, 1.0, 0.49, 0.5], "fractions of the picture?"),
    ],
)
def test_a_camera_of_another_image(frames, joints, k, cause):
    """Before the model is asked: a camera that it refuses would count as a hand not found."""
    read = frames(in_mm(joints), k=k)
    for refuse in (
        lambda: check_labels(read),
        lambda: camera_fits(read, read.frames[3], HEIGHT, WIDTH),
    ):
        with pytest.raises(ValueError, match=r"frames.json: \d.png: 'k': cannot be") as error:
            refuse()
        assert cause in str(error.value)


def test_the_command_refuses_before_it_measures(frames, joints, tmp_path):
    folder = frames(in_mm(joints * [-1, 1, 1])).path.parent
    with pytest.raises(ValueError, match="x mirrored"):
        bench.main(["real", str(folder), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_voxels_take_no_camera_of_another_size(tmp_path):
    from tests.realframes.test_voxel_frames import write

    write(tmp_path / "v.h5", y_up=False)
    argv = ["voxels", str(tmp_path / "v.h5"), "--output", str(tmp_path / "out"), "--camera"]
    for camera, text in (
        ("240,240,158,121", "the numbers of 320 x 240 px?"),
        ("480,480,320,240,-0.1,0.01,0,0", "expected one without distortion"),
        ("azure_kinect", "its images are 640 x 576"),
    ):
        with pytest.raises(ValueError, match=text):
            bench.main([*argv, camera])
    assert not (tmp_path / "out").exists()
