"""Published 2D results on RHD and STB, for comparison: px of the original images, crops around the
true hand.

hand3d: README and evaluation scripts of github.com/lmb-freiburg/hand3d (Zimmermann and Brox 2017).
jiangxubin: result/result_infos.csv of github.com/jiangxubin/hand_pose; recomputing the areas from
its curves gives the same values. mmpose: pull request 523 of github.com/open-mmlab/mmpose.
"""

from typing import NamedTuple

TEST_HANDS = {"rhd": 2728, "stb": 3000, "rhd+stb": 5728}
TITLES = {"rhd": "RHD", "stb": "STB", "rhd+stb": "RHD and STB"}


class PublishedKeypoints2d(NamedTuple):
    """One model on one test set: EvalUtil's metrics (metrics/keypoints2d.py) of all joints, unless
    `note` states otherwise. `curve` is its PCK at CURVE_PX, empty if unknown.
    """

    dataset: str
    method: str
    auc: float | None
    auc_visible: float | None
    mean_px: float
    median_px: float | None
    note: str = ""
    curve: tuple[float, ...] = ()


_STB = (
    "STB cropped to 320 px; 250 frames of each of its 12 sequences, drawn at random, so the test "
    "set cannot be reproduced"
)
_HAND3D = "mean and median of visible joints; joint 0 is the palm; trained on RHD and STB"
_MMPOSE = "mean over all joints pooled; area by mmpose's rule (our auc_mmpose)"

RESULTS = (
    PublishedKeypoints2d("rhd", "PoseNet2D, DSNT, 60k", 0.855, 0.860, 6.199, 2.013),
    PublishedKeypoints2d("rhd", "PoseNet2D, DSNT, 30k", 0.846, 0.851, 6.513, 2.168),
    PublishedKeypoints2d(
        "rhd",
        "PoseNet2D, heatmaps, 30k",
        0.837,
        0.844,
        6.897,
        2.634,
        "",
        (0.000, 0.288, 0.595, 0.740, 0.808, 0.847, 0.873, 0.892, 0.906, 0.917)
        + (0.926, 0.934, 0.941, 0.947, 0.953, 0.957, 0.961, 0.965, 0.969, 0.972),
    ),
    PublishedKeypoints2d(
        "rhd",
        "hand3d's weights, by jiangxubin",
        0.746,
        0.751,
        10.0,
        4.472,
        "",
        (0.000, 0.134, 0.356, 0.533, 0.642, 0.712, 0.758, 0.792, 0.818, 0.839)
        + (0.855, 0.870, 0.883, 0.894, 0.905, 0.914, 0.922, 0.930, 0.937, 0.943),
    ),
    PublishedKeypoints2d("rhd", "hand3d", None, 0.724, 9.135, 5.001, _HAND3D),
    PublishedKeypoints2d("rhd", "hand3d, retrained", None, 0.771, 7.630, 3.939, _HAND3D),
    PublishedKeypoints2d("rhd", "mmpose, ResNet-50", 0.887, None, 2.663, None, _MMPOSE),
    PublishedKeypoints2d("stb", "PoseNet2D, DSNT, 60k", 0.938, None, 1.833, 1.482, _STB),
    PublishedKeypoints2d("stb", "PoseNet2D, heatmaps, 50k", 0.898, None, 3.022, 2.782, _STB),
    PublishedKeypoints2d(
        "stb",
        "PoseNet2D, heatmaps, 30k",
        0.897,
        None,
        3.047,
        2.802,
        _STB,
        (0.002, 0.209, 0.579, 0.847, 0.949, 0.981, 0.992, 0.996, 0.998, 0.999)
        + (0.999, 1.000, 1.000, 1.000, 1.000, 1.000, 1.000, 1.000, 1.000, 1.000),
    ),
    PublishedKeypoints2d(
        "rhd+stb", "PoseNet2D, DSNT, 90k", 0.877, 0.880, 4.632, None, f"STB part: {_STB}"
    ),
)


def results(dataset: str) -> tuple[PublishedKeypoints2d, ...]:
    """The models on one test set, lowest mean error first."""
    rows = (row for row in RESULTS if row.dataset == dataset)
    return tuple(sorted(rows, key=lambda row: row.mean_px))
