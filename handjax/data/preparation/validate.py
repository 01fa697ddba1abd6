"""Checks whether the samples of a data set are consistent. Faults are counted; none stops the run.

Files must be readable and images must decode. Joints must be finite, inside the image, where their
3D position projects to, near the depth surface, and those of a hand or a person (plausibility.py).
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool

from handjax.data import plausible
from handjax.data.batch import unpack_voxels
from handjax.data.plausible import Figure
from handjax.data.preparation import plausibility
from handjax.data.preparation.examples import NOTES, LazyExamples
from handjax.pose.lens import project_through_lens
from handjax.pose.pinhole import project

# Fault of a frame → its description in the report.
FAULTS = {
    "undecodable": "images that do not decode",
    "not_finite": "values that are not finite",
    "behind": "joints behind the camera",
    "outside": "visible joints outside the image",
    "empty_depth": "no depth at all",
    "off_surface": "most visible joints farther than 50 mm from the depth, people's than 250 mm",
    "reprojection": "a joint more than 1 px from its projected 3D position",
    **plausible.FAULTS,
}
SURFACE_MM = (10, 20, 50)
REPROJECTION_PX = 1.0
_OFF_PERSON_MM = 250.0  # half a trunk, and clothes; of a hand SURFACE_MM[-1]
_EXAMPLES = 5  # frames listed per fault
_MAX_LINES = 200  # error messages kept


@dataclass
class Findings:
    """Counts over samples; `+=` adds those of another chunk, and `to_dict` gives plain JSON.

    `counts` holds frames; frames per fault, under its name; joints (visible, with a place in an
    image), joints_outside, surface_joints (with depth at their pixel), surface_within_10 and so on,
    reprojected_joints; and unreadable, which are not counted as frames.

    `px` is the sum of the reprojection distances and `largest_px` their maximum. `named` lists the
    first frames per fault, `unreadable` each error message with the number of its samples.

    `left_out` maps the name of an unreadable sample to the reason. What cannot be read and is no
    sample, such as a list of labels, is not in it and counts as `broken`: nothing can be left out
    in its place.
    """

    counts: Counter[str] = field(default_factory=Counter)
    px: float = 0.0
    largest_px: float = 0.0
    named: dict[str, list[str]] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def __iadd__(self, other: "Findings") -> "Findings":
        self.counts.update(other.counts)
        self.px += other.px
        self.largest_px = max(self.largest_px, other.largest_px)
        for fault, keys in other.named.items():
            self.named[fault] = (self.named.get(fault, []) + keys)[:_EXAMPLES]
        for line, times in other.unreadable.items():
            self._keep(line, times)
        self.left_out |= other.left_out
        return self

    def add_fault(self, fault: str, key: str) -> None:
        """Counts a fault of the frame `key`."""
        self.counts[fault] += 1
        self.named[fault] = (self.named.get(fault, []) + [key])[:_EXAMPLES]

    def add_unreadable(self, error: Exception, key: str | None = None) -> None:
        """Counts the sample `key` that could not be read because of `error`; None: no sample."""
        line = " ".join(str(error).split())
        self.counts["unreadable"] += 1
        self._keep(line, 1)
        if key is None:
            self.counts["broken"] += 1
        else:
            self.left_out[key] = line

    def complete(self, leave_out: bool) -> bool:
        """Whether all samples could be read, or those that could not may be left out."""
        return not self.unreadable or (leave_out and not self.counts["broken"])

    def _keep(self, line: str, times: int) -> None:
        if line in self.unreadable or len(self.unreadable) < _MAX_LINES:
            self.unreadable[line] = self.unreadable.get(line, 0) + times

    def to_dict(self) -> dict[str, Any]:
        """Inverse of `from_dict`."""
        return {**vars(self), "counts": dict(self.counts)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Findings":
        """Inverse of `to_dict`."""
        return cls(**{**data, "counts": Counter(data["counts"])})

    def summary(self, published: int | None) -> dict[str, Any]:
        """The content of report.json: fractions from 0 to 1, None where nothing was measured."""
        counts = self.counts
        surface, reprojected = counts["surface_joints"], counts["reprojected_joints"]
        return {
            "frames": counts["frames"],
            "published_frames": published,
            "unreadable_frames": counts["unreadable"],
            "unreadable": self.unreadable,
            "frames_with": {fault: counts[fault] for fault in FAULTS},
            "named": self.named,
            "visible_joints": counts["joints"],
            "joints_outside": counts["joints_outside"],
            "surface_joints": surface,
            "surface_share_within_mm": {
                str(mm): counts[f"surface_within_{mm}"] / surface if surface else None
                for mm in SURFACE_MM
            },
            "reprojected_joints": reprojected,
            "reprojection_mean_px": self.px / reprojected if reprojected else None,
            "reprojection_largest_px": self.largest_px if reprojected else None,
        }


def readable(examples: LazyExamples, findings: Findings) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, sample) of the readable examples; the errors of the others go to `findings`."""
    for key, read in examples:
        try:
            sample = read()
        except (ValueError, OSError) as error:
            findings.add_unreadable(error, key)
        else:
            for fault in sample.pop(NOTES, ()):
                findings.add_fault(fault, key)
            yield key, sample


