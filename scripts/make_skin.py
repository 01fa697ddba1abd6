"""Makes the hand's skin anew and writes it: python scripts/make_skin.py [--out handjax/figures/hand_skin.npz] [--force]

It is the same bits on the same machine, and the same to rounding on another.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from handjax.rigs import skinning as mesh

OUT = Path(mesh.__file__).with_name("hand_skin.npz")


def corner_angles(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[f, 3] degrees."""
    corners = vertices[faces].astype(np.float64)
    before, after = np.roll(corners, 1, axis=1) - corners, np.roll(corners, -1, axis=1) - corners
    cosine = np.sum(before * after, axis=-1) / (
        np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
    )
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """mm³, above 0 where faces look outward."""
    a, b, c = np.moveaxis(vertices[faces].astype(np.float64), 1, 0)
    return float(np.sum(np.cross(a, b) * c) / 6)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Makes the hand's skin anew and writes it as npz.")
    parser.add_argument(
        "--out", type=Path, default=OUT, help="the file to write (default: %(default)s)"
    )
    parser.add_argument(
        "--cell-mm",
        type=float,
        default=mesh.CELL_MM,
        help="about a triangle's side (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="write over an earlier file")
    args = parser.parse_args(argv)
    if args.out.exists() and not args.force:
        parser.error(f"{args.out} exists; give another --out, or --force to write over it")
    if args.out.suffix != ".npz" or not args.out.parent.is_dir():
        parser.error(
            f"--out {args.out}: expected a file name ending in .npz, in a folder that exists"
        )
    if not 2.0 <= args.cell_mm <= 10.0:
        parser.error(f"--cell-mm {args.cell_mm:g}: expected 2 to 10 mm")
    print(f"cutting the skin in cells of {args.cell_mm:g} mm, some seconds ...", flush=True)
    skin = mesh.build_hand_skin(args.cell_mm)
    np.savez_compressed(
        args.out, vertices=skin.vertices, faces=skin.faces, weights=skin.weights, unbind=skin.unbind
    )
    angles = corner_angles(skin.vertices, skin.faces)
    print(
        f"{args.out}: {len(skin.vertices)} vertices, {len(skin.faces)} faces, {volume(skin.vertices, skin.faces) / 1e3:.1f} cm³, "
        f"angles {angles.min():.1f} to {angles.max():.1f} degrees, {args.out.stat().st_size} bytes"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
