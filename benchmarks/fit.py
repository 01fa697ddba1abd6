"""The fit of a hand to one depth image, network apart: the one that weighs a network's joints
against the depth, beside the tracker's."""

from collections.abc import Iterator

import jax
import numpy as np

from benchmarks.harness import Case, Effort
from handjax.fitting.depth_cube import crop_cube
from handjax.fitting.depth_fitter import DepthFitter, SeenJoints
from handjax.fitting.frame_fitter import FrameFitter
from handjax.synthetic.camera_world import crop_sample

TRACKER_STEPS = 150  # those of `handjax predict depth` with `--method adam`
_OFF_MM = 10.0  # deviation of the network's joints


def cases(effort: Effort) -> Iterator[Case]:
    """A hand of the camera world at 64 x 64 px, from joints that are 10 mm off along each axis."""
    draw = jax.jit(lambda key: crop_sample(key, none=0.0, left=0.0, shift_mm=(0.0, 0.0)))
    row = jax.device_get(draw(jax.random.key(3)))
    off = _OFF_MM * np.random.default_rng(0).normal(size=(21, 3))
    joints = (row["joints_xyz"] + off).astype(np.float32)
    image = row["depth"], row["k"]
    cube = crop_cube(*image, center_xyz=row["center_xyz"])
    seen = SeenJoints(joints, np.full(21, _OFF_MM, np.float32), *image)
    weigh = DepthFitter()
    track = FrameFitter(None, 2 if effort.tiny else TRACKER_STEPS, "adam", True, False)
    yield Case(
        f"fit, one frame of 64 x 64, {weigh.steps} steps, and {track.steps} of the tracker",
        1,
        "frame",
        {
            "weighed": lambda: weigh("", cube, seen),
            "tracker": lambda: track("", cube, cube.from_camera(joints).astype(np.float32)),
        },
    )
