"""Reports of evaluations: metrics.json, predictions.npz and report.html.

`KINDS[task.kind]` is the report of a task's results.
"""

from handjax.reports.base import Report
from handjax.reports.body import BodyReport
from handjax.reports.joints3d import Joints3dReport
from handjax.reports.keypoints2d import Keypoints2dReport

KINDS: dict[str, type[Report]] = {
    "joints3d": Joints3dReport,
    "keypoints2d": Keypoints2dReport,
    "body": BodyReport,
}
