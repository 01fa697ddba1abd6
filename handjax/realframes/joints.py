"""Labels and predictions of a hand's joints, made comparable.

Two joint orders have those joints in common that lie in the same sphere of the hand rig.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from handjax.data.formats.hand_labels import skeleton_of
from handjax.pose.skeleton import Skeleton
from handjax.pose.skeleton_file import NAME as OWN
from handjax.rigs import hand
from handjax.rigs.hand_middle import HAND_SIZE


class Pairs(NamedTuple):
    """Joints that labels and predictions have in common."""

    names: tuple[str, ...]  # as the labels call them
    labelled: tuple[int, ...]  # index among the labels
    predicted: tuple[int, ...]  # index among the predictions
    radii: Float[np.ndarray, " p"]  # mm between joint and skin, of a hand of HAND_SIZE


def pairs(labels: Skeleton, predicted: Sequence[str], model: str) -> Pairs:
    """The joints that `labels` and a model's joints have in common. Users' own joints are those of
    the same name, and lie on the surface themselves.

    ValueError if the model predicts no hand, or the two have no joint in common.
    """
    if labels.name == OWN:
        return _same_names(labels, predicted, model)
    other = skeleton_of(tuple(predicted), model)
    spheres = hand.JOINT_SPHERES
    if labels.name not in spheres or other.name not in spheres:
        name = labels.name if labels.name not in spheres else other.name
        raise ValueError(
            f"{model}: labels of {labels.name} are compared with joints of {other.name}, but "
            f"{name} is not among {', '.join(spheres)}"
        )
    own, theirs = spheres[labels.name], spheres[other.name]
    labelled = tuple(i for i, sphere in enumerate(own) if sphere in theirs)
    radii = [HAND_SIZE * hand.HAND.sphere_radii[own[i]] for i in labelled]
    return Pairs(
        tuple(labels.joints[i] for i in labelled),
        labelled,
        tuple(theirs.index(own[i]) for i in labelled),
        np.array(radii),
    )


def _same_names(labels: Skeleton, predicted: Sequence[str], model: str) -> Pairs:
    both = tuple(name for name in labels.joints if name in predicted)
    if not both:
        raise ValueError(
            f"{model}: it predicts {', '.join(predicted[:3])}, ..., of which none is among the "
            f"labelled {', '.join(labels.joints[:3])}, ..."
        )
    return Pairs(
        both,
        tuple(labels.joints.index(name) for name in both),
        tuple(list(predicted).index(name) for name in both),
        np.zeros(len(both)),
    )
