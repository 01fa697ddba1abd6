"""Hands found in whole depth images: how often, how near, and how often sure and wrong.

    python benchmarks/finding.py [--frames 300] [--json FILE]

Rendered images of 320 x 240 px with a hand of either side, and sometimes a second one, 0.25 to
1.2 m away, an arm, a person and things around it, through all kinds of sensors (the camera world).
`handjax.load("hand-depth")` finds the hand and its side; its answer counts against the nearer of
the two hands. An answer is sure at a presence of 0.5 or more, right within 40 mm, wrong beyond 60
mm, mean error of the joints. Then the same images, spoilt:

    no hand        arms, people and things without the first hand, and without a second one
    a rectangle    flat, of the size of a hand, before a wall
    half a hand    nothing is measured right of the hand's middle
    at the edge    nothing is measured right of the hand
    a near corner  something in a corner of the picture, nearer than the hand
    wrong side     the other side than the hand's is asked for
    moving camera  a sequence whose camera turns by up to 72 degrees/s; followed

Of all single images: the area under the curve of 1 - presence against errors above 40 mm; where
there is no hand any answer counts as one.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import write_json
from benchmarks.tables import log, print_table
from handjax.engine.runtime import keep_memory

_RIGHT_MM, _WRONG_MM, _SURE = 40.0, 60.0, 0.5
_TURN_RAD, _TURN_HZ = 0.2, 1.0  # of the moving camera: up to 72 degrees/s


class Shown(NamedTuple):
    """A depth image, its camera, and the hands that can be seen in it."""

    depth: np.ndarray
    k: np.ndarray
    joints: np.ndarray  # [n, 21, 3]
    sides: tuple[str, ...]
    asked: str | None = None  # side


class Answer(NamedTuple):
    """`error`: of the nearest hand, mm; infinite where there is none."""

    error: float
    presence: float
    side: bool
    middle: float  # mm between the crop's middle and the mean of the joints


def images(count: int, none: float, alone: bool = False) -> Iterator[Shown]:
    """Rendered frames; with `none` 0 those whose first hand can be seen, with 1 those without any.
    `alone`: only those without a second hand."""
    import jax

    from handjax.synthetic.camera_world import image_sample

    draw = jax.jit(lambda key: image_sample(key, none=none))
    number = 0
    while count:
        row = jax.device_get(draw(jax.random.fold_in(jax.random.key(77), number)))
        number += 1
        there = row["present"]
        if bool(there[0]) == bool(none) or (there[1] and (alone or none)):
            continue
        count -= 1
        sides = tuple("right" if side > 0 else "left" for side in row["sides"][there])
        yield Shown(row["depth"], row["k"], row["joints_xyz"][there], sides)


def rectangles(count: int) -> Iterator[Shown]:
    """Flat things before a wall."""
    rng = np.random.default_rng(0)
    k = np.array([[290, 0, 159.5], [0, 290, 119.5], [0, 0, 1]], np.float32)
    for _ in range(count):
        z, wide, high = rng.uniform(300, 900), rng.uniform(60, 120), rng.uniform(90, 200)
        depth = np.full((240, 320), rng.uniform(z + 150, 2000), np.float32)
        w, h = int(290 * wide / z / 2), int(290 * high / z / 2)
        u, v = (
            int(rng.uniform(a, n - a)) if 2 * a < n else n // 2 for a, n in ((w, 320), (h, 240))
        )
        depth[max(v - h, 0) : v + h, max(u - w, 0) : u + w] = z
        yield Shown(depth, k, np.zeros((0, 21, 3)), ())


def cut(shown: Shown, whole: bool) -> Shown | None:
    """The image that ends at the right border of the first hand, or at its middle; None where that
    leaves too little of it."""
    from handjax.pose.pinhole import project

    u = np.asarray(project(shown.joints[0], shown.k))[:, 0]
    end = int(u.max() + 3 if whole else u.mean())
    if not 48 <= end < shown.depth.shape[1]:
        return None
    depth = shown.depth.copy()
    depth[:, end:] = 0
    return shown._replace(depth=depth, joints=shown.joints[:1], sides=shown.sides[:1])


def spoilt(kind: str, count: int) -> Iterator[Shown]:
    """The images of one kind."""
    if kind == "as they are":
        yield from images(count, 0.0)
    elif kind == "no hand":
        yield from images(count, 1.0)
    elif kind == "a rectangle":
        yield from rectangles(count)
    elif kind == "wrong side":
        other = {"right": "left", "left": "right"}
        for one in images(count, 0.0, alone=True):
            yield one._replace(asked=other[one.sides[0]])
    elif kind == "a near corner":
        for one in images(count, 0.0):
            depth = one.depth.copy()
            depth[-50:, -60:] = 200.0
            yield one._replace(depth=depth)
    else:
        for one in images(2 * count, 0.0, alone=True):
            ended = cut(one, kind == "at the edge")
            if ended is not None:
                yield ended
                count -= 1
            if not count:
                return


KINDS = (
    *("as they are", "no hand", "a rectangle", "half a hand", "at the edge", "a near corner"),
    "wrong side",
)


def answers(shown: Shown, found: Any) -> Answer:
    errors = np.linalg.norm(found.xyz - shown.joints, axis=-1).mean(-1)
    if not len(errors):
        return Answer(np.inf, float(found.presence), False, np.inf)
    best = int(errors.argmin())
    middle = float(np.linalg.norm(found.center - shown.joints[best].mean(0)))
    return Answer(
        float(errors[best]), float(found.presence), found.side == shown.sides[best], middle
    )


def asked(predictor: Any, shown: Shown) -> Answer:
    """The predictor's answer; a refusal, where nothing is in range, is as unsure as can be."""
    if not predictor.sees(shown.depth):
        return Answer(np.inf, 0.0, False, np.inf)
    return answers(shown, predictor(shown.depth, shown.k, side=shown.asked))


