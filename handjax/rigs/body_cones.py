"""The surface of the body as round cones attached to the rig, for rendering."""

from typing import NamedTuple

from jaxtyping import Array, Float

from handjax.rigs.body import ANCHORS, Anchor, PosedBody, points, to_camera


class Cone(NamedTuple):
    """Round cone: the convex hull of two balls attached to the body, radii in mm for an adult."""

    start: Anchor
    end: Anchor
    radii: tuple[int, int]
    clothing: str


def _limb_cones(side: str) -> tuple[Cone, ...]:
    hip, knee, ankle, shoulder, elbow, wrist = (
        ANCHORS[f"{side}_{joint}"]
        for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    )
    toes = Anchor(f"{side}_shin", (), ((-1.1, "shin"),), ((-0.38, "shin"),))
    fingers = Anchor(f"{side}_forearm", (), ((-1.5, "forearm"),))
    return (
        Cone(hip, shoulder, (85, 75), "shirt"),
        Cone(hip, knee, (90, 55), "trousers"),
        Cone(knee, ankle, (55, 40), "shins"),
        Cone(ankle, toes, (42, 34), "shoes"),
        Cone(shoulder, elbow, (55, 42), "shirt"),
        Cone(elbow, wrist, (42, 30), "sleeves"),
        Cone(wrist, fingers, (32, 26), "skin"),
    )


_SKULL = Anchor("skull", (), ((1.2, "nose_up"),), ((0.1, "nose_ahead"),))
_CHIN = Anchor("skull", (), ((0.55, "nose_up"),), ((-0.7, "nose_ahead"),))
# A made-up person without gaps: thick enough to look like one, thin enough for the joints to lie
# under the surface.
CONES = (
    *_limb_cones("left"),
    *_limb_cones("right"),
    Cone(ANCHORS["pelvis"], ANCHORS["thorax"], (110, 110), "shirt"),
    Cone(ANCHORS["left_hip"], ANCHORS["right_hip"], (95, 95), "trousers"),
    Cone(ANCHORS["left_shoulder"], ANCHORS["right_shoulder"], (65, 65), "shirt"),
    Cone(ANCHORS["neck"], _SKULL, (58, 58), "skin"),
    Cone(_SKULL, ANCHORS["head"], (90, 40), "hair"),
    Cone(_CHIN, ANCHORS["nose"], (45, 55), "skin"),
)


def cone_ends(body: PosedBody) -> Float[Array, "*b c 2 3"]:
    """Centers of the two balls of each of CONES, mm, in camera axes like `joints`."""
    ends = to_camera(points(body, tuple(anchor for cone in CONES for anchor in cone[:2])))
    return ends.reshape(*ends.shape[:-2], len(CONES), 2, 3)
