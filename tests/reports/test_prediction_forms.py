"""Predictions in another form than that of their data set are named, with the likely form."""

import itertools
import json
import warnings

import numpy as np
import pytest

from handjax.data.formats.uvd_text import UVD_FORMATS, read_uvd_pair
from handjax.evaluate import main
from handjax.pose.pinhole import uvd_to_xyz
from handjax.pose.skeleton import SKELETONS
from handjax.reports.prediction_forms import PredictionWarning, check_uv, check_uvd

NYU = UVD_FORMATS["nyu"]
FX, FY, CX, CY = NYU.intrinsics
JOINTS = SKELETONS["hand21"].joints


def hands(count=60, noise=6.0):
    """(u, v, d) of hands anywhere in the image, and predictions about 10 mm off."""
    rng = np.random.default_rng(0)
    middle = rng.uniform([-200, -150, 500], [200, 150, 900], (count, 1, 3))
    xyz = middle + rng.normal(0, 45, (count, 14, 3))
    pred = xyz + rng.normal(0, noise, xyz.shape)
    uvd = [np.stack([x / z * FX + CX, y / z * FY + CY, z], -1) for x, y, z in
           (np.moveaxis(p, -1, 0) for p in (xyz, pred))]  # fmt: skip
    return uvd[1], uvd[0]


XYZ = {
    "x y z in mm": 1.0,
    "x y z in m": 1e-3,
    "x y z in cm": 0.1,
    "x y z in mm, y up": [1, -1, 1],
    "x y z in m, y up": [1e-3, -1e-3, 1e-3],
    "x y z in cm, y up and z backward": [0.1, -0.1, -0.1],
    "x y z in mm, x mirrored": [-1, 1, 1],
}
UVD = {
    "u v d with d in m": [1, 1, 1e-3],
    "u v d with d in cm": [1, 1, 0.1],
    "u v d with d in tenths of a mm": [1, 1, 10],
    "u v d with u and v as fractions": [1 / 640, 1 / 480, 1],
    "u v d with u and v as fractions and d in m": [1 / 640, 1 / 480, 1e-3],
    "u v d of an image 0.5 times as large": [0.5, 0.5, 1],
    "u v d of an image 2 times as large": [2, 2, 1],
}
OTHERS = {
    "u v d with v counted from the other side": lambda a: a * [1, -1, 1] + [0, 479, 0],
    "u v d with u counted from the other side": lambda a: a * [-1, 1, 1] + [639, 0, 0],
    "u v d with u and v counted from the other side": lambda a: a * [-1, -1, 1] + [639, 479, 0],
    "v u d": lambda a: a[..., [1, 0, 2]],
    "d u v": lambda a: a[..., [2, 0, 1]],
    "u v d with u and v from the image's middle": lambda a: a - [320, 240, 0],
    "x y z in mm relative to the hand": lambda a: (
        uvd_to_xyz(a, NYU.k) - uvd_to_xyz(a, NYU.k)[:, :1]
    ),
}
FORMS = (
    {name: lambda a, s=scale: uvd_to_xyz(a, NYU.k) * s for name, scale in XYZ.items()}
    | {name: lambda a, s=scale: a * s for name, scale in UVD.items()}
    | OTHERS
)


# Of a ground truth: those that no images can have. A mirrored one might be right.
IMPOSSIBLE = [*XYZ, *list(UVD)[:5], "u v d with u and v from the image's middle"]


@pytest.mark.parametrize(
    ("form", "whose"),
    [*((form, "pred") for form in FORMS), *((form, "true") for form in IMPOSSIBLE)],
)
def test_other_forms_are_named(form, whose):
    pred, true = hands()
    if whose == "pred":
        pred = FORMS[form](pred)
    else:
        true = FORMS[form](true)
    with pytest.raises(ValueError) as error:
        check_uvd("pred.txt", "true.txt", pred, true, NYU)
    text = str(error.value)
    assert text.startswith(f"{whose}.txt: ") and f" mm as {form}; expected u v d of NYU" in text
    right = float(text.partition(" in px and mm, ")[2].split()[0])
    assert right < 13 and "\n" not in text


@pytest.mark.parametrize("form", IMPOSSIBLE)
def test_two_files_in_one_other_form_are_named(form):
    """Their distance may look like that of a good method. Which form it is, may be open."""
    pred, true = (FORMS[form](numbers) for numbers in hands())
    with pytest.raises(ValueError) as error:
        check_uvd("pred.txt", "true.txt", pred, true, NYU)
    assert str(error.value).startswith("true.txt: as u v d in px and mm no hands of NYU, but as ")
    assert ", and pred.txt too" in str(error.value)
    if form in ("x y z in mm", "x y z in m", "x y z in cm", "u v d with d in m"):
        assert f"as {form}, and pred.txt too" in str(error.value)


@pytest.mark.parametrize("noise", [0.0, 1.0, 6.0, 30.0, 80.0])
def test_good_and_bad_methods_are_evaluated(noise):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_uvd("pred.txt", "true.txt", *hands(noise=noise), NYU)


def test_another_order_of_joints_is_named():
    pred, true = hands()
    with pytest.raises(ValueError, match=r"in another order of the joints, palm, wrist_thumb"):
        check_uvd("pred.txt", "true.txt", pred[:, ::-1], true, NYU)


