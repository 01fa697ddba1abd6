"""The hand network in single crops of held-out synthetic hands: what its model card says.

    python benchmarks/hand_network.py [WEIGHTS.npz …] [--hands 512] [--json FILE]

Right hands of the camera world in crops whose middle is off by a deviation of 10 mm along each
axis, one look and no search, 21 joints, hidden ones included; the same hands for all WEIGHTS
(default: those that come with handjax). Then how often a right hand is said to be there: in these
crops, in crops without a hand, and in crops of left hands, which are seen as right ones.
"""

import argparse
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import write_json
from benchmarks.tables import log, print_table
from handjax.engine.runtime import keep_memory

_BATCH = 32
_ROWS = ("all directions", "turned to point up", "and held out to the camera", "and alone, exact")


def _worlds() -> dict[str, dict[str, Any]]:
    """Name of a row → arguments of `crop_sample`."""
    from handjax.synthetic import depth_cameras
    from handjax.synthetic.surroundings import NOTHING, USUAL

    own = {"none": 0.0, "left": 0.0, "upright": 0.0, "frontal": 0.35, "shares": USUAL}
    own["sensors"] = tuple(depth_cameras.KINDS)
    up = {**own, "upright": 1.0}
    held = {**up, "frontal": 1.0}
    alone = {**held, "shares": NOTHING, "sensors": ()}
    rows = dict(zip(_ROWS, (own, up, held, alone), strict=True))
    return {**rows, "no hand": {**up, "none": 1.0}, "left hands": {**up, "left": 1.0}}


@cache
def _draw() -> Any:
    """crops(keys, shares…, sensors), compiled once for all shares."""
    import jax

    from handjax.synthetic.camera_world import crop_sample

    def draw(keys, none, left, upright, frontal, shares, sensors):
        options = {"none": none, "left": left, "upright": upright, "frontal": frontal}
        options |= {"shares": shares, "sensors": sensors, "shift_mm": (10.0, 10.0)}
        return jax.vmap(lambda key: crop_sample(key, **options))(keys)

    return jax.jit(draw, static_argnames="sensors")


def _crops(count: int, world: dict[str, Any], right: bool) -> Iterator[dict[str, np.ndarray]]:
    """Batches of crops, `count` in all; with `right` only those whose hand can be seen."""
    import jax

    stream, batch, left = jax.random.key(99), 0, count
    while left > 0:
        keys = jax.random.split(jax.random.fold_in(stream, batch), _BATCH)
        rows = jax.device_get(_draw()(keys, **world))
        batch += 1
        yield rows
        left -= int(rows["right"].sum()) if right else _BATCH


def measure(weights: list[Path], count: int) -> dict[str, dict[str, Any]]:
    """Name of the weights → the figures of each row."""
    import jax
    import jax.numpy as jnp

    from handjax.engine.warm_start import read_weights
    from handjax.prediction import hand_search

    @jax.jit
    def look(variables, depth, k, centers):
        networks = hand_search.Networks(variables, None)

        def one(depth, k, center):
            seen = hand_search.at(networks, depth, k, center, jnp.ones(()), 0)
            return seen.found.joints, seen.found.std, seen.first

        return jax.vmap(one)(depth, k, centers)

    known = {str(path): read_weights(path) for path in weights}
    found: dict[str, dict[str, Any]] = {name: {} for name in known}
    for row, world in _worlds().items():
        seen: dict[str, list[Any]] = {name: [] for name in known}
        labels = []
        for rows in _crops(count, world, row in _ROWS):
            for name, variables in known.items():
                seen[name].append(look(variables, rows["depth"], rows["k"], rows["center_xyz"]))
            labels.append((rows["joints_xyz"], rows["visible"], rows["right"]))
        truth, visible, right = (np.concatenate(part) for part in zip(*labels, strict=True))
        for name, parts in seen.items():
            joints, std, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
            found[name][row] = _figures(row, truth, visible, right, joints, std, logits)
        log(f"{row}: done")
    return found


def _figures(row, truth, visible, right, joints, std, logits) -> dict[str, float]:
    if row not in _ROWS:
        return {"said_to_be_there": float((logits > 0).mean())}
    off = (joints - truth)[right]
    apart = np.linalg.norm(off, axis=-1)
    return {
        "hands": int(right.sum()),
        "mean_mm": float(apart.mean()),
        "median_mm": float(np.median(apart.mean(1))),
        "visible_mm": float(apart[visible[right]].mean()),
        "error_mm": float(np.sqrt((off**2).mean())),
        "deviation_mm": float(np.sqrt((std[right] ** 2).mean())),
        "said_to_be_there": float((logits[right] > 0).mean()),
    }


def main(argv: list[str]) -> None:
    flags = argparse.ArgumentParser(prog="python benchmarks/hand_network.py", description=__doc__)
    flags.formatter_class = argparse.RawDescriptionHelpFormatter
    flags.add_argument("weights", type=Path, nargs="*", metavar="WEIGHTS.npz")
    flags.add_argument("--hands", type=int, default=512, help="of each row (default: 512)")
    flags.add_argument("--json", type=Path, metavar="FILE", help="also write the figures")
    options = flags.parse_args(argv)
    if options.hands < 1:
        raise SystemExit("--hands: expected 1 or more")
    from handjax.prediction.hand_search import NETWORK

    weights = options.weights or [NETWORK]
    found = measure(weights, options.hands)
    columns = ["hands", "mean", "median", "visible", "error along an axis", "deviation", "there"]
    keys = ("mean_mm", "median_mm", "visible_mm", "error_mm", "deviation_mm")
    for name, rows in found.items():
        table = [
            [
                row,
                *(f"{rows[row][key]:.1f}" for key in keys),
                f"{rows[row]['said_to_be_there']:.0%}",
            ]
            for row in _ROWS
        ]
        others = [row for row in rows if row not in _ROWS]
        table += [
            [row, *[""] * len(keys), f"{rows[row]['said_to_be_there']:.0%}"] for row in others
        ]
        print_table(f"{name}, mm", columns, table)
    write_json(options.json, found)


if __name__ == "__main__":
    keep_memory()
    main(sys.argv[1:])
