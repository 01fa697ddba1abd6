"""What the fit to the depth is worth on synthetic hands, and whether it knows its error.

    python benchmarks/fit_accuracy.py [--hands 256] [--upright 0.6] [--json FILE]

Right hands of the camera world, in all directions and through all sensors, in crops whose middle is
off by a deviation of 10 mm along each axis: the hand network with side and center given, and 12
steps of the fit from there. Deviations are compared with errors along an axis: in ten bins of as
many joints, the mean of |deviation - root mean square error| is the calibration error. And whether
the objective prefers the true hand: it is fitted from the true joints as well, with the same
evidence, and the lower end counts, of rejected fits too.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import write_json
from benchmarks.tables import log, print_table
from handjax.engine.runtime import keep_memory

STEPS = 12
_WORSE_MM = 2.0


def samples(count: int, upright: float) -> Any:
    """Crops, one after another."""
    import jax

    from handjax.synthetic.camera_world import crop_sample

    options = {"none": 0.0, "left": 0.0, "shift_mm": (10.0, 10.0), "upright": upright}
    draw = jax.jit(lambda key: crop_sample(key, **options))
    number = 0
    while count:
        row = jax.device_get(draw(jax.random.fold_in(jax.random.key(99), number)))
        number += 1
        if row["right"]:
            count -= 1
            yield row


def calibration(errors: np.ndarray, std: np.ndarray) -> tuple[list[tuple[float, float]], float]:
    """Errors [n, 3] and deviations [n], mm → (deviation, root mean square error along an axis) of
    ten bins, and the mean of their differences."""
    order = np.argsort(std.ravel())
    bins = [
        (float(std.ravel()[part].mean()), float(np.sqrt((errors.reshape(-1, 3)[part] ** 2).mean())))
        for part in np.array_split(order, 10)
    ]
    return bins, float(np.mean([abs(a - b) for a, b in bins]))


def objectives() -> Any:
    """A function of a frame, the network's joints and deviations, and two starts: the objective at
    the end of the fit from each."""
    import jax
    import jax.numpy as jnp

    from handjax.fitting.evidence import gather
    from handjax.fitting.frame_fit import SIZE
    from handjax.fitting.levenberg_marquardt import fit
    from handjax.pose import geometry, look_at

    @jax.jit
    def ends(depth, k, center, joints, std, starts):
        rotation, distance = look_at.towards(center), jnp.linalg.norm(center)
        crop_k = look_at.crop_camera(distance, SIZE)
        crop = look_at.resample(depth, k, rotation, crop_k, SIZE, SIZE)

        def of_crop(xyz):
            return geometry.map_points(rotation, xyz - center[None])

        evidence = gather(crop, crop_k, distance, of_crop(joints), std)
        return jax.vmap(lambda start: fit(of_crop(start), evidence, steps=STEPS).value)(starts)

    return ends


def measure(count: int, upright: float) -> dict[str, Any]:
    import handjax

    plain, fitted = handjax.load("hand-depth"), handjax.load("hand-depth")
    fitted.fit_steps = STEPS
    ends = objectives()
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ("network", "fit")}
    std: dict[str, list[np.ndarray]] = {name: [] for name in rows}
    seen, preferred = [], []
    for number, row in enumerate(samples(count, upright)):
        given = {"camera": row["k"], "center": row["center_xyz"], "side": "right"}
        for name, predictor in (("network", plain), ("fit", fitted)):
            found = predictor(row["depth"], **given)
            rows[name].append(found.xyz - row["joints_xyz"])
            std[name].append(found.std)
            if name == "network":
                network = found
        seen.append(row["visible"])
        starts = np.stack([network.xyz, row["joints_xyz"]])
        one = (row["depth"], row["k"], network.center, network.xyz, network.std, starts)
        values = np.asarray(ends(*one))
        preferred.append(values[0] < values[1])
        if number % 64 == 63:
            log(f"{number + 1} of {count} hands")
    off = {name: np.linalg.norm(np.array(errors), axis=-1) for name, errors in rows.items()}
    visible = np.array(seen)
    result: dict[str, Any] = {"hands": count}
    for name in rows:
        bins, mean = calibration(np.array(rows[name]), np.array(std[name]))
        hands = off[name].mean(1)
        result[name] = {
            "mean_mm": float(hands.mean()),
            "median_mm": float(np.median(hands)),
            "visible_mm": float(off[name][visible].mean()),
            "calibration_mm": mean,
            "bins": bins,
        }
    change = off["fit"].mean(1) - off["network"].mean(1)
    result["worse"] = float((change > _WORSE_MM).mean())
    result["better"] = float((change < -_WORSE_MM).mean())
    result["objective_prefers_found"] = float(np.mean(preferred))
    return result


def main(argv: list[str]) -> None:
    flags = argparse.ArgumentParser(prog="python benchmarks/fit_accuracy.py", description=__doc__)
    flags.formatter_class = argparse.RawDescriptionHelpFormatter
    flags.add_argument("--hands", type=int, default=256, help="how many (default: 256)")
    flags.add_argument("--upright", type=float, default=0.6, help="share that points up (0.6)")
    flags.add_argument("--json", type=Path, metavar="FILE", help="also write the figures")
    options = flags.parse_args(argv)
    found = measure(options.hands, options.upright)
    columns = ["", "mean", "median", "visible joints", "calibration error"]
    keys = ("mean_mm", "median_mm", "visible_mm", "calibration_mm")
    table = [[name, *(f"{found[name][key]:.2f}" for key in keys)] for name in ("network", "fit")]
    print_table(f"{options.hands} hands, mm", columns, table)
    for name in ("network", "fit"):
        bins = ", ".join(f"{a:.1f}: {b:.1f}" for a, b in found[name]["bins"])
        print(f"{name}, deviation: error along an axis, mm: {bins}")
    print(
        f"more than {_WORSE_MM:g} mm worse after the fit: {found['worse']:.1%}, better: "
        f"{found['better']:.1%}; the objective prefers the found hand to the true one in "
        f"{found['objective_prefers_found']:.1%}"
    )
    write_json(options.json, found)


if __name__ == "__main__":
    keep_memory()
    main(sys.argv[1:])