def examined(
    samples: Iterable[tuple[str, dict[str, Any]]],
    findings: Findings,
    figure: Figure = plausible.ANY,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Passes on (key, sample) as the data sets' raw.py yield them, and adds to `findings`. `figure`
    is what the joints belong to."""
    for key, sample in samples:
        findings.counts["frames"] += 1
        for fault in sorted(_faults(sample, findings, figure)):
            findings.add_fault(fault, key)
        yield key, sample


def examine(examples: LazyExamples, figure: Figure = plausible.ANY) -> Findings:
    """Reads all examples and returns the findings."""
    findings = Findings()
    for _ in examined(readable(examples, findings), findings, figure):
        pass
    return findings


def images(sample: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The images of a sample, decoded, with those of k, joints_xyz, joints_uv, visible and
    distortion that belong to them.

    Each has the keys `image` or `depth`. A sample has one image, several on a leading axis, one
    more of a depth sensor (`sensor_depth`) or of a right camera (`image_right`), or a voxel grid,
    which gives the depth image of its front.
    """
    sample = decoded(sample)
    if "voxels" in sample:
        yield _front(sample)
        return
    keys = ("image", "depth", "k", "joints_xyz", "joints_uv", "visible", "distortion")
    main = {key: sample[key] for key in keys if key in sample}
    if "k" in main and np.ndim(main["k"]) == 3:
        yield from ({key: value[i] for key, value in main.items()} for i in range(len(main["k"])))
    else:
        yield main
    if "sensor_depth" in sample:
        prefix = "sensor_"
        yield {k.removeprefix(prefix): v for k, v in sample.items() if k.startswith(prefix)}
    if "image_right" in sample:
        suffix = "_right"
        yield {k.removesuffix(suffix): v for k, v in sample.items() if k.endswith(suffix)}


def decoded(sample: dict[str, Any]) -> dict[str, Any]:
    """The sample with its image files decoded (BGR); None for those that do not decode."""
    return {k: _decode(v) if isinstance(v, io.BytesIO) else v for k, v in sample.items()}


def _decode(file: io.BytesIO) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(file.getbuffer(), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


def _front(sample: dict[str, Any]) -> dict[str, Any]:
    """Depth image of a voxel grid, seen along z. Starts at 10 m, so that no depth is 0, which
    means missing. data/formats/voxel_h5.py defines the cells."""
    grid = unpack_voxels(sample["voxels"])
    size = len(grid)
    unit = (sample["joints_xyz"] - sample["center_xyz"]) / sample["cube_mm"] + 0.5
    depth = 10_000 + grid.argmax(-1) / (size - 2) * sample["cube_mm"][2]
    uv, z = unit[:, :2] * size - 0.5, 10_000 + unit[:, 2] * sample["cube_mm"][2]
    return {"depth": np.where(grid.any(-1), depth, 0), "joints_uv": uv, "joints_xyz": np.c_[uv, z]}


def _faults(sample: dict[str, Any], findings: Findings, figure: Figure) -> set[str]:
    faults = set()
    files = {key for key, value in sample.items() if isinstance(value, io.BytesIO)}
    sample = decoded(sample)
    if any(sample[key] is None for key in files):
        faults.add("undecodable")
    values = [np.asarray(value) for key, value in sample.items() if key not in files]
    if any(value.dtype.kind == "f" and not np.isfinite(value).all() for value in values):
        return faults | {"not_finite"}
    pictures = list(images(sample))
    for image in pictures:
        faults |= _faults_of_image(image, findings, figure)
    return faults | plausibility.faults_of_sample(sample, pictures, figure, findings)


def _faults_of_image(image: dict[str, Any], findings: Findings, figure: Figure) -> set[str]:
    faults = set()
    depth, pixels, uv, xyz = (image.get(k) for k in ("depth", "image", "joints_uv", "joints_xyz"))
    if depth is not None and not depth.any():
        faults.add("empty_depth")
    if xyz is not None and (xyz[image.get("visible", np.ones(len(xyz), bool)), 2] <= 0).any():
        return faults | {"behind"}
    frame = pixels if pixels is not None else depth
    if uv is None or frame is None:
        return faults
    height, width = frame.shape[:2]
    visible = image.get("visible", np.ones(len(uv), bool))
    inside = ((uv >= -0.5) & (uv < (width - 0.5, height - 0.5))).all(-1)
    findings.counts["joints"] += int(visible.sum())
    if (visible & ~inside).any():
        findings.counts["joints_outside"] += int((visible & ~inside).sum())
        faults.add("outside")
    if xyz is not None and "k" in image and _reprojects_badly(image, visible, findings):
        faults.add("reprojection")
    if xyz is not None and depth is not None:
        u, v = np.rint(uv[visible & inside]).astype(int).T
        surface = depth[v, u].reshape(-1).astype(np.float32)
        distances = np.abs(xyz[visible & inside, 2] - surface)[surface > 0]
        findings.counts["surface_joints"] += len(distances)
        for mm in SURFACE_MM:
            findings.counts[f"surface_within_{mm}"] += int((distances <= mm).sum())
        limit = _OFF_PERSON_MM if figure.kind == "person" else SURFACE_MM[-1]
        if len(distances) and (distances <= limit).mean() < 0.5:
            faults.add("off_surface")
    return faults


def _reprojects_badly(
    image: dict[str, Any], visible: Bool[np.ndarray, " j"], findings: Findings
) -> bool:
    xyz, k, distortion = image["joints_xyz"][visible], image["k"], image.get("distortion")
    uv = project(xyz, k) if distortion is None else project_through_lens(xyz, k, distortion)
    distances = np.linalg.norm(uv - image["joints_uv"][visible], axis=-1)
    largest = float(distances.max(initial=0))
    findings.counts["reprojected_joints"] += len(distances)
    findings.px += float(distances.sum())
    findings.largest_px = max(findings.largest_px, largest)
    return largest > REPROJECTION_PX
