"""handjax predict images: pixels with an exact detector, files with an untrained net."""

import json
import shutil
from html.parser import HTMLParser
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from handjax import evaluate, run
from handjax.data.formats.hand_labels import read_hands, write_hands_json
from handjax.data.formats.predictions_npz import read_predictions2d
from handjax.engine import config as configs
from handjax.engine.checkpoint import Checkpoints
from handjax.pose import crop2d
from handjax.pose.skeleton import SKELETONS
from handjax.prediction import common
from handjax.prediction import images as predict
from handjax.prediction.boxes import Box, cut, read_boxes, whole_image

HAND = SKELETONS["hand21"]
SIZE = 32
TINY = [
    *(
        "config.crop.size=32",
        "config.model.widths=(4,4,4,4,4)",
        "config.model.refinements=1",
        "config.model.kernel=3",
    ),
    *("config.eval_batch_size=4", "config.devices=1", "config.compile_cache=false"),
]


def blob(height, width, u, v, sigma=4.0):
    """An image with a bright spot at (u, v) on grey."""
    y, x = np.mgrid[:height, :width]
    light = np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * sigma**2))
    return (60 + np.stack([190 * light] * 3, axis=-1)).round().astype(np.uint8)


def find_spot(crops, source_from_image):
    """The centroid of the pixels brighter than grey, px of the image."""
    light = np.clip(crops[..., 0].astype(float) - 140, 0, None)
    y, x = np.mgrid[: crops.shape[1], : crops.shape[2]]
    uv = (
        np.stack([(light * x).sum((1, 2)), (light * y).sum((1, 2))], -1)
        / light.sum((1, 2))[:, None]
    )
    return {
        "joints_uv": crop2d.apply(source_from_image, uv[:, None]),
        "confidence": light.max((1, 2))[:, None] / 115,
    }


@pytest.mark.parametrize(
    "box",
    [
        Box(99.5, 59.5, 200),  # the whole image, as without --boxes
        Box(70, 50, 64),
        Box(70.3, 49.8, 41.7),
        Box(60, 40, 25),  # scaled up
        Box(20, 30, 120),  # extends beyond the left and the top
        Box(110, 80, 250),  # larger than the image
    ],
)
def test_spot_is_found_where_it_is(tmp_path, box):
    u, v = 66.0, 43.0
    common.write_png(tmp_path / "a.png", blob(120, 200, u, v))
    images = {"a.png": tmp_path / "a.png"}
    ((name, (pixels, (hand,))),) = predict.predict(
        images, lambda name, size: [box], find_spot, 48, 4
    )
    assert name == "a.png" == hand.name and hand.box == box
    np.testing.assert_array_equal(pixels, blob(120, 200, u, v))
    np.testing.assert_allclose(hand.joints_uv, [[u, v]], atol=0.1 + 0.03 * box.side / 48)


def test_no_box_is_whole_image(tmp_path):
    assert whole_image("a", (120, 200)) == [Box(99.5, 59.5, 200)]
    crop, affine = cut(blob(120, 200, 66, 43), Box(99.5, 59.5, 200), 200, "a")
    np.testing.assert_array_equal(crop[40:160], blob(120, 200, 66, 43))
    assert (crop[:40] == 128).all() and (crop[160:] == 128).all()
    np.testing.assert_array_equal(affine, [[1, 0, 0], [0, 1, -40]])


def test_hands_keep_their_image_in_any_batch_size(tmp_path):
    """Unreadable images are reported in their place."""
    spots = {f"{n}.png": [(30.0 + 5 * n, 40.0), (90.0, 60.0 - n)][: 1 + n % 2] for n in range(7)}
    images = {}
    for name, places in spots.items():
        picture = np.maximum.reduce([blob(100, 120, *place) for place in places])
        common.write_png(tmp_path / name, picture)
        images[name] = tmp_path / name
    (tmp_path / "3.png").write_bytes(b"none")
    sizes = []

    def find(crops, affines):
        sizes.append(len(crops))
        return find_spot(crops, affines)

    def boxes(name, size):
        return [Box(u + 2, v - 1, 24) for u, v in spots[name]]

    results = dict(predict.predict(images, boxes, find, 24, 3))
    assert list(results) == list(images) and max(sizes) <= 3
    assert "3.png: a text; expected a picture" in results.pop("3.png").reason
    for name, (_, hands) in results.items():
        np.testing.assert_allclose([hand.joints_uv[0] for hand in hands], spots[name], atol=0.3)


