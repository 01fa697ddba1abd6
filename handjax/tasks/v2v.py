"""V2V-PoseNet: depth or occupancy → heat maps in a cube → joints in mm."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from handjax.metrics import joints3d as metrics
from handjax.models.v2v import V2V
from handjax.pose import losses
from handjax.pose.augment import random_affine
from handjax.pose.geometry import depth_to_points, map_points
from handjax.pose.skeleton import Skeleton
from handjax.targets import heatmap, voxel
from handjax.tasks.base import Batch, Inputs, Rows, Task

FILE_SIZE = 88  # voxels a side for which the papers give their shifts


def v2v_task(config, skeleton: Skeleton) -> Task:
    """The task of `config.task`, `config.model` and `config.augment` for joints in this skeleton's order.

    `task.global_joints` is hpoes' variant: one map, the maximum over all joints' Gaussians. It finds joints but cannot name
    them, so its score first matches the predicted peaks to the joints frame by frame, by least total distance.
    """
    options = config.task
    _check(config)
    if options.global_joints and (options.joints_weight or options.decode == "soft_argmax"):
        raise ValueError(
            "config.task.global_joints: one map has no soft-argmax; use decode=centroid and joints_weight=0.0"
        )
    if options.heatmap_weight <= 0 and options.joints_weight <= 0:
        raise ValueError(
            "config.task.heatmap_weight and joints_weight are both zero: there is nothing to learn from"
        )
    grid = voxel.VoxelGrid(options.rule, options.grid, options.heatmap_grid)
    joints = 1 if options.global_joints else len(skeleton.joints)
    model = V2V(
        joints=joints,
        widths=tuple(config.model.widths),
        stem_size=config.model.stem_size,
        full_resolution=grid.heatmap_size == grid.size,
        dtype=jnp.dtype(config.model.dtype),
    )
    augment = {
        key: config.augment[key] for key in ("scale", "rotation_deg", "probability", "isotropic")
    }
    augment["shift"] = config.augment.shift * grid.size / FILE_SIZE

    return Task(
        title="V2V-PoseNet",
        kind="joints3d",
        model=model,
        prepare=partial(prepare, grid=grid, augment=augment if config.augment.enabled else None),
        loss=partial(
            loss,
            grid=grid,
            sigma=options.sigma,
            weights=(options.heatmap_weight, options.joints_weight),
            sharpness=options.sharpness,
            global_joints=options.global_joints,
        ),
        predict=partial(
            predict,
            grid=grid,
            method=options.decode,
            sharpness=options.sharpness,
            peaks=len(skeleton.joints) if options.global_joints else None,
        ),
        ground_truth=ground_truth,
        postprocess=match_joints if options.global_joints else lambda rows: rows,
        score=partial(score, skeleton=skeleton, matched=options.global_joints),
        visualize=partial(visualize, grid=grid),
        dummy_inputs=partial(dummy_inputs, grid=grid),
    )


def _check(config) -> None:
    """What would otherwise fail late, or not at all."""
    task, model, augment = config.task, config.model, config.augment
    for name, value, good, expected in (
        ("task.decode", task.decode, task.decode in voxel.DECODES, " or ".join(voxel.DECODES)),
        ("task.sigma", task.sigma, task.sigma > 0, "more than 0 cells"),
        ("task.sharpness", task.sharpness, task.sharpness > 0, "more than 0"),
        ("model.dtype", model.dtype, model.dtype in ("float32", "bfloat16"), "float32 or bfloat16"),
        (
            "model.widths",
            model.widths,
            len(model.widths) == 4 and min(model.widths) > 0,
            "four numbers of channels",
        ),
        (
            "model.stem_size",
            model.stem_size,
            model.stem_size > 0 and model.stem_size % 2 == 1,
            "an odd number of cells",
        ),
        (
            "augment.scale",
            augment.scale,
            len(augment.scale) == 2 and 0 < min(augment.scale),
            "two factors above 0",
        ),
        ("augment.probability", augment.probability, 0 <= augment.probability <= 1, "0 to 1"),
    ):
        if not good:
            raise ValueError(f"config.{name}={value}: expected {expected}")


def prepare(
    keys, batch: Batch, train: bool, *, grid: voxel.VoxelGrid, augment: dict | None
) -> Inputs:
    """A batch with `depth` and `k`, or with `voxels` → `x` [b, n, n, n, 1], joints in cells of the grid, and the cube.

    Augmentation moves points and joints together before voxelization (Moon et al. 2018); a file's voxels are
    moved as voxels, by the nearest (mhruz/hpoes_pytorch).
    """
    middle = grid.size / 2
    if "voxels" in batch and grid.rule != "hpoes":
        raise ValueError(
            "voxels from a file are in hpoes' order and rule: use config.task.rule=hpoes with them"
        )

    def one(key, sample):
        cube = (sample["center_xyz"], sample["cube_mm"], grid.size)
        if train and augment:
            matrix, shift = random_affine(key, **augment)
        else:
            matrix, shift = jnp.eye(3), jnp.zeros(3)

        def move(cells):
            return map_points(matrix, cells - middle) + middle + shift[None]

        if "voxels" in sample:
            volume = voxel.resize_voxels(voxel.unpack_voxels(sample["voxels"]), grid.size)
            volume = voxel.warp_voxels(volume, matrix, shift, grid) if train and augment else volume
        else:
            points, valid = depth_to_points(sample["depth"], sample["k"])
            volume = voxel.voxelize(move(voxel.xyz_to_grid(points, *cube)), valid, grid)
        inputs = {"x": volume[..., None].astype(jnp.float32)}
        if "joints_xyz" in sample:
            inputs["joints"] = move(voxel.xyz_to_grid(sample["joints_xyz"], *cube))
        return inputs

    used = {name: batch[name] for name in ("voxels", "depth", "k", "joints_xyz") if name in batch}
    cube = {name: batch[name] for name in ("center_xyz", "cube_mm")}
    return {**jax.vmap(one)(keys, used | cube), **cube, "mask": batch["mask"]}


def loss(outputs, inputs: Inputs, *, grid, sigma, weights, sharpness, global_joints):
    """Outputs [b, m, m, m, j] → the weighted sum of two terms, and the terms. `heatmap`: mean squared error to Gaussians (Moon et
    al. 2018, eq. 2, as a mean); `joints`: mean absolute error of the soft-argmax in cells of the heat map (Sun et al. 2018). Each
    is computed only where it has a weight."""
    heatmap_weight, joints_weight = weights
    parts, mask = {}, inputs["mask"]
    if heatmap_weight:
        target = voxel.encode(inputs["joints"], grid, sigma)
        target = target.max(-1, keepdims=True) if global_joints else target
        parts["heatmap"] = losses.masked_mean(losses.squared_error(outputs, target), mask)
    if joints_weight:
        ratio = grid.heatmap_size / grid.size
        found = voxel.decode(outputs, grid, "soft_argmax", sharpness)
        parts["joints"] = losses.masked_mean(
            losses.absolute_error(found * ratio, inputs["joints"] * ratio), mask
        )
    total = sum(
        weight * parts[name]
        for name, weight in zip(("heatmap", "joints"), weights, strict=True)
        if weight
    )
    return total, parts


def predict(outputs, inputs: Inputs, *, grid, method, sharpness, peaks: int | None) -> Rows:
    """Heat maps → `joints_xyz` [b, j, 3] in camera mm and `confidence` [b, j], the height of the peak."""
    if peaks is None:
        cells = voxel.decode(outputs, grid, method, sharpness)
        confidence = heatmap.confidence(outputs, 3)
    else:
        ratio = grid.size / grid.heatmap_size
        cells = heatmap.peaks(outputs, 3, grid.cell_center, peaks)[..., np.array(grid.axes)] * ratio
        confidence = jnp.broadcast_to(heatmap.confidence(outputs, 3), cells.shape[:-1])
    xyz = voxel.grid_to_xyz(cells, inputs["center_xyz"], inputs["cube_mm"], grid.size)
    return {"joints_xyz": xyz, "confidence": confidence}


def ground_truth(batch: Batch) -> Rows:
    """`joints_xyz` [b, j, 3] in camera mm, where the batch is labelled; every joint counts, seen or hidden."""
    return {name: batch[name] for name in ("joints_xyz",) if name in batch}


def match_joints(rows: dict) -> dict:
    """Rows whose peaks have no names → rows with each frame's peaks in the order of the true joints they are matched to, by least
    total distance (Hungarian method)."""
    from scipy.optimize import linear_sum_assignment

    predicted, true = rows["joints_xyz"], rows["true_joints_xyz"]
    distance = np.linalg.norm(true[:, :, None] - predicted[:, None], axis=-1)
    matched = [p[linear_sum_assignment(d)[1]] for p, d in zip(predicted, distance, strict=True)]
    return {**rows, "joints_xyz": np.stack(matched)}


def score(rows: dict, *, skeleton: Skeleton, matched: bool) -> dict:
    """The figures of `metrics.summarize`. Every joint counts, seen or hidden, as in the papers."""
    figures = metrics.summarize(
        rows["joints_xyz"], rows["true_joints_xyz"], skeleton.joints, root=skeleton.root
    )
    if matched:
        figures["matched"] = (
            "peaks matched to joints by least total distance: a map of all joints does not name them"
        )
    return figures


def visualize(inputs: Inputs, *, grid):
    """Occupancy as seen along z (rows y, columns x) and along x (rows y, columns z): the share of occupied cells on the way."""
    volume = inputs["x"][..., 0]
    x, y, z = (1 + grid.axes.index(axis) for axis in range(3))
    volume = volume.transpose(0, y, x, z)
    return volume.mean(3), volume.mean(2)


def dummy_inputs(samples: int, *, grid) -> Inputs:
    """An empty grid a sample."""
    return {"x": jnp.zeros((samples, grid.size, grid.size, grid.size, 1))}
