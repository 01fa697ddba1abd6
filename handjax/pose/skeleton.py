"""Joint orders: what each joint is called, what it hangs on, which finger or limb it belongs to, and how each data set's
order becomes a common one. Plain tables, no arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

FINGERS = ("thumb", "index", "middle", "ring", "little")

# One colour a group, for every drawing of a hand or a body: distinct on light and on dark ground.
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
    red, green, blue = bytes.fromhex(COLOURS[group][1:])
    return red, green, blue


@dataclass(frozen=True)
class Skeleton:
    """A tree over named joints: `parents[i]` is a joint index, -1 at the root; `groups[i]` a key of COLOURS."""

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    groups: tuple[str, ...]

    @property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) for every joint that has a parent, in the order of the joints."""
        return tuple((parent, child) for child, parent in enumerate(self.parents) if parent >= 0)

    @property
    def root(self) -> int:
        return self.parents.index(-1)

    @property
    def flip_pairs(self) -> tuple[tuple[int, int], ...]:
        """(left, right) joints that change places in a mirror image. A hand has none: it becomes the other hand."""
        return tuple(
            (i, self.joints.index(joint.replace("left_", "right_", 1)))
            for i, joint in enumerate(self.joints)
            if joint.startswith("left_")
        )

    @property
    def flip(self) -> tuple[int, ...]:
        """For each joint the one that stands for it in a mirror image: `joints[..., flip, :]`."""
        other = {a: b for pair in self.flip_pairs for a, b in (pair, pair[::-1])}
        return tuple(other.get(i, i) for i in range(len(self.joints)))


@dataclass(frozen=True)
class Order:
    """A data set's own joint order and its way into a common one.

    `to_common[i]` is the own index of joint i of SKELETONS[common], -1 where the set has none. `root` says what the set
    means by the common root, which the orders put in the same place and which is not always the same point: STB's hands
    begin at the middle of the palm and RHD's at the wrist (`palm_from_wrist` makes one of the other).
    """

    name: str
    joints: tuple[str, ...]
    to_common: tuple[int, ...]
    common: str
    root: str

    @property
    def has(self) -> tuple[bool, ...]:
        """Which joints of the common order the set has."""
        return tuple(own >= 0 for own in self.to_common)

    def convert(
        self, values: Shaped[np.ndarray, "..."], axis: int = -2
    ) -> Shaped[np.ndarray, "..."]:
        """Own order → common order along `axis`; 0 (False) where the set has no such joint."""
        if values.shape[axis] != len(self.joints):
            raise ValueError(
                f"{values.shape[axis]} joints along axis {axis}; the order {self.name!r} has {len(self.joints)}"
            )
        last = np.moveaxis(values, axis, -1)
        return np.moveaxis(
            np.where(
                np.array(self.has), last[..., list(self.to_common)], np.zeros((), values.dtype)
            ),
            -1,
            axis,
        )


def _skeleton(name: str, rows: tuple[tuple[str, int], ...]) -> Skeleton:
    """Rows of (joint, parent); a joint named `finger_part` belongs to that finger, any other to the palm."""
    joints, parents = zip(*rows, strict=True)
    heads = (joint.split("_")[0] for joint in joints)
    return Skeleton(
        name, joints, parents, tuple(head if head in FINGERS else "palm" for head in heads)
    )


def _body(name: str, rows: tuple[tuple[str, int], ...]) -> Skeleton:
    """Rows of (joint, parent); `side_part` belongs to that arm or leg, any other joint to the trunk."""
    joints, parents = zip(*rows, strict=True)
    part = {
        "shoulder": "arm",
        "elbow": "arm",
        "wrist": "arm",
        "hip": "leg",
        "knee": "leg",
        "ankle": "leg",
    }
    limbs = [joint.split("_") for joint in joints]
    return Skeleton(
        name, joints, parents, tuple(f"{n[0]}_{part[n[1]]}" if n[1:] else "trunk" for n in limbs)
    )


