"""Labels that no hand or person can have, and those that they can."""

import io

import cv2
import numpy as np
import pytest

from handjax.data import plausible
from handjax.data.formats.uvd_text import read_uvd, uvd_to_camera
from handjax.data.preparation import plausibility, validate
from handjax.data.preparation.examples import NOTES
from handjax.pose.joint_orders import ORDERS

HEIGHT, WIDTH, FRAMES = 240, 320, 6
K = np.array([[350, 0, 160], [0, 350, 120], [0, 0, 1]], np.float32)
PICTURE = cv2.imencode(".png", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))[1].tobytes()


def hand(i):
    """An open hand of 190 mm at 550 mm, a little elsewhere in every frame."""
    finger, part = np.divmod(np.arange(20), 4)
    flat = np.stack([18.0 * finger - 36, -70.0 - 28 * part, 4.0 * finger], -1)
    xyz = np.concatenate([np.zeros((1, 3)), flat]) + np.random.default_rng(i).uniform(
        -3, 3, (21, 3)
    )
    return (xyz + [12 * i - 20, 80, 550]).astype(np.float32)


def px(xyz):
    return xyz[:, :2] / xyz[:, 2:] * K[(0, 1), (0, 1)] + K[:2, 2]


def hands(uv=lambda uv: uv, xyz=lambda xyz: xyz, also=(), frames=range(FRAMES)):
    """Examples whose labels are changed by these functions."""
    return [
        (
            f"h{i}",
            lambda i=i: {
                "image": io.BytesIO(PICTURE),
                "k": K,
                "joints_xyz": xyz(hand(i)).astype(np.float32),
                "joints_uv": uv(px(hand(i))).astype(np.float32),
                "visible": np.ones(21, bool),
                NOTES: tuple(also),
            },
        )
        for i in frames
    ]


def lists(uv, **options):
    """The same without 3D labels."""

    def without(read):
        return {k: v for k, v in read().items() if k not in ("k", "joints_xyz")}

    return [(key, lambda read=read: without(read)) for key, read in hands(uv, **options)]


def found(examples, name="rhd"):
    findings = validate.examine(examples, plausibility.figure_of(name))
    return findings, plausibility.refusal(findings)


def joint(number, at):
    def move(points):
        points[number] = at
        return points

    return move


WRONG_PX = {
    "fractions": (lambda uv: uv / [WIDTH, HEIGHT], "within 1 px of .*: fractions of the picture"),
    "-1 to 1": (lambda uv: 2 * uv / [WIDTH, HEIGHT] - 1, "fractions of the picture"),
    "0 to 1000": (lambda uv: 1000 * uv / [WIDTH, HEIGHT], "outside .* fit as 0 to 1000"),
    "a larger copy": (lambda uv: 4 * uv, "outside the picture.* px of a larger copy"),
    "centered": (lambda uv: uv - [160, 120], "outside .* fit as centered"),
    "one place": (lambda uv: uv * 0 + 77, "within 2 px of each other"),
    "one row": (lambda uv: uv * [1, 0] + [0, 90], "on one row or column"),
    "origin": (joint(8, 0.0), "a labelled joint at exactly .0, 0."),
    "misplaced": (joint(8, 4000.0), "out of all proportion"),
}


@pytest.mark.parametrize("wrong", WRONG_PX)
def test_wrong_px_are_refused_with_the_likely_cause(wrong):
    change, words = WRONG_PX[wrong]
    _, reason = found(lists(change), "keypoint_list")
    assert reason.startswith(f"{FRAMES} of {FRAMES} frames: ")
    with pytest.raises(ValueError, match=words):
        raise ValueError(reason)


WRONG_MM = {
    "m": (lambda xyz: xyz / 1000, "in metres"),
    "cm": (lambda xyz: xyz / 10, "in centimetres"),
    "inches": (lambda xyz: xyz / 25.4, "in inches"),
    "0.1 mm": (lambda xyz: xyz * 10, "in tenths of a mm"),
    "um": (lambda xyz: xyz * 1000, "in micrometres"),
    "one place": (lambda xyz: xyz * 0 + 500, "within 2 px|each joint"),
    "a joint far away": (joint(8, (0, 0, 900)), "out of all proportion"),
    "another camera": (lambda xyz: xyz * [-1, 1, 1] + [300, 0, 0], "project far from"),
}


