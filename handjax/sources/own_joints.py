"""The joints of a run on a user's own: skeleton.json in its folder, since the data may not be there
when the run predicts."""

import json
from pathlib import Path

from ml_collections import ConfigDict

from handjax.engine.files import write_atomic
from handjax.pose.skeleton import Skeleton
from handjax.pose.skeleton_file import NAME, read_skeleton, to_content

FILE = "skeleton.json"
_MAY_BE_OWN = ("landmarks", "labelled_frames")  # sources


def own_joints(workdir: Path, config: ConfigDict) -> Skeleton | None:
    """The joints of the run in `workdir` with that config; None for a run on others.
    FileNotFoundError or ValueError, one line, if they cannot be read."""
    name = config.data.name
    if name not in _MAY_BE_OWN or (name != "landmarks" and not (workdir / FILE).exists()):
        return None
    return read_skeleton(workdir / FILE)


def check_joints(workdir: Path, config: ConfigDict, skeleton: Skeleton) -> None:
    """ValueError if the run in `workdir` predicts other joints than `skeleton`'s, those of the
    data, or in another order."""
    own = own_joints(workdir, config)
    if own is None or own.joints == skeleton.joints:
        return
    pairs = zip(own.joints, skeleton.joints, strict=False)
    count = min(len(own.joints), len(skeleton.joints))
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), count)
    raise ValueError(
        f"{workdir}: the run predicts {len(own.joints)} joints, the data has "
        f"{len(skeleton.joints)}; they differ from joint {place} on, {_joint(own, place)} there "
        f"and {_joint(skeleton, place)} here; expected the same joints in the same order"
    )


def keep_joints(workdir: Path, skeleton: Skeleton) -> None:
    """Writes a user's own joints into the run's folder."""
    if skeleton.name == NAME:
        text = json.dumps(to_content(skeleton), indent=1, ensure_ascii=False)
        write_atomic(workdir / FILE, text + "\n")


def _joint(skeleton: Skeleton, place: int) -> str:
    return repr(skeleton.joints[place]) if place < len(skeleton.joints) else "none"
