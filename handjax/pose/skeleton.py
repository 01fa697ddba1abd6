"""Joint orders: what each joint is called, what it hangs on, which finger it belongs to. Plain tables, no arrays."""

from dataclasses import dataclass

FINGERS = ("thumb", "index", "middle", "ring", "little")

# One colour a group, for every drawing of a hand: distinct on light and on dark ground.
COLOURS = {
    "palm": "#7f7f7f",
    "thumb": "#d62728",
    "index": "#ff7f0e",
    "middle": "#2ca02c",
    "ring": "#1f77b4",
    "little": "#9467bd",
}


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


def _skeleton(name: str, rows: tuple[tuple[str, int], ...]) -> Skeleton:
    """Rows of (joint, parent); a joint named `finger_part` belongs to that finger, any other to the palm."""
    joints, parents = zip(*rows, strict=True)
    heads = (joint.split("_")[0] for joint in joints)
    return Skeleton(name, joints, parents, tuple(head if head in FINGERS else "palm" for head in heads))


def _star(root: str, parts: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """A root and five fingers of equal length, each written from its base to its tip."""
    n = len(parts)
    return (
        (root, -1),
        *((f"{finger}_{part}", 1 + n * f + p - 1 if p else 0) for f, finger in enumerate(FINGERS) for p, part in enumerate(parts)),
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

SKELETONS: dict[str, Skeleton] = {
    # The common hand of handjax: wrist, then thumb to little, each base to tip.
    "hand21": _skeleton("hand21", _star("wrist", ("base", "mid", "end", "tip"))),
    "nyu14": _skeleton("nyu14", _NYU14),
    # ICVL (Tang et al. 2014): palm, then thumb to little, three joints each.
    "icvl16": _skeleton("icvl16", _star("palm", ("base", "mid", "tip"))),
}
