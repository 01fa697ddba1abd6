"""Joint angles of a robot hand that follows a predicted hand, by dex-retargeting.

    python examples/robot_hand.py RECORDING

prints the robot's angles for every frame, rad. The robot's palm has the axes of
`Prediction.wrist_pose`: x to the middle finger, z out of the back of the hand, so the angles do not
depend on where the hand is. robot_hand.urdf is a right hand; for a left one its y axis is mirrored.
"""

import argparse
from pathlib import Path

import numpy as np
from dex_retargeting.retargeting_config import RetargetingConfig
from dex_retargeting.seq_retarget import SeqRetargeting

from handjax.pose.skeleton import SKELETONS
from handjax.prediction.base import Prediction
from handjax.prediction.frames import open_source
from handjax.prediction.recognizers import DepthRecognizer, load_for_frames

URDF = Path(__file__).with_name("robot_hand.urdf")
JOINTS = SKELETONS["hand21"].joints
FINGERS = ("thumb", "index", "middle", "ring")
TIPS = [JOINTS.index(f"{finger}_tip") for finger in FINGERS]
MIDDLES = [JOINTS.index(f"{finger}_mid") for finger in FINGERS]


def main() -> None:
    """Print the robot's angles for the first hand of every frame."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("input", help="a depth recording, as handjax predict video reads it")
    args = flags.parse_args()
    recognize = DepthRecognizer(load_for_frames(None, None, depth=True), None)
    robot = Retargeter()
    for frame in open_source(args.input, True).frames():
        for hand in recognize(frame)[:1]:
            angles = robot(hand)
            print(frame.name, *(f"{name}={angle:.3f}" for name, angle in angles.items()))


class Retargeter:
    """A hand → angles by the robot's joint names, rad; each call starts from the last."""

    def __init__(self, urdf: Path = URDF, scale: float = 1.0):
        """`scale`: size of the robot relative to the hand."""
        self.links = [f"{finger}_tip" for finger in FINGERS]
        self.links += [f"{finger}_link2" for finger in FINGERS]
        count = len(self.links)
        config = RetargetingConfig(
            type="vector",
            urdf_path=str(urdf.resolve()),
            target_origin_link_names=["palm"] * count,
            target_task_link_names=self.links,
            # dex-retargeting keeps them, and uses the vectors of `__call__`, in the same order.
            target_link_human_indices=np.array([[0] * count, TIPS + MIDDLES]),
            scaling_factor=scale,
            low_pass_alpha=1.0,  # no smoothing; HandTracks has some
        )
        self.solver: SeqRetargeting = config.build()

    def __call__(self, hand: Prediction) -> dict[str, float]:
        """The angles for a single hand in camera mm."""
        vectors = palm_vectors(hand)[TIPS + MIDDLES]
        angles = self.solver.retarget(vectors)
        names = self.solver.optimizer.robot.dof_joint_names
        return {name: float(angle) for name, angle in zip(names, angles, strict=True)}

    def reached(self, angles: dict[str, float]) -> np.ndarray:
        """Where the robot's tips and middle links are with these angles, m of its palm."""
        robot = self.solver.optimizer.robot
        robot.compute_forward_kinematics(np.array([angles[n] for n in robot.dof_joint_names]))
        palm = robot.get_link_pose(robot.get_link_index("palm"))[:3, 3]
        poses = [robot.get_link_pose(robot.get_link_index(link)) for link in self.links]
        return np.array([pose[:3, 3] - palm for pose in poses])


def palm_vectors(hand: Prediction) -> np.ndarray:
    """From the wrist to every joint, m, in the axes of the palm of a right hand."""
    pose = hand.wrist_pose()
    vectors = (hand.xyz - pose[:3, 3]) @ pose[:3, :3] / 1000.0
    return vectors * np.array([1, -1 if hand.side == "left" else 1, 1])


if __name__ == "__main__":
    main()