def test_box_outside_the_image_is_an_error(tmp_path):
    for box in (Box(500, 50, 40), Box(50, -90, 40), Box(50, 50, 5000)):
        with pytest.raises(
            ValueError, match="a.png: its box of .* does not fit its 200 x 120 pixels"
        ):
            cut(blob(120, 200, 66, 43), box, 32, "a.png")


def test_grey_and_transparent_images():
    colour = blob(8, 9, 3, 3) + np.arange(3, dtype=np.uint8)
    stored = np.concatenate(
        [colour[..., ::-1], np.full((8, 9, 1), 7, np.uint8)], axis=-1
    )  # as OpenCV keeps four channels
    np.testing.assert_array_equal(predict.rgb_pixels(stored), colour)
    np.testing.assert_array_equal(
        predict.rgb_pixels(colour[..., 0]), np.repeat(colour[..., :1], 3, -1)
    )


def test_overlay_shows_joints_where_they_are():
    joints = np.random.default_rng(0).uniform(20, 100, (21, 2))
    hand = predict.DetectedHand("a", Box(60, 60, 100), joints, np.ones(21))
    for long, shown in ((120, 480), (2000, 1280)):
        scale, k = shown / long, long / 120
        moved = hand._replace(joints_uv=joints * k, box=Box(60 * k, 60 * k, 100 * k))
        drawn = predict.overlay(np.zeros((long * 3 // 4, long, 3), np.uint8), [moved], HAND)
        assert drawn.shape == (shown * 3 // 4, shown, 3)
        for u, v in (joints * k + 0.5) * scale - 0.5:  # pixel centers after resizing
            if v < len(drawn) - 2:
                assert drawn[round(v), round(u)].min() > 200, (u, v)
    wild = hand._replace(joints_uv=np.full((21, 2), 1e30))
    predict.overlay(np.zeros((50, 50, 3), np.uint8), [wild], HAND)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, repo):
    """The folder of a run of zero steps, with an untrained network."""
    folder = tmp_path_factory.mktemp("run")
    config = configs.load(f"{repo}/configs/posenet2d.py:quick", TINY)
    (folder / "config.json").write_text(configs.to_json(config))
    state = run.build(config, source=run.no_source(HAND)).init_state()
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(state)
    checkpoints.close()
    return folder


@pytest.fixture(scope="module")
def images_folder(tmp_path_factory):
    """Six images, one in a subfolder, one a JPEG whose name a link must quote, and a text file."""
    folder = tmp_path_factory.mktemp("images_folder")
    rng = np.random.default_rng(0)
    for n in range(4):
        common.write_png(folder / f"{n}.png", rng.integers(0, 255, (60 + 10 * n, 90, 3), np.uint8))
    common.write_png(folder / "more" / "5.png", blob(64, 64, 30, 30))
    (folder / "a b#1.JPG").write_bytes(cv2.imencode(".jpg", blob(64, 80, 40, 30))[1].tobytes())
    (folder / "readme.txt").write_text("no image")
    return folder


NAMES = ["0.png", "1.png", "2.png", "3.png", "a b#1.JPG", "more/5.png"]


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found += [
            value for name, value in attributes if tag in ("a", "img") and name in ("href", "src")
        ]


@pytest.fixture(scope="module")
def done(workdir, images_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("found") / "out"
    predict.main([str(images_folder), "--workdir", str(workdir), "--output", str(folder)])
    return folder


@pytest.mark.slow
def test_folder_of_images(done):
    saved = read_predictions2d(done / "predictions.npz")
    assert list(saved.ids) == NAMES and saved.joints == HAND.joints and saved.truth is None
    skeleton, hands = read_hands(done / "predictions.json")
    assert skeleton is HAND and list(hands) == NAMES
    for points, uv, confidence in zip(
        hands.values(), saved.joints_uv, saved.confidence, strict=True
    ):
        np.testing.assert_allclose(points[:, :2], uv, atol=1e-3)
        np.testing.assert_allclose(points[:, 2], confidence, atol=1e-4)
    # Joints lie in the square around the image, and an untrained network still sees each image.
    assert (
        (saved.joints_uv > -50).all()
        and (saved.joints_uv < 140).all()
        and saved.joints_uv.std(0).max() > 1
    )
    assert {
        path.relative_to(done / "overlays").as_posix()
        for path in (done / "overlays").rglob("*.png")
    } == {name if name.endswith(".png") else f"{name}.png" for name in NAMES}
    links = Links((done / "report.html").read_text()).found
    copies = [link for link in links if link.startswith("data:image/jpeg;base64,")]
    files = [link for link in links if link not in copies]
    assert len(copies) == len(files) == len(NAMES)
    assert all((done / unquote(link)).is_file() for link in files)


@pytest.mark.slow
def test_box_of_the_whole_image_is_no_box(workdir, images_folder, done, tmp_path):
    """Several boxes per image are several hands; an image without a box is left out."""
    boxes = {
        "0.png": [0.5, -14.5, 90],
        "1.png": [[-0.5, -10.5, 90], [10, 10, 30]],
        "2.png": [0, 0, 1e5],
    }
    boxes["0.png"] = [-0.5, -15.5, 90]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    flags = [str(images_folder), "--workdir", str(workdir), "--output", str(tmp_path / "o")]
    with pytest.raises(SystemExit) as left:
        predict.main([*flags, "--boxes", str(tmp_path / "boxes.json")])
    assert left.value.code == 1
    whole, own = (
        read_predictions2d(folder / "predictions.npz") for folder in (done, tmp_path / "o")
    )
    assert own.ids == ("0.png", "1.png", "1.png#2")
    np.testing.assert_allclose(own.joints_uv[:2], whole.joints_uv[:2], atol=1e-3)
    page = (tmp_path / "o" / "report.html").read_text()
    assert (
        "3.png: " in page and "has no box for it" in page and "2.png: its box of 100000 px" in page
    )


@pytest.mark.slow
def test_known_joints_become_boxes(workdir, images_folder, tmp_path):
    """By the run's crop rule, as in its evaluation: hidden joints do not widen a box."""
    rng = np.random.default_rng(1)
    joints = rng.uniform(20, 50, (6, 21, 2))
    seen = rng.random((6, 21)) < 0.8
    seen[0] = False  # if no joint is visible, all count
    labels = np.concatenate([joints, seen[..., None]], -1)
    labels[~seen & (np.arange(6) > 0)[:, None], :2] += 900
    hands = [
        {"img_name": n.removesuffix(".png"), "hand_pts": j.tolist()}
        for n, j in zip(NAMES, labels, strict=True)
    ]
    second = labels[1] + [5.0, 0.0, 0.0]
    hands.append({"img_name": NAMES[1].removesuffix(".png") + "#2", "hand_pts": second.tolist()})
    write_hands_json(tmp_path / "known.json", HAND.joints, hands)
    config = configs.from_json((workdir / "config.json").read_text())
    boxes = read_boxes(str(tmp_path / "known.json"), "", config, HAND)
    for name, hand in zip(NAMES, labels, strict=True):
        box, *more = boxes(name, (64, 90))
        middle, counted = (
            hand[HAND.joints.index("middle_base"), :2],
            (hand[:, 2] > 0) | ~(hand[:, 2] > 0).any(),
        )
        np.testing.assert_allclose(box[:2], middle, atol=1e-4)
        reach = np.abs(np.clip(hand[counted, :2], 0, [90, 64]) - middle).max()
        assert box.side == pytest.approx(np.clip(2 * 1.2 * reach, 50, 500), rel=1e-5)
        assert len(more) == (name == NAMES[1])
    np.testing.assert_allclose(
        boxes(NAMES[1], (64, 90))[1].u, second[HAND.joints.index("middle_base"), 0], atol=1e-4
    )
    with pytest.raises(ValueError, match="x.png: .*known.json has no box for it"):
        boxes("x.png", (64, 90))


@pytest.mark.slow
def test_evaluate_reads_the_predictions(done, tmp_path, capsys):
    (tmp_path / "truth").mkdir()
    for name, points in read_hands(done / "predictions.json")[1].items():
        points = np.concatenate([points[:, :2] + [3.0, 4.0], np.ones((len(points), 1))], axis=1)
        (tmp_path / "truth" / (name.replace("/", "_") + ".json")).write_text(
            json.dumps({"img_name": name, "hand_pts": points.tolist()})
        )
    flags = (
        "--predictions",
        done / "predictions.json",
        "--groundtruth",
        tmp_path / "truth",
        "--dataset",
        "handdb",
    )
    evaluate.main([*map(str, flags), "--workdir", str(tmp_path / "w")])
    assert "5.000 px" in capsys.readouterr().out


@pytest.mark.slow
def test_unreadable_image_is_left_out(workdir, images_folder, tmp_path, capsys):
    shutil.copytree(images_folder, tmp_path / "in")
    (tmp_path / "in" / "1.png").write_bytes((images_folder / "1.png").read_bytes()[:200])
    flags = [
        str(tmp_path / "in"),
        "--workdir",
        str(workdir),
        "--output",
        str(tmp_path / "o"),
    ]
    with pytest.raises(SystemExit) as left:
        predict.main(flags)
    errors = capsys.readouterr().err
    assert (
        left.value.code == 1
        and "1.png: " in errors
        and "expected a picture" in errors
        and "1 of 6 images were left out" in errors
    )
    assert len(read_predictions2d(tmp_path / "o" / "predictions.npz").ids) == 5
    # Nothing is overwritten without --overwrite.
    before = {path: path.read_bytes() for path in (tmp_path / "o").rglob("*") if path.is_file()}
    with pytest.raises(
        FileExistsError,
        match="holds predictions.json and .* of an earlier prediction: use --overwrite",
    ):
        predict.main(flags)
    assert {
        path: path.read_bytes() for path in (tmp_path / "o").rglob("*") if path.is_file()
    } == before
    (tmp_path / "o" / "mine.txt").write_text("mine")
    predict.main([str(images_folder / "1.png"), *flags[1:], "--overwrite"])
    assert read_predictions2d(tmp_path / "o" / "predictions.npz").ids == ("1.png",)
    assert (tmp_path / "o" / "mine.txt").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["", "nowhere"], "nowhere: no such file or folder"),
        (
            ["", "empty"],
            "empty: no image in it; expected files ending in .png or .jpg or .jpeg",
        ),
        (["", "bad.png"], "bad.png: all 1 images were left out; the first: "),
        (["--checkpoint", "7"], "there is none of step 7; there are 0"),
        (["--checkpoint", "first"], "expected last, best, all"),
        (["--output", "bad.png"], "--output bad.png: a file, not a folder"),
        (["--boxes", "none.json"], "none.json: no such file"),
        (["--boxes", "bad.json"], "--boxes bad.json: not JSON"),
        (["--boxes", "box.json"], r"--boxes box.json: 'a' is \[1, 2\]; expected \[x, y, side\]"),
        (["--boxes", "parts.json"], r"'a' is .* fractions of the picture\? Expected px"),
        (
            ["--config.task.mirror_left=true"],
            "config.task.mirror_left needs the handedness: add --side left or --side right",
        ),
        (["--side", "both"], "invalid choice: 'both'"),
        (["--config.crop.sise=3"], "did you mean config.crop.size"),
        (["--config.task.name=v2v"], "config.task.name=v2v predicts no joints in RGB images"),
        (
            ["--workdir", "empty"],
            "config.json: no such file; --workdir names the folder of a trained run",
        ),
    ],
)
def test_invalid_input_is_one_line(workdir, images_folder, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.png").write_bytes(b"none")
    (tmp_path / "bad.json").write_text("[1")
    (tmp_path / "box.json").write_text('{"a": [1, 2]}')
    (tmp_path / "parts.json").write_text('{"a": [0.3, 0.2, 0.4]}')
    usual = {"": str(images_folder), "--workdir": str(workdir), "--output": "o"}
    usual |= (
        dict(zip(flags[::2], flags[1::2], strict=False))
        if not flags[0].startswith("--config")
        else {}
    )
    extra = flags if flags[0].startswith("--config") else []
    with pytest.raises((ValueError, OSError), match=message) as caught:
        predict.main([*(word for pair in usual.items() for word in pair if word), *extra])
    assert "\n" not in str(caught.value) and not (tmp_path / "o").exists()