@pytest.mark.parametrize("wrong", WRONG_MM)
def test_wrong_mm_are_refused_with_the_likely_unit(wrong):
    change, words = WRONG_MM[wrong]
    _, reason = found(hands(xyz=change))
    with pytest.raises(ValueError, match=f"^{FRAMES} of {FRAMES} frames: .*({words})"):
        raise ValueError(reason)


def test_true_hands_have_no_fault():
    findings, reason = found(hands())
    assert not reason and plausibility.lines("train", findings, validate.FAULTS) == []


def test_single_frames_are_named_and_do_not_refuse_the_rest():
    examples = lists(lambda uv: uv, frames=range(5)) + lists(lambda uv: uv / 320, frames=[5])
    findings, reason = found(examples, "keypoint_list")
    assert not reason and findings.named == {"fractions": ["h5"]}
    assert plausibility.lines("train", findings, validate.FAULTS) == [
        f"train: 1 of 6 frames: {plausible.FAULTS['fractions']}; such as h5"
    ]


def test_what_a_whole_split_tells():
    """Swapped axes leave some frames outside; px of a small copy all lie in one corner."""
    findings, _ = found(lists(lambda uv: (uv + [60, 0])[:, ::-1]), "keypoint_list")
    assert 0 < findings.counts["outside"]
    assert plausibility.hints(findings)[0].endswith("fit as x and y swapped")
    findings, reason = found(lists(lambda uv: uv * 0.3), "keypoint_list")
    assert not reason and "upper left quarter" in plausibility.hints(findings)[0]


def drawn(i):
    """A hand of skin on a wall with things of other colours; size, place and fingers vary."""
    rng = np.random.default_rng(i)
    image = rng.integers(40, 200, (6, 8, 3), np.uint8)
    image = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    size, turn = rng.uniform(80, 120), rng.uniform(-0.7, 0.7)
    finger, part = np.divmod(np.arange(20), 4)
    angle = turn + (finger - 2) * 0.25
    reach = size * np.where(part == 0, 0.5, 0.5 + 0.17 * part)
    tips = np.stack([np.sin(angle), -np.cos(angle)], -1) * reach[:, None]
    wrist = np.array([rng.uniform(100, 220), rng.uniform(140, 200)])
    uv = np.concatenate([[wrist], wrist + tips])
    for a, b in plausible.figure("hand21").limbs:
        ends = [tuple(int(x) for x in uv[j]) for j in (a, b)]
        cv2.line(image, *ends, (120, 150, 215), 12)
    return image, uv.astype(np.float32)


READINGS = {
    "": lambda uv: uv,
    "x and y swapped": lambda uv: uv[:, ::-1],
    "y counted from below": lambda uv: np.array([0, HEIGHT - 1]) + uv * [1, -1],
    "x counted from the right": lambda uv: np.array([WIDTH - 1, 0]) + uv * [-1, 1],
}


@pytest.mark.parametrize("kind", [np.uint8, "grey"])
@pytest.mark.parametrize("reading", READINGS)
def test_joints_that_fit_their_pictures_better_read_otherwise(reading, kind):
    """Hands that stay inside their picture whichever way their labels are read."""

    def read(i):
        image, uv = drawn(i)
        uv = READINGS[reading](uv).astype(np.float32)
        image = image[..., 1] if kind == "grey" else image
        file = io.BytesIO(cv2.imencode(".png", image)[1].tobytes())
        return {"image": file, "joints_uv": uv, "visible": np.ones(21, bool)}

    findings, reason = found([(f"d{i}", lambda i=i: read(i)) for i in range(30)], "keypoint_list")
    hints = [hint for hint in plausibility.hints(findings) if "colours" in hint]
    assert not reason
    assert len(hints) == bool(reading) and all(f"better with {reading};" in h for h in hints)
    few, _ = found([(f"d{i}", lambda i=i: read(i)) for i in range(6)], "keypoint_list")
    assert not any("colours" in hint for hint in plausibility.hints(few))


def person(turned):
    at = dict.fromkeys(ORDERS["coco17"].joints, (100, 40))
    for i, part in enumerate(("shoulder", "elbow", "wrist", "hip", "knee", "ankle")):
        for side, dx in (("left", 25), ("right", -25)):
            at[f"{side}_{part}"] = (100 + dx + (i % 3), 60 + (i if i < 3 else i + 1) * 22)
    points = np.array([at[name] for name in ORDERS["coco17"].joints], np.float32)
    return points[:, ::-1].copy() if turned else points


