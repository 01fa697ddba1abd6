"""Published results on NYU and ICVL, for comparison.

Recomputed from the prediction files that awesome-hand-pose-estimation collects
(https://github.com/xinghaochen/awesome-hand-pose-estimation), by its own rules: 14 joints and 8,252
frames on NYU, 16 joints and 1,596 frames on ICVL. The means equal its published table to the
printed digit.

`method` is the name of the file without venue and data set. DeepPrior's ICVL files cover 702 of the
frames and are left out.
"""

from typing import NamedTuple

SOURCE = "awesome-hand-pose-estimation"
THRESHOLDS_MM = (10, 20, 30, 40, 50)
TEST_FRAMES = {"nyu": 8252, "icvl": 1596}  # in the test sets of the results


class PublishedJoints3d(NamedTuple):
    """One method on one test set; NYU and ICVL, mm.

    `success_max`: percent of frames whose worst joint is within each of THRESHOLDS_MM. `aligned`:
    the method uses, or was aligned to, the true root joint, so it is not comparable with others.
    """

    dataset: str
    venue: str
    method: str
    mean_mm: float
    median_mm: float
    success_max: tuple[float, float, float, float, float]
    aligned: bool = False


RESULTS = (
    PublishedJoints3d(
        "nyu", "Access18", "SHPR-Net frontal", 10.775, 7.864, (14.21, 56.4, 79.34, 88.14, 91.84)
    ),
    PublishedJoints3d(
        "nyu", "Access18", "SHPR-Net three", 9.371, 6.907, (19.3, 65.08, 85.86, 92.28, 94.91)
    ),
    PublishedJoints3d(
        "nyu", "ArXiv", "TriHorn-Net", 7.676, 5.466, (32.63, 74.04, 83.46, 88.84, 92.05)
    ),
    PublishedJoints3d("nyu", "CVPR17", "3DCNN", 14.113, 10.425, (4.12, 33.59, 60.07, 75.53, 86.23)),
    PublishedJoints3d(
        "nyu", "CVPR18", "DeepPrior++ FM", 7.441, 5.922, (33.06, 82.8, 92.72, 96.74, 98.76)
    ),
    PublishedJoints3d(
        "nyu", "CVPR18", "HandPointNet", 10.54, 7.594, (17.63, 59.34, 78.41, 85.97, 91.69)
    ),
    PublishedJoints3d(
        "nyu", "CVPR18", "V2V-PoseNet", 8.419, 5.797, (30.53, 71.24, 83.12, 88.09, 91.97)
    ),
    PublishedJoints3d(
        "nyu", "CVPR18", "denseReg", 10.214, 7.237, (11.22, 56.42, 78.6, 85.79, 89.25)
    ),
    PublishedJoints3d(
        "nyu", "CVPR19", "CrossInfoNet", 10.078, 7.704, (14.93, 63.65, 82.9, 89.18, 93.08)
    ),
    PublishedJoints3d(
        "nyu", "CVWW15", "Prior-Refinement", 19.726, 12.882, (5.09, 23.65, 39.57, 52.02, 62.6)
    ),
    PublishedJoints3d("nyu", "CVWW15", "Prior", 20.75, 14.854, (2.92, 16.27, 36.22, 49.24, 62.08)),
    PublishedJoints3d(
        "nyu", "ECCV18", "Point-to-Point", 9.045, 6.503, (22.93, 71.55, 84.23, 88.94, 92.4)
    ),
    PublishedJoints3d(
        "nyu", "ICCV15", "Feedback", 15.973, 12.27, (2.56, 18.94, 43.78, 65.85, 80.08), aligned=True
    ),
    PublishedJoints3d(
        "nyu", "ICCVW17", "DeepPrior++", 12.238, 9.031, (10.8, 44.72, 70.31, 83.53, 90.97)
    ),
    PublishedJoints3d(
        "nyu", "ICIP17", "Guo-Basic", 14.588, 11.091, (4.4, 31.35, 59.59, 75.11, 85.4)
    ),
    PublishedJoints3d(
        "nyu", "ICIP17", "REN-4x6x6", 13.393, 10.084, (9.8, 42.91, 67.34, 80.74, 88.57)
    ),
    PublishedJoints3d(
        "nyu", "IJCAI16", "DeepModel", 17.036, 12.209, (1.87, 18.97, 41.93, 58.2, 71.78)
    ),
    PublishedJoints3d(
        "nyu", "IJCV16", "LieX", 14.507, 10.607, (1.78, 31.81, 59.56, 74.38, 83.22), aligned=True
    ),
    PublishedJoints3d(
        "nyu", "JVCI18", "REN-9x6x6", 12.694, 9.408, (11.39, 45.88, 70.15, 82.6, 89.91)
    ),
    PublishedJoints3d(
        "nyu", "NEUCOM18", "Pose-REN", 11.811, 8.147, (17.18, 48.69, 69.3, 79.77, 85.64)
    ),
    PublishedJoints3d(
        "nyu", "Sensors19", "WHSP-Net", 9.421, 6.675, (22.72, 65.97, 81.8, 88.38, 92.41)
    ),
    PublishedJoints3d("nyu", "TMM21", "SRNet", 9.173, 6.24, (27.94, 72.46, 83.24, 87.12, 90.12)),
    PublishedJoints3d(
        "nyu",
        "TPAMI19",
        "Generalized-Feedback",
        10.894,
        8.333,
        (9.74, 44.79, 74.92, 86.98, 93.15),
        aligned=True,
    ),
    PublishedJoints3d(
        "nyu",
        "WACV19",
        "Murauer (72,757 labels)",
        9.466,
        7.475,
        (15.49, 66.11, 85.49, 90.71, 94.66),
    ),
    PublishedJoints3d(
        "icvl", "Access18", "SHPR-Net", 7.219, 5.974, (28.88, 74.0, 88.85, 94.92, 97.74)
    ),
    PublishedJoints3d(
        "icvl", "ArXiv", "TriHorn-Net", 5.736, 4.649, (49.31, 84.65, 93.61, 97.43, 98.87)
    ),
    PublishedJoints3d("icvl", "CVPR14", "LRF", 12.578, 9.561, (0.63, 20.74, 50.38, 70.86, 85.78)),
    PublishedJoints3d(
        "icvl", "CVPR18", "HandPointNet", 6.935, 5.708, (35.53, 75.63, 92.54, 96.93, 98.68)
    ),
    PublishedJoints3d(
        "icvl", "CVPR18", "V2V-PoseNet", 6.284, 5.288, (45.3, 84.65, 93.92, 97.18, 98.75)
    ),
    PublishedJoints3d(
        "icvl", "CVPR18", "denseReg", 7.239, 6.08, (26.94, 79.64, 92.36, 97.06, 98.37)
    ),
    PublishedJoints3d(
        "icvl", "CVPR19", "CrossInfoNet", 6.732, 5.582, (34.21, 80.08, 94.17, 97.99, 99.0)
    ),
    PublishedJoints3d(
        "icvl", "ECCV18", "Point-to-Point", 6.328, 5.264, (48.31, 84.52, 93.05, 97.49, 98.87)
    ),
    PublishedJoints3d(
        "icvl", "ICIP17", "Guo-Basic", 8.358, 6.895, (12.66, 63.16, 85.34, 92.92, 97.31)
    ),
    PublishedJoints3d(
        "icvl", "ICIP17", "REN-4x6x6", 7.628, 6.234, (24.31, 69.11, 87.72, 95.74, 98.68)
    ),
    PublishedJoints3d(
        "icvl", "IJCAI16", "DeepModel", 11.561, 9.604, (0.06, 49.94, 71.87, 84.02, 91.6)
    ),
    PublishedJoints3d(
        "icvl", "JVCI18", "REN-9x6x6", 7.305, 5.933, (29.32, 71.24, 88.03, 95.55, 98.5)
    ),
    PublishedJoints3d(
        "icvl", "NEUCOM18", "Pose-REN", 6.791, 5.632, (37.34, 77.69, 90.16, 95.3, 97.24)
    ),
    PublishedJoints3d("icvl", "TMM21", "SRNet", 6.152, 5.13, (47.74, 85.34, 94.86, 97.68, 98.81)),
)


def results(dataset: str, aligned: bool = False) -> tuple[PublishedJoints3d, ...]:
    """The results on one data set, lowest mean first; with `aligned`, aligned ones too."""
    rows = (row for row in RESULTS if row.dataset == dataset and (aligned or not row.aligned))
    return tuple(sorted(rows, key=lambda row: row.mean_mm))
