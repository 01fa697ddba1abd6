"""Users' own labelled depth frames, of a hand or of anything: frames.json and its images, as they
are, with nothing to prepare (docs/real_frames.md has the form).
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from ml_collections import ConfigDict

from handjax.data.formats.depth import read_depth
from handjax.data.formats.labelled_frames import FrameSet, LabelledFrame, read_frames
from handjax.data.frame_checks import camera_fits, check_labels
from handjax.engine import config as configs
from handjax.engine.contracts import Batch
from handjax.pose.center import hand_center
from handjax.pose.skeleton import Skeleton
from handjax.sources.base import Source, check_cube, required_path
from handjax.sources.crop_center import nearest_thing, search_range
from handjax.sources.watch import Watch

_MIRROR = np.array([-1, 1, 1], np.float32)  # camera mm


class OwnFrame(NamedTuple):
    """A frame as a network sees it: of a right hand, since left ones are mirrored."""

    depth: Float[np.ndarray, "h w"]  # mm along z, 0 not measured
    k: Float[np.ndarray, "3 3"]
    xyz: Float[np.ndarray, "j 3"]  # camera mm, NaN without a label
    center: Float[np.ndarray, "3"]  # NaN if the file has none


class OwnFrames:
    """Labelled frames of one or several folders, read when they are asked for."""

    def __init__(self, pairs: Sequence[tuple[FrameSet, LabelledFrame]]):
        self.pairs = list(pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def skeleton(self) -> Skeleton:
        return self.pairs[0][0].skeleton

    def names(self, numbers: np.ndarray) -> list[str]:
        """As in the files, below the folder's name."""
        found = (self.pairs[int(i)] for i in numbers)
        return [f"{frames.name}/{frame.name}" for frames, frame in found]

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first image, which all others must have."""
        depth = self._depth(0)
        return depth.shape[0], depth.shape[1]

    def read(self, number: int) -> OwnFrame:
        """One frame. ValueError or OSError, one line, for an image that does not read, is of
        another size than the first, or cannot be of its camera."""
        frames, frame = self.pairs[number]
        depth = self._depth(number)
        if depth.shape != self.size:
            height, width = self.size
            raise ValueError(
                f"{frame.path}: {depth.shape[1]} x {depth.shape[0]} px; expected {width} x "
                f"{height} as the first image, {self.pairs[0][1].path}: train on one size"
            )
        camera_fits(frames, frame, *depth.shape)
        k, xyz = frame.k.astype(np.float32), frame.placed(depth).xyz.astype(np.float32)
        center = np.full(3, np.nan) if frame.center is None else frame.center
        center = center.astype(np.float32)
        if frame.hand == "left":
            depth, k = np.ascontiguousarray(depth[:, ::-1]), k.copy()
            k[0, 2] = depth.shape[1] - 1 - k[0, 2]
            xyz, center = xyz * _MIRROR, center * _MIRROR
        return OwnFrame(depth, k, xyz, center)

    def _depth(self, number: int) -> Float[np.ndarray, "h w"]:
        frames, frame = self.pairs[number]
        return read_depth(frame.path, form=frames.form, scale=frames.unit_mm)


def open_frames(config: ConfigDict, train: bool) -> tuple[OwnFrames, OwnFrames]:
    """Frames to train on and to evaluate, of `config.data.path` and `also`, and of `eval_path`.

    Without `eval_path` the last share `held_out` of people is evaluated or, where the files name
    none, of sequences or of frames: neighbours in a recording look alike. Labels are checked
    against the depth. ValueError, one line, for what cannot be right.
    """
    data = config.data
    required_path(config, "folder of your frames.json (docs/real_frames.md)")
    configs.check(config, {"data.held_out": configs.Rule(lambda s: 0 < s < 1, "a share, 0 to 1")})
    trained = _labelled([data.path, *data.also])
    if data.eval_path:
        evaluated = _labelled([data.eval_path])
        if not train:
            trained = evaluated
    else:
        trained, evaluated = _divided(trained, data.held_out, str(data.path))
    first, *others = {id(frames): frames for frames, _ in [*trained, *evaluated]}.values()
    for frames in others:
        if frames.skeleton.joints != first.skeleton.joints:
            raise ValueError(
                f"{frames.path}: its joints are not those of {first.path}; expected the same "
                "'skeleton' or 'order' in both"
            )
    return OwnFrames(trained), OwnFrames(evaluated)


Pair = tuple[FrameSet, LabelledFrame]


def _labelled(paths: Sequence[str]) -> list[Pair]:
    """The frames with labels of these folders, checked."""
    result: list[Pair] = []
    for path in paths:
        frames = read_frames(Path(path))
        check_labels(frames)
        result += [(frames, frame) for frame in frames.frames if _has_labels(frame)]
    if not result:
        raise ValueError(
            f"{paths[0]}: no frame has labels; expected 'uv' or 'xyz_mm' of some joints"
        )
    return result


def _has_labels(frame: LabelledFrame) -> bool:
    return bool(frame.labelled.any() or np.isfinite(frame.uv).all(-1).any())


def _divided(pairs: list[Pair], share: float, where: str) -> tuple[list[Pair], list[Pair]]:
    """To train on and to evaluate."""
    whose: Callable[[LabelledFrame], str]
    for whose in (lambda f: f.person, lambda f: f.sequence, lambda f: f.name):
        names = list(dict.fromkeys(whose(frame) for _, frame in pairs))
        if len(names) > 1:
            break
    else:
        raise ValueError(
            f"{where}: one labelled frame; expected several, or others in config.data.eval_path"
        )
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    held = set(names[-count:])
    return (
        [pair for pair in pairs if whose(pair[1]) not in held],
        [pair for pair in pairs if whose(pair[1]) in held],
    )


def labelled_frames(config: ConfigDict, train: bool = True) -> Source:
    """Whole frames for V2V-PoseNet, with `labelled` [b, j] for joints that have a label.

    The crop's center (`config.data.center`) is the center of mass of the nearest thing within
    `data.depth_mm` ("depth", found on the device), the frames' own `center` ("given"), or the mean
    of the labelled joints ("label").
    """
    data = config.data
    check_cube(config)
    near, far = search_range(config)
    trained, evaluated = open_frames(config, train)
    centers = {
        "depth": nearest_thing(near, far),
        "given": "from the files",
        "label": "from the label: mean of the labelled joints",
    }
    described = configs.lookup(centers, config, "data.center")
    cube_mm = np.full(3, data.cube_mm, np.float32)

    def rows(numbers: Int[np.ndarray, " b"], frames: OwnFrames) -> Batch:
        found = [frames.read(int(i)) for i in numbers]
        xyz = np.stack([one.xyz for one in found])
        labelled = np.isfinite(xyz).all(-1)
        depth = np.stack([one.depth for one in found])
        batch = {
            "depth": depth,
            "k": np.stack([one.k for one in found]),
            "cube_mm": np.tile(cube_mm, (len(found), 1)),
            "index": np.asarray(numbers, np.int32),
        }
        middle = _means(xyz, labelled)
        if data.center == "depth":
            seen = np.asarray(((depth >= near) & (depth <= far)).any((1, 2)))
            hint = f"no depth within {near:g} to {far:g} mm; widen config.data.depth_mm"
            _require(seen, numbers, frames, hint)
        elif data.center == "given":
            batch["center_xyz"] = np.stack([one.center for one in found])
            hint = "no 'center' in its file; give one, or use config.data.center=depth"
            _require(np.isfinite(batch["center_xyz"]).all(-1), numbers, frames, hint)
        else:
            batch["center_xyz"] = middle
        batch["joints_xyz"] = np.where(labelled[..., None], xyz, middle[:, None])
        return {**batch, "labelled": labelled, "mask": labelled.any(-1)}

    def materialize(batch: Batch, keys: Key[Array, " b"] | None = None) -> Batch:
        if "center_xyz" in batch:
            return batch
        found = hand_center(batch["depth"], batch["k"], batch["cube_mm"], (near, far))
        return {**batch, "center_xyz": found}

    watch = partial(Watch, skeleton=trained.skeleton, where=str(data.path))
    return Source(
        skeleton=trained.skeleton,
        train_size=len(trained),
        eval_size=len(evaluated),
        train_rows=watch(partial(rows, frames=trained), size=len(trained), train=True),
        eval_rows=watch(partial(rows, frames=evaluated), size=len(evaluated), train=False),
        materialize=materialize,
        names=evaluated.names,
        description=f"{len(evaluated)} frames of {data.eval_path or data.path}; crop center "
        f"{described}",
    )


def _means(
    xyz: Float[np.ndarray, "b j 3"], labelled: Bool[np.ndarray, "b j"]
) -> Float[np.ndarray, "b 3"]:
    """Means of the labelled joints; 500 mm ahead where none is."""
    count = labelled.sum(-1, keepdims=True)
    total = np.where(labelled[..., None], xyz, np.float32(0)).sum(1)
    ahead = np.array([[0, 0, 500]], np.float32)
    return np.where(count > 0, total / np.maximum(count, 1), ahead).astype(np.float32)


def _require(
    fine: Bool[np.ndarray, " b"], numbers: np.ndarray, frames: OwnFrames, problem: str
) -> None:
    if not fine.all():
        frame = frames.pairs[int(numbers[int(np.argmin(fine))])][1]
        raise ValueError(f"{frame.path}: {problem}")
