"""The joint orders of data sets, and their conversion into a common order."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from handjax.pose.skeleton import FINGERS, SKELETONS


@dataclass(frozen=True)
class Order:
    """The joint order of a data set, and its conversion into a common one.

    `to_common[i]` is the index, in the data set, of joint i of SKELETONS[common]; -1 if it has no
    such joint. `root` names the joint that the data set has at the common root, which is not always
    the same point: hands start at the middle of the palm in STB, and at the wrist in RHD
    (`palm_from_wrist` converts the latter into the former).
    """

    name: str
    joints: tuple[str, ...]
    to_common: tuple[int, ...]
    common: str
    root: str

    @property
    def has(self) -> tuple[bool, ...]:
        """Which joints of the common order the data set has."""
        return tuple(own >= 0 for own in self.to_common)

    def convert(
        self, values: Shaped[np.ndarray, "..."], axis: int = -2
    ) -> Shaped[np.ndarray, "..."]:
        """Convert `axis` to the common order; 0 (False) for joints that the data set lacks.

        ValueError if the axis does not have the data set's number of joints.
        """
        if values.shape[axis] != len(self.joints):
            raise ValueError(
                f"{values.shape[axis]} joints along axis {axis}; the order {self.name!r} has "
                f"{len(self.joints)}"
            )
        last = np.moveaxis(values, axis, -1)
        return np.moveaxis(
            np.where(
                np.array(self.has), last[..., list(self.to_common)], np.zeros((), values.dtype)
            ),
            -1,
            axis,
        )


def _hand(
    name: str, fingers: tuple[str, ...], parts: tuple[str, ...], root: str = "wrist"
) -> Order:
    """A hand of 21 joints: the root, then the fingers, each in the order of `parts`."""
    joints = (root, *(f"{finger}_{part}" for finger in fingers for part in parts))
    return _of_hand(name, joints, root)


def _of_hand(name: str, joints: tuple[str, ...], root: str = "wrist") -> Order:
    """A hand of 21 joints, called as in "hand21"."""
    return Order(
        name,
        joints,
        (joints.index(root), *(joints.index(joint) for joint in SKELETONS["hand21"].joints[1:])),
        "hand21",
        root,
    )


def _human(name: str, joints: tuple[str, ...], root: str = "pelvis") -> Order:
    """A body; joints that "body18" has are called as there."""
    common = SKELETONS["body18"].joints
    return Order(
        name,
        joints,
        tuple(joints.index(joint) if joint in joints else -1 for joint in common),
        "body18",
        root,
    )


_OUTWARD = ("base", "mid", "end", "tip")
# The 32 joints of Human3.6M's motion-capture skeleton; joints of the common body under its names.
# Several coincide (the ends of chains), which is why 17 are used.
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
        # RHD (Zimmermann & Brox 2017), either hand of its 42 joints: wrist, then each finger from
        # its TIP to its base.
        _hand("rhd", FINGERS, _OUTWARD[::-1]),
        # STB (Zhang et al. 2017): the middle of the PALM, then little finger to thumb, each from
        # base to tip.
        _hand("stb", FINGERS[::-1], _OUTWARD, root="palm"),
        # HandDB (Simon et al. 2017) has the common order.
        _hand("handdb", FINGERS, _OUTWARD),
        # Keypoint lists do not state their order. Kwai's lists were made from HandDB's labels.
        _hand("keypoint_list", FINGERS, _OUTWARD),
        # FreiHAND (Zimmermann et al. 2019) and DexYCB (Chao et al. 2021) have it too.
        _hand("freihand", FINGERS, _OUTWARD),
        _hand("dexycb", FINGERS, _OUTWARD),
        # HO-3D (Hampali et al. 2020) has MANO's: the little finger before the ring finger, and all
        # tips last.
        _of_hand(
            "ho3d",
            (
                "wrist",
                *(
                    f"{finger}_{part}"
                    for finger in ("index", "middle", "little", "ring", "thumb")
                    for part in _OUTWARD[:3]
                ),
                *(f"{finger}_tip" for finger in ("thumb", "index", "middle", "ring", "little")),
            ),
        ),
        # InterHand2.6M (Moon et al. 2020), either hand: fingers from tip to base, then the wrist.
        _of_hand(
            "interhand",
            (*(f"{finger}_{part}" for finger in FINGERS for part in _OUTWARD[::-1]), "wrist"),
        ),
        # MSRA (Sun et al. 2015): the thumb comes last.
        _hand("msra", (*FINGERS[1:], "thumb"), _OUTWARD),
        # HANDS 2017 (Yuan et al. 2017): the bases of all fingers come before their other joints.
        _of_hand(
            "hands2017",
            (
                "wrist",
                *(f"{finger}_base" for finger in FINGERS),
                *(f"{finger}_{part}" for finger in FINGERS for part in _OUTWARD[1:]),
            ),
        ),
        # The joints of NYU and ICVL are not those of the common hand: 14 of NYU's 36 are evaluated,
        # and all 16 of ICVL.
        Order(
            "nyu36",
            SKELETONS["nyu36"].joints,
            (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32),
            "nyu14",
            "palm",
        ),
        Order("icvl16", SKELETONS["icvl16"].joints, tuple(range(16)), "icvl16", "palm"),
        Order("itop15", SKELETONS["itop15"].joints, tuple(range(15)), "itop15", "torso"),
        _human("human36m32", tuple(_HUMAN36M[i] for i in range(32))),
        # The 17 joints of Human3.6M that are commonly evaluated.
        _human("human36m17", SKELETONS["body18"].joints[:17]),
        # MPII (Andriluka et al. 2014): "upper neck" and "head top" are the common neck and head.
        _human(
            "mpii16",
            (
                *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
                *("pelvis", "thorax", "neck", "head"),
                *("right_wrist", "right_elbow", "right_shoulder"),
                *("left_shoulder", "left_elbow", "left_wrist"),
            ),
        ),
        # MPI-INF-3DHP (Mehta et al. 2017), its test set's order. It calls the torso spine, the head
        # head_top, and the nose head: the middle of the head.
        _human(
            "mpi_inf_3dhp17",
            (
                *("head", "neck", "right_shoulder", "right_elbow", "right_wrist"),
                *("left_shoulder", "left_elbow", "left_wrist", "right_hip", "right_knee"),
                *("right_ankle", "left_hip", "left_knee", "left_ankle", "pelvis", "torso", "nose"),
            ),
        ),
        # COCO (Lin et al. 2014) has no pelvis.
        _human(
            "coco17",
            (
                *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
                *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
                *("left_wrist", "right_wrist", "left_hip", "right_hip"),
                *("left_knee", "right_knee", "left_ankle", "right_ankle"),
            ),
            root="none",
        ),
    )
}


def palm_from_wrist(
    joints: Float[Any, "*b 21 c"], visible: Bool[Any, "*b 21"]
) -> tuple[Float[Any, "*b 21 c"], Bool[Any, "*b 21"]]:
    """Replace the wrist, joint 0 of a "hand21", by the palm, in px or mm, as STB has it.

    The palm is midway between the wrist and the base of the middle finger, and visible if either is
    (lmb-freiburg/hand3d, use_wrist_coord=False). Accepts NumPy and JAX arrays.
    """
    middle = SKELETONS["hand21"].joints.index("middle_base")
    return _replaced(joints, visible, 0, (0, middle), either=True)


def thorax_from_shoulders(
    joints: Float[Any, "*b 18 c"], visible: Bool[Any, "*b 18"]
) -> tuple[Float[Any, "*b 18 c"], Bool[Any, "*b 18"]]:
    """Fill in the thorax of a "body18" whose data set has none (Human3.6M, COCO; MPII labels it).

    It is midway between the shoulders, and visible if both are (JimmySuen/integral-human-pose).
    Accepts NumPy and JAX arrays.
    """
    names = SKELETONS["body18"].joints
    shoulders = (names.index("left_shoulder"), names.index("right_shoulder"))
    return _replaced(joints, visible, names.index("thorax"), shoulders, either=False)


def _replaced(joints, visible, place: int, ends: tuple[int, int], either: bool):
    """Replace joint `place` by the midpoint of the joints `ends`."""
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
