"""V2V-PoseNet: depth or occupancy → heat maps in a cube → joints in mm."""

import operator
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine.config import Rule
from handjax.engine.contracts import Batch, Inputs, Rows
from handjax.metrics import joints3d as metrics
from handjax.metrics import protocols
from handjax.models.v2v import V2V
from handjax.pose import losses
from handjax.pose.augment import random_affine
from handjax.pose.geometry import map_points
from handjax.pose.pinhole import depth_to_points
from handjax.pose.skeleton import Skeleton
from handjax.targets import heatmap, voxel
from handjax.tasks.base import Task
from handjax.tasks.labels import labelled_rows
from handjax.tasks.rules import DTYPE, above, one_of

REFERENCE_SIZE = 88  # cells per side of the grid for which the papers give their shifts


def v2v_task(config: ConfigDict, skeleton: Skeleton) -> Task:
    """The task of `config.task`, `config.model` and `config.augment`, joints in this skeleton's
    order.

    `task.global_joints` is hpoes' variant: one map, the maximum over all joints' Gaussians. It
    finds joints without naming them, so its score first matches the predicted peaks to the joints,
    frame by frame, by the smallest total distance.
    """
    _check(config)
    options = config.task
    try:
        grid = voxel.VoxelGrid(options.rule, options.grid, options.heatmap_grid)
    except ValueError as error:
        raise ValueError(f"config.task: {error}") from None
    model = V2V(
        joints=1 if options.global_joints else len(skeleton.joints),
        widths=tuple(config.model.widths),
        stem_size=config.model.stem_size,
        full_resolution=grid.heatmap_size == grid.size,
        dtype=jnp.dtype(config.model.dtype),
    )
    augment = {
        key: config.augment[key] for key in ("scale", "rotation_deg", "probability", "isotropic")
    }
    augment["shift"] = config.augment.shift * grid.size / REFERENCE_SIZE
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
            beta=options.beta,
            global_joints=options.global_joints,
        ),
        predict=partial(
            predict,
            grid=grid,
            method=options.decode,
            beta=options.beta,
            peaks=len(skeleton.joints) if options.global_joints else None,
        ),
        ground_truth=ground_truth,
        postprocess=match_joints if options.global_joints else labelled_rows,
        score=partial(score, skeleton=skeleton, matched=options.global_joints),
        visualize=partial(visualize, grid=grid),
        dummy_inputs=partial(dummy_inputs, grid=grid),
    )


def _check(config: ConfigDict) -> None:
    configs.check(
        config,
        {
            "task.decode": one_of(voxel.DECODES),
            "task.sigma": above(0, "more than 0 cells"),
            "task.beta": above(0),
            "model.dtype": DTYPE,
            "model.widths": Rule(lambda w: len(w) == 4 and min(w) > 0, "four numbers of channels"),
            "model.stem_size": Rule(lambda n: n > 0 and n % 2 == 1, "an odd number of cells"),
            "augment.scale": Rule(lambda s: len(s) == 2 and min(s) > 0, "two factors above 0"),
            "augment.probability": Rule(lambda p: 0 <= p <= 1, "0 to 1"),
        },
    )
    task = config.task
    if task.global_joints and (task.joints_weight or task.decode == "soft_argmax"):
        raise ValueError(
            "config.task.global_joints: one map has no soft-argmax; use decode=centroid and "
            "joints_weight=0.0"
        )
    if task.heatmap_weight <= 0 and task.joints_weight <= 0:
        raise ValueError(
            "config.task.heatmap_weight and joints_weight are both zero: there is nothing to learn "
            "from"
        )


def prepare(
    keys: Key[Array, " b"],
    batch: Batch,
    train: bool,
    *,
    grid: voxel.VoxelGrid,
    augment: dict[str, Any] | None,
) -> Inputs:
    """A batch with `depth` and `k`, or with `voxels` → `x` [b, n, n, n, 1], joints in cells of the
    grid, which of them are `labelled` if the batch says so, and the cube.

    Augmentation moves points and joints together before voxelization (Moon et al. 2018). Voxels
    from a file are moved as voxels, nearest neighbour (mhruz/hpoes_pytorch).
    """
    middle = grid.size / 2
    if "voxels" in batch:
        _check_voxels(batch["voxels"].shape[1], grid)

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
    kept = {name: batch[name] for name in ("mask", "labelled") if name in batch}
    return {**jax.vmap(one)(keys, used | cube), **cube, **kept}


def _check_voxels(size: int, grid: voxel.VoxelGrid) -> None:
    """Raise ValueError if the grid cannot be made from a file's volume of this size."""
    if grid.rule != "hpoes":
        raise ValueError(
            "voxels from a file are in hpoes' order and rule: use config.task.rule=hpoes with them"
        )
    if grid.size > size:
        raise ValueError(
            f"config.task.grid={grid.size} is finer than the {size}³ voxels of the file; use "
            f"{size} or less"
        )