@pytest.mark.parametrize("turned", [False, True])
def test_people_who_all_lie_on_their_side(turned):
    def read():
        visible = np.arange(17) > 4
        image = io.BytesIO(PICTURE)
        return {"image": image, "joints_uv": person(turned), "visible": visible}

    findings, reason = found([(f"p{i}", read) for i in range(5)], "coco_person")
    assert not reason
    assert any("lie on their side" in hint for hint in plausibility.hints(findings)) == turned


def test_boxes_of_another_form_refuse_a_split_and_replaced_ones_do_not():
    for fault, text in (("box_corners", "two corners"), ("box_centers", "are its center")):
        findings, reason = found(hands(also=[fault]))
        assert f"{text}; expected left, top, width, height" in reason
    findings, reason = found(hands(also=["box_replaced"]))
    assert not reason and findings.counts["box_replaced"] == FRAMES


@pytest.mark.parametrize(
    "box, size, fault",
    [
        ((50, 60, 100, 120), None, None),
        ((50, 60, 100, 0), None, "box_replaced"),
        ((50, 60, np.nan, 9), None, "box_replaced"),
        ((300, 200, 10, 10), None, "box_replaced"),
        ((-5000, -5000, 10_000, 10_000), None, "box_replaced"),
        ((50, 40, 170, 190), (HEIGHT, WIDTH), None),  # in the picture either way
        ((180, 110, 310, 230), (HEIGHT, WIDTH), "box_corners"),
        ((180, 110, 400, 230), (HEIGHT, WIDTH), None),  # no corner of this picture
    ],
)
def test_boxes(box, size, fault):
    box = np.array(box, float)
    middle = np.array([100.0, 110]) if box[0] < 100 else np.array([240.0, 170])
    if fault == "box_replaced":
        middle = np.array([100.0, 110])
    uv = middle[None] + np.random.default_rng(0).uniform(-30, 30, (21, 2))
    known = np.ones(21, bool)
    if size:
        assert plausible.corners_fault(box, uv, known, size) == fault
    else:
        assert plausible.box_fault(box, uv, known) == fault
    own = plausible.box_around(uv, known)
    assert plausible.box_fault(own, uv, known) is None


@pytest.mark.parametrize("fill", [0.6, 1.0])
@pytest.mark.parametrize("steps", [2, 5])
def test_boxes_by_their_centers(fill, steps):
    """The joints of people fill their box more or less, and may be few."""
    middle, side = np.array([300.0, 250]), np.array([120.0, 260])
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, steps)] * 2), axis=-1).reshape(-1, 2)
    uv, known = middle[None] + fill * grid * side[None], np.ones(steps**2, bool)
    box = np.array([*(middle - side / 2), *side])
    assert plausible.centers_fault(box, uv, known) is None
    assert plausible.centers_fault(box + [60, 130, 0, 0], uv, known) == "box_centers"
    # Another person's, which box_fault finds; too few joints to tell.
    assert plausible.centers_fault(box + [240, 520, 0, 0], uv, known) is None
    few = known & (np.arange(steps**2) < 2)
    assert plausible.centers_fault(box + [60, 130, 0, 0], uv, few) is None


def test_published_hands_have_no_fault(real_data):
    """Every 29th of 10,000 real frames, and of the predictions of two methods."""
    for name, order, files in (
        ("nyu", "nyu14", ("nyu_test_groundtruth_uvd", "CVPR18_NYU_V2V_PoseNet")),
        ("icvl", "icvl16", ("icvl_test_groundtruth_uvd", "NEUCOM18_ICVL_Pose_REN")),
    ):
        figure, size = plausible.figure(order), {"nyu": (480, 640), "icvl": (240, 320)}[name]
        for file in files:
            uvd = read_uvd(real_data / "metrics" / f"{file}.txt", name)
            xyz, known = uvd_to_camera(uvd, name), np.ones(uvd.shape[1], bool)
            assert plausible.distance_fault(xyz[..., 2]) is None
            for one, pixels in zip(xyz[::29], uvd[::29, :, :2], strict=True):
                assert plausible.joints_xyz_fault(one, figure) is None
                assert plausible.joints_uv_fault(pixels, known, figure.limbs, size) is None