def _star(root: str, parts: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """A root and five fingers of equal length, each written from its base to its tip."""
    n = len(parts)
    return (
        (root, -1),
        *(
            (f"{finger}_{part}", 1 + n * f + p - 1 if p else 0)
            for f, finger in enumerate(FINGERS)
            for p, part in enumerate(parts)
        ),
    )


# The 14 evaluated joints of NYU (Tompson et al. 2014), ids [0,3,6,9,12,15,18,21,24,25,27,30,31,32] of its 36: each
# finger's tip before the joint two labels below it. Id 32 is the palm, from which 30 and 31, the two sides of the
# wrist, and the fingers are about equally far; it is the root here and the usual centre of a crop.
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

# All 36 labels of NYU's joint_data.mat under its authors' names (src/process_joints.m of the data set), F1..F4 and TH
# read as little..index and thumb: two a knuckle, numbered from the palm (knu1) to the tip (knu3_a). Label 32, palm_3, is
# the root as in nyu14.
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

# The common body of handjax: Human3.6M's 17 joints in the order of Sun et al. 2018 (JimmySuen/integral-human-pose) and the
# thorax, the middle of the shoulders.
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

SKELETONS: dict[str, Skeleton] = {
    # The common hand of handjax: wrist, then thumb to little, each base to tip.
    "hand21": _skeleton("hand21", _star("wrist", ("base", "mid", "end", "tip"))),
    "nyu14": _skeleton("nyu14", _NYU14),
    "nyu36": _skeleton("nyu36", _NYU36),
    # ICVL (Tang et al. 2014): palm, then thumb to little, three joints each.
    "icvl16": _skeleton("icvl16", _star("palm", ("base", "mid", "tip"))),
    "body18": _body("body18", _BODY18),
}


def _hand(
    name: str, fingers: tuple[str, ...], parts: tuple[str, ...], root: str = "wrist"
) -> Order:
    """Twenty-one joints: the root, then the fingers, each in the order of `parts`."""
    joints = (root, *(f"{finger}_{part}" for finger in fingers for part in parts))
    return Order(
        name,
        joints,
        (0, *(joints.index(joint) for joint in SKELETONS["hand21"].joints[1:])),
        "hand21",
        root,
    )


def _human(name: str, joints: tuple[str, ...], root: str = "pelvis") -> Order:
    common = SKELETONS["body18"].joints
    return Order(
        name,
        joints,
        tuple(joints.index(joint) if joint in joints else -1 for joint in common),
        "body18",
        root,
    )


_OUTWARD = ("base", "mid", "end", "tip")
# Human3.6M's 32 joints as the motion capture's skeleton has them; joints of the common body under its names. Several
# stand at one place (the ends of chains), which is why 17 are used.
_HUMAN36M = {
    0: "pelvis",
    **{1: "right_hip", 2: "right_knee", 3: "right_ankle", 4: "right_toe", 5: "right_toe_end"},
    **{6: "left_hip", 7: "left_knee", 8: "left_ankle", 9: "left_toe", 10: "left_toe_end"},
    **{11: "spine_base", 12: "torso", 13: "neck", 14: "nose", 15: "head"},
    **{16: "left_collar", 17: "left_shoulder", 18: "left_elbow", 19: "left_wrist"},
    **{20: "left_hand", 21: "left_thumb", 22: "left_hand_end", 23: "left_thumb_end"},
    **{24: "right_collar", 25: "right_shoulder", 26: "right_elbow", 27: "right_wrist"},
    **{28: "right_hand", 29: "right_thumb", 30: "right_hand_end", 31: "right_thumb_end"},
}

ORDERS: dict[str, Order] = {
    order.name: order
    for order in (
        # RHD (Zimmermann & Brox 2017), either hand of its 42: wrist, then each finger from its TIP to its base.
        _hand("rhd", FINGERS, _OUTWARD[::-1]),
        # STB (Zhang et al. 2017): the middle of the PALM, then little finger first, each from base to tip.
        _hand("stb", FINGERS[::-1], _OUTWARD, root="palm"),
        # HandDB (Simon et al. 2017) has the common order.
        _hand("handdb", FINGERS, _OUTWARD),
        # A list of keypoints does not say its order. Kwai's lists were made of HandDB's labels.
        _hand("keypoint_list", FINGERS, _OUTWARD),
        # MSRA (Sun et al. 2015): the thumb comes last.
        _hand("msra", (*FINGERS[1:], "thumb"), _OUTWARD),
        # NYU's 36 and ICVL's 16 joints are not those of the common hand and stay their own: the 14 that are evaluated, and all.
        Order(
            "nyu36",
            SKELETONS["nyu36"].joints,
            (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32),
            "nyu14",
            "palm",
        ),
        Order("icvl16", SKELETONS["icvl16"].joints, tuple(range(16)), "icvl16", "palm"),
        _human("human36m32", tuple(_HUMAN36M[i] for i in range(32))),
        # The 17 of Human3.6M that everybody evaluates.
        _human("human36m17", SKELETONS["body18"].joints[:17]),
        # MPII (Andriluka et al. 2014): its "upper neck" and "head top" are the common neck and head.
        _human(
            "mpii16",
            (
                *(
                    "right_ankle",
                    "right_knee",
                    "right_hip",
                    "left_hip",
                    "left_knee",
                    "left_ankle",
                    "pelvis",
                    "thorax",
                    "neck",
                ),
                *(
                    "head",
                    "right_wrist",
                    "right_elbow",
                    "right_shoulder",
                    "left_shoulder",
                    "left_elbow",
                    "left_wrist",
                ),
            ),
        ),
        # COCO (Lin et al. 2014) has no pelvis.
        _human(
            "coco17",
            (
                *(
                    "nose",
                    "left_eye",
                    "right_eye",
                    "left_ear",
                    "right_ear",
                    "left_shoulder",
                    "right_shoulder",
                ),
                *(
                    "left_elbow",
                    "right_elbow",
                    "left_wrist",
                    "right_wrist",
                    "left_hip",
                    "right_hip",
                ),
                *("left_knee", "right_knee", "left_ankle", "right_ankle"),
            ),
            root="none",
        ),
    )
}


def palm_from_wrist(
    joints: Float[Any, "*b 21 c"], visible: Bool[Any, "*b 21"]
) -> tuple[Float[Any, "*b 21 c"], Bool[Any, "*b 21"]]:
    """A "hand21" whose joint 0 is the wrist → one whose joint 0 is the palm, in px or mm; so RHD's hands meet STB's.

    hand3d's rule (lmb-freiburg/hand3d, use_wrist_coord=False): the palm is the middle between the wrist and the base of
    the middle finger, and is visible if either is.
    """
    middle = SKELETONS["hand21"].joints.index("middle_base")
    return _replaced(joints, visible, 0, (0, middle), either=True)


def thorax_from_shoulders(
    joints: Float[Any, "*b 18 c"], visible: Bool[Any, "*b 18"]
) -> tuple[Float[Any, "*b 18 c"], Bool[Any, "*b 18"]]:
    """A "body18" without thorax (Human3.6M, COCO) → one with it: the middle of the shoulders, visible if both are.

    The rule of JimmySuen/integral-human-pose. MPII labels a thorax of its own.
    """
    names = SKELETONS["body18"].joints
    shoulders = (names.index("left_shoulder"), names.index("right_shoulder"))
    return _replaced(joints, visible, names.index("thorax"), shoulders, either=False)


def _replaced(joints, visible, place: int, ends: tuple[int, int], either: bool):
    """Joint `place` becomes the middle of the two `ends`; numpy in, numpy out, and likewise jax."""
    xp = joints.__array_namespace__()
    middle = (joints[..., ends[0], :] + joints[..., ends[1], :]) / 2
    seen = [visible[..., end] for end in ends]
    seen = seen[0] | seen[1] if either else seen[0] & seen[1]
    here = np.arange(joints.shape[-2]) == place
    return (
        xp.where(
            here[(None,) * (joints.ndim - 2) + (slice(None), None)], middle[..., None, :], joints
        ),
        xp.where(here[(None,) * (visible.ndim - 1)], seen[..., None], visible),
    )