def loss(
    outputs: Float[Array, "b m m m j"],
    inputs: Inputs,
    *,
    grid: voxel.VoxelGrid,
    sigma: float,
    weights: tuple[float, float],
    beta: float,
    global_joints: bool,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Heat maps → the weighted sum of two terms, and the terms; each is computed only if it has a
    weight. Joints without a label count as right; of a map of all joints, samples with all labels
    alone teach.

    heatmap  mean squared error to Gaussians (Moon et al. 2018, eq. 2, as a mean)
    joints   mean absolute error of the soft-argmax, in cells of the heat map (Sun et al. 2018)
    """
    heatmap_weight, joints_weight = weights
    mask, labelled = inputs["mask"], inputs.get("labelled")
    terms: dict[str, Array] = {}
    if heatmap_weight:
        target = voxel.encode(inputs["joints"], grid, sigma)
        target = target.max(-1, keepdims=True) if global_joints else target
        error = losses.squared_error(outputs, target)
        if labelled is not None and global_joints:
            mask = mask & labelled.all(-1)
        elif labelled is not None:
            error = jnp.where(labelled[:, None, None, None], error, 0.0)
        terms["heatmap"] = losses.masked_mean(error, mask)
    if joints_weight:
        ratio = grid.heatmap_size / grid.size
        cells = voxel.decode(outputs, grid, "soft_argmax", beta)
        error = losses.absolute_error(cells * ratio, inputs["joints"] * ratio)
        if labelled is not None:
            error = jnp.where(labelled[..., None], error, 0.0)
        terms["joints"] = losses.masked_mean(error, mask)
    pairs = zip(("heatmap", "joints"), weights, strict=True)
    weighted = (weight * terms[name] for name, weight in pairs if weight)
    return reduce(operator.add, weighted), terms


def predict(
    outputs: Float[Array, "b m m m j"],
    inputs: Inputs,
    *,
    grid: voxel.VoxelGrid,
    method: str,
    beta: float,
    peaks: int | None,
) -> Rows:
    """Heat maps → `joints_xyz` [b, j, 3] in camera mm and `confidence` [b, j], the height of the
    peak. `peaks`: the number of joints to find in the map of `global_joints`."""
    if peaks is None:
        cells = voxel.decode(outputs, grid, method, beta)
        confidence = heatmap.confidence(outputs, 3)
    else:
        ratio = grid.size / grid.heatmap_size
        cells = heatmap.peaks(outputs, 3, grid.cell_center, peaks)[..., np.array(grid.axes)] * ratio
        confidence = jnp.broadcast_to(heatmap.confidence(outputs, 3), cells.shape[:-1])
    xyz = voxel.grid_to_xyz(cells, inputs["center_xyz"], inputs["cube_mm"], grid.size)
    return {"joints_xyz": xyz, "confidence": confidence}


def ground_truth(batch: Batch) -> Rows:
    """`joints_xyz` [b, j, 3] in camera mm, if the batch has them, and which are `labelled`; every
    joint counts, visible or hidden."""
    return {name: batch[name] for name in ("joints_xyz", "labelled") if name in batch}


def match_joints(rows: Rows) -> Rows:
    """Rows of unnamed peaks → the same with each frame's peaks in the order of the true joints,
    matched by the smallest total distance (Hungarian method)."""
    from scipy.optimize import linear_sum_assignment

    rows = labelled_rows(rows)
    if "true_labelled" in rows:  # an unknown joint cannot be matched
        kept = rows["true_labelled"].all(-1)
        rows = {name: v[kept] for name, v in rows.items() if name != "true_labelled"}
    predicted, true = rows["joints_xyz"], rows["true_joints_xyz"]
    distance = np.linalg.norm(true[:, :, None] - predicted[:, None], axis=-1)
    matched = [p[linear_sum_assignment(d)[1]] for p, d in zip(predicted, distance, strict=True)]
    return {**rows, "joints_xyz": np.stack(matched)}


def score(rows: Rows, *, skeleton: Skeleton, matched: bool) -> dict[str, Any]:
    """`metrics.summarize`, and the protocols that have these joints. Every labelled joint counts,
    visible or hidden, as in the papers. `matched`: say so, for peaks named by `match_joints`."""
    pred, true, labelled = rows["joints_xyz"], rows["true_joints_xyz"], rows.get("true_labelled")
    result = metrics.summarize(pred, true, skeleton.joints, labelled, root=skeleton.root)
    if labelled is None:
        result |= protocols.by_name(pred, true, skeleton.joints)
    if matched:
        result["matched"] = (
            "peaks matched to joints by the smallest total distance: a map of all joints does not "
            "name them"
        )
    return result


def visualize(
    inputs: Inputs, *, grid: voxel.VoxelGrid
) -> tuple[Float[Array, "b y x"], Float[Array, "b y z"]]:
    """Occupancy projected along z and along x: the share of occupied cells along each ray."""
    volume = inputs["x"][..., 0]
    x, y, z = (1 + grid.axes.index(axis) for axis in range(3))
    volume = volume.transpose(0, y, x, z)
    return volume.mean(3), volume.mean(2)


def dummy_inputs(samples: int, *, grid: voxel.VoxelGrid) -> Inputs:
    """Empty grids."""
    return {"x": jnp.zeros((samples, grid.size, grid.size, grid.size, 1))}
