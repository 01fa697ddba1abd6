"""Hands in rerun's viewer while they are predicted: frames, joints in 2D and 3D, and the skin.

    python examples/live_view.py RECORDING
    python examples/live_view.py DEPTH_FOLDER --camera d435 --save runs/hands.rrd

RECORDING is what `handjax predict video` reads. Without --save the viewer opens; later
`rerun runs/hands.rrd` shows the file, with a slider over time.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import rerun as rr

from handjax.data.cameras import read_camera
from handjax.pose.skeleton import SKELETONS
from handjax.prediction.base import Prediction
from handjax.prediction.frames import Frame, open_source
from handjax.prediction.recognizers import DepthRecognizer, load_for_frames
from handjax.prediction.tracks import HandTracks, Smoothing

HAND = SKELETONS["hand21"]
BONES = np.array(HAND.bones)


def main() -> None:
    """Predict, and log while it runs."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("input", help="a recording, or a folder of depth images")
    flags.add_argument("--camera", help="of a folder, as handjax predict takes it")
    flags.add_argument("--unit", type=float, default=1.0, help="mm per unit of a folder's files")
    flags.add_argument("--save", metavar="FILE", help="write a .rrd instead of opening the viewer")
    args = flags.parse_args()
    rr.init("handjax", spawn=args.save is None)
    if args.save:
        rr.save(args.save)
    for frame, hands in predicted(args.input, args.camera, args.unit):
        log(frame, hands)


def predicted(
    text: str, camera: str | None, unit_mm: float
) -> Iterator[tuple[Frame, list[tuple[int, Prediction]]]]:
    """Depth frames and the hands in them, each with its number."""
    source = open_source(text, True, unit_mm)
    given = read_camera(camera) if camera else None
    recognize = DepthRecognizer(load_for_frames(None, None, depth=True), given)
    follow = HandTracks(Smoothing())
    for frame in source.frames():
        yield frame, follow(recognize(frame), frame.seconds)


def log(frame: Frame, hands: list[tuple[int, Prediction]]) -> None:
    """One frame: its depth, joints in px over it, and joints and skin in camera mm."""
    rr.set_time("time", duration=frame.seconds)
    rr.log("world", rr.ViewCoordinates.RDF, static=True)  # x right, y down, z forward
    rr.log("depth", rr.DepthImage(frame.pixels, meter=1000.0))
    rr.log("world/hands", rr.Clear(recursive=True))
    rr.log("depth/hands", rr.Clear(recursive=True))
    for number, hand in hands:
        below = f"hands/{number}_{hand.side}"
        colors = np.array(HAND.rgb)
        rr.log(f"depth/{below}", rr.Points2D(hand.uv, colors=colors, radii=3))
        rr.log(f"depth/{below}/bones", rr.LineStrips2D(hand.uv[BONES], colors=colors[BONES[:, 1]]))
        radii = np.full(21, 4.0) if hand.std is None else hand.std
        joints = rr.Points3D(hand.xyz, colors=colors, radii=radii, labels=HAND.joints)
        rr.log(f"world/{below}", joints)
        rr.log(f"world/{below}/bones", rr.LineStrips3D(hand.xyz[BONES], colors=colors[BONES[:, 1]]))
        skin = hand.mesh()
        mesh = rr.Mesh3D(vertex_positions=skin.vertices, triangle_indices=skin.faces)
        rr.log(f"world/{below}/skin", mesh)


if __name__ == "__main__":
    main()
