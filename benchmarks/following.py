"""Hands followed through a rendered sequence: how near, how steady, how often lost, how fast.

    python benchmarks/following.py [--sensor structured_light] [--seeds 3] [--json FILE]

The sequence is `handjax.synthetic.hand_sequence`: 30 s of a right and a left hand at 30 frames/s.
Ways to answer it take turns, frame by frame:

    search     `HandDepthPredictor.hands`: every frame as if it were the first
    follow     `HandDepthPredictor.follower`
    fit        the same with 12 steps of the fit, which also begins at the frame before
    smoothed   the follower, and the one-euro filter of `handjax predict video --smooth`

A hand counts in the frames in which five of its joints can be seen. It is found if the mean of its
joints' errors is below 60 mm; lost when it was found, and in a frame in which it counts is not.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import write_json
from benchmarks.tables import log, print_table
from handjax.engine.runtime import keep_memory

WAYS = ("search", "follow", "fit", "smoothed")
_NEAR_MM, _FOUND_MM = 20.0, 60.0
_SIDES = ("right", "left")


class Score:
    """What a way answered, against the truth."""

    def __init__(self) -> None:
        self.errors: list[float] = []  # of hands that count and are found, mm
        self.counted = self.lost = self.again = self.false = self.sides = 0
        self.times: list[float] = []
        self.jumps: list[float] = []
        self._found = [False, False]
        self._off: list[list[np.ndarray]] = [[], []]  # of the last frames, for the jitter

    def add(self, hands: list[tuple[np.ndarray, str]], truth: np.ndarray, counts: list[bool]):
        """One frame: joints and sides as answered; the true joints [2, 21, 3]."""
        errors = np.array(
            [[np.linalg.norm(xyz - one, axis=-1).mean() for xyz, _ in hands] for one in truth]
        ).reshape(2, len(hands))
        self.false += sum(bool(near > 2 * _FOUND_MM) for near in errors.min(0))
        for one in range(2):
            best = int(errors[one].argmin()) if len(hands) else -1
            found = best >= 0 and bool(errors[one, best] < _FOUND_MM)
            if not counts[one]:
                self._found[one], self._off[one] = False, []
                continue
            self.counted += 1
            self.lost += self._found[one] and not found
            self.again += found and not self._found[one]
            self._found[one] = found
            if not found:
                self._off[one] = []
                continue
            self.errors.append(float(errors[one, best]))
            self.sides += hands[best][1] == _SIDES[one]
            self._off[one] = [*self._off[one][-2:], hands[best][0] - truth[one]]
            if len(self._off[one]) == 3:
                a, b, c = self._off[one]
                self.jumps.append(float(np.linalg.norm(a - 2 * b + c, axis=-1).mean()))

    def figures(self) -> dict[str, float]:
        errors = np.array(self.errors or [np.nan])
        counted = max(self.counted, 1)
        return {
            "hands": self.counted,
            "median_mm": float(np.median(errors)),
            "within_20_mm": float((errors < _NEAR_MM).sum() / counted),
            "found": len(self.errors) / counted,
            "side_right": self.sides / max(len(self.errors), 1),
            "jitter_mm": float(np.median(self.jumps or [np.nan])),
            "lost": self.lost,
            "found_again": self.again,
            "false": self.false,
            "ms": 1e3 * float(np.median(self.times)),
            "ms_95": 1e3 * float(np.percentile(self.times, 95)),
        }


def answers(k: np.ndarray, ways: tuple[str, ...]) -> dict[str, Callable[[np.ndarray, float], Any]]:
    """way → a function of a frame and its time, s, that returns the hands."""
    import handjax
    from handjax.prediction.tracks import HandTracks, Smoothing

    plain, fitted = handjax.load("hand-depth"), handjax.load("hand-depth")
    fitted.fit_steps = 12
    follow, fit, smoothed = plain.follower(k), fitted.follower(k), plain.follower(k)
    tracks = HandTracks(Smoothing())

    def steady(depth: np.ndarray, seconds: float) -> list[Any]:
        return [hand for _, hand in tracks(list(smoothed(depth)), seconds)]

    every = {
        "search": lambda depth, _: plain.hands(depth, k),
        "follow": lambda depth, _: follow(depth),
        "fit": lambda depth, _: fit(depth),
        "smoothed": steady,
    }
    return {way: every[way] for way in ways}


def measure(
    seed: int, sensor: str | None, seconds: float, rate: float, ways: tuple[str, ...]
) -> dict[str, Score]:
    """The scores of each way on one sequence."""
    import jax

    from handjax.synthetic import hand_sequence

    draw = jax.jit(lambda key, at: hand_sequence.frame(key, at, sensor=sensor))
    key, scores = jax.random.key(seed), {way: Score() for way in ways}
    runs: dict[str, Callable] = {}
    count = int(seconds * rate)
    for number in range(count):
        at = number / rate
        row = jax.device_get(draw(key, np.float32(at)))
        runs = runs or answers(row["k"], ways)
        counts = [int(one.sum()) >= 5 for one in row["visible"]]
        for way, run in runs.items():
            if not number:
                run(row["depth"], at - 1 / rate)  # compiled
            began = time.perf_counter()
            found = run(row["depth"], at)
            scores[way].times.append(time.perf_counter() - began)
            hands = [(one.xyz, one.side) for one in found]
            scores[way].add(hands, row["joints_xyz"], counts)
        if number % 60 == 59:
            said = ", ".join(
                f"{way} {s.figures()['median_mm']:.1f} mm {s.figures()['ms']:.0f} ms"
                for way, s in scores.items()
            )
            log(f"seed {seed}, frame {number + 1} of {count}: {said}")
    return scores


def main(argv: list[str]) -> None:
    flags = argparse.ArgumentParser(prog="python benchmarks/following.py", description=__doc__)
    flags.formatter_class = argparse.RawDescriptionHelpFormatter
    add = flags.add_argument
    add("--sensor", default="structured_light", help="kind of camera, or none")
    add("--seeds", type=int, default=1, help="sequences (default: 1)")
    add("--seconds", type=float, default=30.0, help="of each (default: 30, all of it)")
    add("--rate", type=float, default=30.0, help="frames/s (default: 30)")
    add("--ways", default=",".join(WAYS), help=f"some of {','.join(WAYS)}")
    add("--json", type=Path, metavar="FILE", help="also write the figures")
    options = flags.parse_args(argv)
    sensor = None if options.sensor == "none" else options.sensor
    ways = tuple(options.ways.split(","))
    if not set(ways) <= set(WAYS):
        flags.error(f"--ways {options.ways}: expected some of {','.join(WAYS)}")
    found: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for way, score in measure(seed, sensor, options.seconds, options.rate, ways).items():
            found.append({"seed": seed, "way": way, **score.figures()})
    columns = list(found[0])
    rows = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in r.values()] for r in found]
    print_table(f"Two hands, {options.seconds:g} s, {sensor or 'exact depth'}", columns, rows)
    write_json(options.json, {"sensor": options.sensor, "sequences": found})


if __name__ == "__main__":
    keep_memory()
    main(sys.argv[1:])