def moving(count: int) -> list[Answer]:
    """The surest hand that is followed, frame by frame, before a camera that turns."""
    import jax
    import jax.numpy as jnp

    import handjax
    from handjax.pose import geometry, look_at
    from handjax.synthetic import hand_sequence

    @jax.jit
    def turned(key, seconds):
        row = hand_sequence.frame(key, seconds, sensor="structured_light")
        angle = _TURN_RAD * jnp.sin(2 * jnp.pi * _TURN_HZ * seconds)
        ahead = jnp.stack([jnp.sin(angle), jnp.sin(angle / 2), jnp.cos(angle)])
        rotation, (height, width) = look_at.towards(ahead), row["depth"].shape
        depth = look_at.resample(row["depth"], row["k"], rotation, row["k"], height, width)
        joints = jax.vmap(lambda hand: geometry.map_points(rotation, hand))(row["joints_xyz"])
        return depth, row["k"], joints

    follow, found = handjax.load("hand-depth").follower(hands=1), []
    for number in range(count):
        depth, k, joints = jax.device_get(turned(jax.random.key(3), np.float32(number / 30)))
        hands = follow(depth, k)
        if not len(hands):
            found.append(Answer(np.inf, 0.0, False, np.inf))
            continue
        found.append(answers(Shown(depth, k, joints, ("right", "left")), hands[0]))
    return found


def area(doubt: np.ndarray, lost: np.ndarray) -> float:
    """Under the curve: the chance that a lost hand is doubted more than one that is not."""
    ranks = np.argsort(np.argsort(doubt, kind="stable")).astype(float)
    for value in np.unique(doubt):
        same = doubt == value
        ranks[same] = ranks[same].mean()
    n, m = int(lost.sum()), int((~lost).sum())
    return float((ranks[lost].sum() - n * (n - 1) / 2) / (n * m)) if n and m else np.nan


def figures(found: list[Answer]) -> dict[str, float]:
    errors = np.array([one.error for one in found])
    sure = np.array([one.presence >= _SURE for one in found])
    right, wrong = errors <= _RIGHT_MM, errors > _WRONG_MM
    known = np.isfinite(errors)
    sides = np.array([one.side for one in found])
    middles = np.array([one.middle for one in found])
    return {
        "frames": len(found),
        "mean_mm": float(errors[known].mean()) if known.any() else np.nan,
        "median_mm": float(np.median(errors[known])) if known.any() else np.nan,
        "right_and_sure": float((right & sure).mean()),
        "right_but_unsure": float((right & ~sure).mean()),
        "sure_and_wrong": float((wrong & sure).mean()),
        "wrong": float(wrong.mean()),
        "side": float(sides[~wrong].mean()) if (~wrong).any() else np.nan,
        "middle_40_mm": float((middles < 40).mean()),
    }


def measure(count: int) -> dict[str, Any]:
    import handjax

    predictor = handjax.load("hand-depth")
    result: dict[str, Any] = {}
    every: list[Answer] = []
    for kind in KINDS:
        found = [asked(predictor, one) for one in spoilt(kind, count)]
        every += found
        result[kind] = figures(found)
        log(f"{kind}: {result[kind]['sure_and_wrong']:.1%} sure and wrong")
    result["moving camera"] = figures(moving(count))
    lost = np.array([one.error > _RIGHT_MM for one in every])
    result["auc_lost"] = area(1 - np.array([one.presence for one in every]), lost)
    return result


def main(argv: list[str]) -> None:
    flags = argparse.ArgumentParser(prog="python benchmarks/finding.py", description=__doc__)
    flags.formatter_class = argparse.RawDescriptionHelpFormatter
    flags.add_argument("--frames", type=int, default=300, help="of each kind (default: 300)")
    flags.add_argument("--json", type=Path, metavar="FILE", help="also write the figures")
    options = flags.parse_args(argv)
    found = measure(options.frames)
    columns = [
        *("", "median mm", "right, sure", "right, unsure", "wrong", "sure and wrong", "side"),
        "middle < 40 mm",
    ]
    keys = ("right_and_sure", "right_but_unsure", "wrong", "sure_and_wrong", "side", "middle_40_mm")
    table = [
        [kind, f"{one['median_mm']:.1f}", *(f"{100 * one[key]:.1f} %" for key in keys)]
        for kind, one in found.items()
        if isinstance(one, dict)
    ]
    print_table(f"{options.frames} frames of each kind", columns, table)
    print(f"area under the curve of 1 - presence against errors > 40 mm: {found['auc_lost']:.3f}")
    write_json(options.json, found)


if __name__ == "__main__":
    keep_memory()
    main(sys.argv[1:])
