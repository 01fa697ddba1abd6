"""Skeletons: names, parents and groups (fingers, limbs) of joints. Plain tables, no arrays."""

from dataclasses import dataclass

FINGERS = ("thumb", "index", "middle", "ring", "little")

# One colour per group, for all drawings of hands and bodies; distinct on light and on dark
# backgrounds.
COLOURS = {
    "palm": "#7f7f7f",
    "thumb": "#d62728",
    "index": "#ff7f0e",
    "middle": "#2ca02c",
    "ring": "#1f77b4",
    "little": "#9467bd",
    "trunk": "#7f7f7f",
    "left_arm": "#ff7f0e",
    "right_arm": "#1f77b4",
    "left_leg": "#d62728",
    "right_leg": "#2ca02c",
}


def rgb(group: str) -> tuple[int, int, int]:
    """A group's colour, 0 to 255 per channel."""
    return _channels(COLOURS[group])


def _channels(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


@dataclass(frozen=True)
class Skeleton:
    """Named joints and the bones between them.

    `parents[i]` is the index of joint i's parent, -1 at a root; `groups[i]` is a key of COLOURS.
    A user's own joints (skeleton_file.py) may have what follows from the names of others:

    edges     bones that are no tree; None: (parent, child) of every joint with a parent
    mirror    pairs of joints that a mirror image swaps; None: left_X and right_X
    palette   "#rrggbb" of every joint; empty: those of the groups, which are then free names
    sigmas    standard deviation of every joint's labels, relative to the size of what they are on,
              for COCO's similarity of keypoints (metrics/keypoints2d.py); empty: not known
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    groups: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] | None = None
    mirror: tuple[tuple[int, int], ...] | None = None
    palette: tuple[str, ...] = ()
    sigmas: tuple[float, ...] = ()

    @property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """`edges`, or (parent, child) for every joint with a parent, in the order of the joints."""
        if self.edges is not None:
            return self.edges
        return tuple((parent, child) for child, parent in enumerate(self.parents) if parent >= 0)

    @property
    def colours(self) -> tuple[str, ...]:
        """ "#rrggbb" of every joint; a bone has that of its second joint."""
        return self.palette or tuple(COLOURS[group] for group in self.groups)

    @property
    def rgb(self) -> tuple[tuple[int, int, int], ...]:
        """`colours`, 0 to 255 per channel."""
        return tuple(_channels(colour) for colour in self.colours)

    @property
    def root(self) -> int:
        """Index of the first joint without a parent."""
        return self.parents.index(-1)

    @property
    def flip_pairs(self) -> tuple[tuple[int, int], ...]:
        """(left, right) joints that a mirror image swaps; none for hands, which change sides."""
        if self.mirror is not None:
            return self.mirror
        return tuple(
            (i, self.joints.index(joint.replace("left_", "right_", 1)))
            for i, joint in enumerate(self.joints)
            if joint.startswith("left_")
        )

    @property
    def flip(self) -> tuple[int, ...]:
        """For each joint, its counterpart in a mirror image: `joints[..., flip, :]`."""
        other = {a: b for pair in self.flip_pairs for a, b in (pair, pair[::-1])}
        return tuple(other.get(i, i) for i in range(len(self.joints)))


def _skeleton(name: str, rows: tuple[tuple[str, int], ...]) -> Skeleton:
    """From rows of (joint, parent). `finger_part` belongs to that finger, others to the palm."""
    joints, parents = zip(*rows, strict=True)
    heads = (joint.split("_")[0] for joint in joints)
    return Skeleton(
        name, joints, parents, tuple(head if head in FINGERS else "palm" for head in heads)
    )


def _body(name: str, rows: tuple[tuple[str, int], ...]) -> Skeleton:
    """From rows of (joint, parent). `side_part` belongs to that arm or leg, others to the trunk."""
    joints, parents = zip(*rows, strict=True)
    part = {
        **dict.fromkeys(("shoulder", "elbow", "wrist", "hand"), "arm"),
        **dict.fromkeys(("hip", "knee", "ankle", "foot"), "leg"),
    }
    limbs = [joint.split("_") for joint in joints]
    return Skeleton(
        name, joints, parents, tuple(f"{n[0]}_{part[n[1]]}" if n[1:] else "trunk" for n in limbs)
    )


def _star(root: str, parts: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """A root and five fingers with the same parts, each from base to tip."""
    n = len(parts)
    return (
        (root, -1),
        *(
            (f"{finger}_{part}", 1 + n * f + p - 1 if p else 0)
            for f, finger in enumerate(FINGERS)
            for p, part in enumerate(parts)
        ),
    )


# The 14 evaluated joints of NYU (Tompson et al. 2014), ids 0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27,
# 30, 31, 32 of its 36: for each finger the tip, then the joint two labels below it. Id 32 is the
# palm, about equally far from the fingers and from 30 and 31, the two sides of the wrist; it is the
# root here and the usual center of crops.
_NYU14 = (
    ("little_tip", 1),
    ("little_mid", 13),
    ("ring_tip", 3),
    ("ring_mid", 13),
    ("middle_tip", 5),
    ("middle_mid", 13),
    ("index_tip", 7),
    ("index_mid", 13),
    ("thumb_tip", 9),
    ("thumb_mid", 10),
    ("thumb_base", 13),
    ("wrist_little", 13),
    ("wrist_thumb", 13),
    ("palm", -1),
)

# All 36 labels of NYU's joint_data.mat under its authors' names (src/process_joints.m of the data
# set), with F1..F4 and TH read as little..index and thumb: two per knuckle, numbered from the palm
# (knu1) to the tip (knu3_a). Label 32, palm_3, is the root as in nyu14.
_NYU36 = (
    *(
        (f"{finger}_knu{knuckle}_{half}", 6 * f + i + 1 if i < 5 else 32)
        for f, finger in enumerate(("little", "ring", "middle", "index", "thumb"))
        for i, (knuckle, half) in enumerate(
            ((3, "a"), (3, "b"), (2, "a"), (2, "b"), (1, "a"), (1, "b"))
        )
    ),
    *((f"palm_{i}", -1 if i == 3 else 32) for i in range(1, 7)),
)

# The common body of handjax: the 17 joints of Human3.6M in the order of Sun et al. 2018
# (JimmySuen/integral-human-pose), and the thorax, midway between the shoulders.
_BODY18 = (
    ("pelvis", -1),
    ("right_hip", 0),
    ("right_knee", 1),
    ("right_ankle", 2),
    ("left_hip", 0),
    ("left_knee", 4),
    ("left_ankle", 5),
    ("torso", 0),
    ("neck", 17),
    ("nose", 17),
    ("head", 8),
    ("left_shoulder", 17),
    ("left_elbow", 11),
    ("left_wrist", 12),
    ("right_shoulder", 17),
    ("right_elbow", 14),
    ("right_wrist", 15),
    ("thorax", 0),
)

# ITOP (Haque et al. 2016), in its own order: hands and feet, not wrists and ankles.
_ITOP15 = (
    ("head", 1),
    ("neck", 8),
    ("right_shoulder", 1),
    ("left_shoulder", 1),
    ("right_elbow", 2),
    ("left_elbow", 3),
    ("right_hand", 4),
    ("left_hand", 5),
    ("torso", -1),
    ("right_hip", 8),
    ("left_hip", 8),
    ("right_knee", 9),
    ("left_knee", 10),
    ("right_foot", 11),
    ("left_foot", 12),
)

SKELETONS: dict[str, Skeleton] = {
    # The common hand of handjax: the wrist, then thumb to little finger, each from base to tip.
    "hand21": _skeleton("hand21", _star("wrist", ("base", "mid", "end", "tip"))),
    "nyu14": _skeleton("nyu14", _NYU14),
    "nyu36": _skeleton("nyu36", _NYU36),
    # ICVL (Tang et al. 2014): the palm, then thumb to little finger, three joints each.
    "icvl16": _skeleton("icvl16", _star("palm", ("base", "mid", "tip"))),
    "body18": _body("body18", _BODY18),
    "itop15": _body("itop15", _ITOP15),
}


def unnamed(joints: tuple[str, ...]) -> Skeleton:
    """Joints of which no order is known, drawn as a star around the first."""
    count = len(joints)
    return Skeleton("unnamed", joints, (-1,) + (0,) * (count - 1), ("palm",) * count)


# A hand as a whole, the mean of its joints: what the finder finds.
HAND_MIDDLE = _skeleton("hand_middle", (("middle", -1),))