def test_joints_in_space_in_another_order_are_named():
    """As LieX published its own on NYU."""
    pred, true = hands()
    xyz = uvd_to_xyz(pred, NYU.k)[:, ::-1] * [1, -1, 1]
    match = r", 9\.\d+ mm as x y z in mm, y up in another order of the joints, palm, wrist_thumb"
    with pytest.raises(ValueError, match=match):
        check_uvd("pred.txt", "true.txt", xyz, true, NYU)


def test_moved_lines_are_named():
    pred, true = hands()
    for shift in (1, -1):
        with pytest.raises(ValueError, match=rf"if its lines move by {-shift}; both must list"):
            check_uvd("pred.txt", "true.txt", np.roll(pred, shift, axis=0), true, NYU)


def test_other_frames_warn():
    pred, true = hands()
    with pytest.warns(PredictionWarning, match="in another form, or of other frames?"):
        check_uvd("pred.txt", "true.txt", np.roll(pred, 30, axis=0), true, NYU)


def test_the_command_writes_nothing(tmp_path):
    pred, true = hands()
    files = {"pred": uvd_to_xyz(pred, NYU.k) / 1000, "true": true}
    for name, numbers in files.items():
        np.savetxt(tmp_path / f"{name}.txt", numbers.reshape(len(numbers), -1))
    argv = [
        "--predictions",
        str(tmp_path / "pred.txt"),
        "--groundtruth",
        str(tmp_path / "true.txt"),
    ]
    with pytest.raises(ValueError, match=r"pred.txt: \d+ mm from .* as x y z in m; expected u v d"):
        main([*argv, "--dataset", "nyu", "--workdir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_named_form_is_read(tmp_path):
    """By the name that the message gives; the error is that of the same joints as u v d."""
    pred, true = hands()
    xyz = uvd_to_xyz(pred, NYU.k) * [1e-3, -1e-3, 1e-3]
    for name, numbers in {"uvd": pred, "xyz": xyz, "true": true}.items():
        np.savetxt(tmp_path / f"{name}.txt", numbers.reshape(len(numbers), -1), fmt="%.9f")
    found = {}
    for name, form in (("uvd", []), ("xyz", ["--form", "x y z in m, y up"])):
        argv = ["--predictions", str(tmp_path / f"{name}.txt"), "--dataset", "nyu", *form]
        argv += ["--groundtruth", str(tmp_path / "true.txt"), "--output", str(tmp_path / name)]
        main(argv)
        found[name] = json.loads((tmp_path / name / "metrics.json").read_text())["mpjpe_mm"]
    assert found["uvd"] == pytest.approx(found["xyz"], abs=1e-5)
    argv[-1] = str(tmp_path / "out")
    for form, message in (
        ("x y z", "--form 'x y z': expected a form as x y z in mm"),
        ("x y z in m, z backward", r"xyz.txt: frame 1 as x y z in m, z backward: a joint is not"),
    ):
        argv[argv.index("--form") + 1] = form
        with pytest.raises(ValueError, match=message):
            main(argv)
    with pytest.raises(ValueError, match="--form is for text of nyu, icvl, msra, not for a.npz"):
        main(["--predictions", "a.npz", "--form", "x y z in mm", "--output", argv[-1]])


# ---------------------------------------------------------------- image joints


def image_hands(noise=2.0, count=40):
    rng = np.random.default_rng(1)
    true = rng.uniform(100, 400, (count, 1, 2)) + rng.normal(0, 25, (count, 21, 2))
    labelled = rng.uniform(size=(count, 21)) < 0.9
    sizes = np.ptp(true, axis=1).max(-1)
    return true + rng.normal(0, noise, true.shape), true, labelled, sizes


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: p / 640, "fractions of the picture?"),
        (lambda p: p[..., ::-1], "as v u; expected px of the picture"),
        (lambda p: p * [-1, 1] + [639, 0], "with u counted from the other side"),
        (lambda p: p * [1, -1] + [0, 479], "with v counted from the other side"),
        (lambda p: p * 0.5, "times 2: px of images of another size?"),
        (lambda p: (p - p.min(1, keepdims=True)) * 1.7, "px of a crop?"),
        (lambda p: p[:, ::-1], "in another order of the joints"),
    ],
)
def test_other_forms_of_image_joints_are_named(change, reason):
    pred, true, labelled, sizes = image_hands()
    if "order" in reason:
        labelled = np.ones_like(labelled)
    with pytest.raises(ValueError) as error:
        check_uv("pred.json", "true.json", change(pred), true, labelled, sizes, JOINTS)
    assert str(error.value).startswith("pred.json: ") and reason in str(error.value)


@pytest.mark.parametrize("noise", [0.0, 2.0, 20.0, 60.0])
def test_image_joints_of_any_method_are_evaluated(noise):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_uv("pred.json", "true.json", *image_hands(noise), JOINTS)


def test_labels_as_fractions_are_named():
    pred, true, labelled, sizes = image_hands()
    with pytest.raises(ValueError, match=r"true.json: all numbers lie within 2 px: fractions"):
        check_uv("pred.json", "true.json", pred, true / 640, labelled, sizes / 640, JOINTS)


@pytest.mark.slow
def test_published_files_are_as_they_should_be(real_data):
    folder = real_data / "metrics"
    methods = ("CVPR18_{}_V2V_PoseNet.txt", "NEUCOM18_{}_Pose_REN.txt")
    for dataset, method in itertools.product(("nyu", "icvl"), methods):
        truth = f"{dataset}_test_groundtruth_uvd.txt"
        files = folder / method.format(dataset.upper()), folder / truth
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_uvd("pred", "true", *read_uvd_pair(*files, dataset), UVD_FORMATS[dataset])
