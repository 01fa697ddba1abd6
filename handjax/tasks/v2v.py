"""V2V-PoseNet: depth or occupancy → heat maps in a cube → joints in mm."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from handjax.engine.contracts import Batch, Inputs, Rows
from handjax.metrics import joints3d as metrics
from handjax.models.v2v import V2V
from handjax.pose.augment import random_affine
from handjax.pose.geometry import map_points
from handjax.pose.pinhole import depth_to_points
from handjax.pose.skeleton import Skeleton
from handjax.targets import heatmap, offset, virtual_views, voxel
from handjax.tasks.base import Task
from handjax.tasks.labels import labelled_rows
from handjax.tasks.v2v_losses import loss
from handjax.tasks.v2v_options import check
from handjax.tasks.v2v_views import volumes_seen

REFERENCE_SIZE = 88  # cells per side of the grid for which the papers give their shifts


def v2v_task(config: ConfigDict, skeleton: Skeleton) -> Task:
    """The task of `config.task`, `config.model` and `config.augment`, joints in this skeleton's
    order.

    `task.global_joints` is hpoes' variant: one map, the maximum over all joints' Gaussians. It
    finds joints without naming them, so its score first matches the predicted peaks to the joints,
    frame by frame, by the smallest total distance.
    """
    check(config)
    options = config.task
    try:
        grid = voxel.VoxelGrid(options.rule, options.grid, options.heatmap_grid)
    except ValueError as error:
        raise ValueError(f"config.task: {error}") from None
    joints, targets = len(skeleton.joints), options.get("targets", "heatmap")
    views = virtual_views.of_options(options)
    model = V2V(
        joints=1 if options.global_joints else joints * offset.CHANNELS[targets],
        widths=tuple(config.model.widths),
        stem_size=config.model.stem_size,
        full_resolution=grid.heatmap_size == grid.size,
        remat=config.model.get("remat", False),
        dtype=jnp.dtype(config.model.dtype),
    )
    augment = {
        key: config.augment[key] for key in ("scale", "rotation_deg", "probability", "isotropic")
    }
    augment["tilt_deg"] = config.augment.get("tilt_deg", 0.0)
    augment["shift"] = config.augment.shift * grid.size / REFERENCE_SIZE
    return Task(
        title="V2V-PoseNet",
        kind="joints3d",
        model=model,
        prepare=partial(
            prepare, grid=grid, augment=augment if config.augment.enabled else None, views=views
        ),
        loss=partial(
            loss,
            grid=grid,
            targets=targets,
            sigma=options.sigma,
            radius=options.get("radius", 1.0),
            weights=(options.heatmap_weight, options.joints_weight),
            beta=options.beta,
            global_joints=options.global_joints,
        ),
        predict=partial(
            predict,
            grid=grid,
            method=options.decode,
            beta=options.beta,
            peaks=joints if options.global_joints else None,
            radius=options.get("radius", 1.0) if targets == "offset" else None,
            views=views,
        ),
        ground_truth=ground_truth,
        postprocess=match_joints if options.global_joints else labelled_rows,
        score=partial(score, skeleton=skeleton, matched=options.global_joints),
        visualize=partial(visualize, grid=grid),
        dummy_inputs=partial(dummy_inputs, grid=grid),
    )


def prepare(
    keys: Key[Array, " b"],
    batch: Batch,
    train: bool,
    *,
    grid: voxel.VoxelGrid,
    augment: dict[str, Any] | None,
    views: virtual_views.Views | None = None,
) -> Inputs:
    """A batch with `depth` and `k`, or with `voxels` → `x` [b, n, n, n, 1], joints in cells of the
    grid, which of them are `labelled` if the batch says so, and the cube.

    Augmentation moves points and joints together before voxelization (Moon et al. 2018). Voxels
    from a file are moved as voxels, nearest neighbour (mhruz/hpoes_pytorch).

    With `views` a test sample is seen several times in a row, x [v b, n, n, n, 1], and `turns`
    [b, v, 3, 3] has the rotation of each.
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
        if views and not train:
            inputs["x"] = volumes_seen(sample, inputs["x"], views, grid)
            inputs["turns"] = jnp.asarray(views.rotations)
        return inputs

    used = {name: batch[name] for name in ("voxels", "depth", "k", "joints_xyz") if name in batch}
    cube = {name: batch[name] for name in ("center_xyz", "cube_mm")}
    kept = {name: batch[name] for name in ("mask", "labelled") if name in batch}
    made = jax.vmap(one)(keys, used | cube)
    if "turns" in made:  # all views of a sample stay on its device
        made["x"] = made["x"].reshape(-1, *made["x"].shape[2:])
    return {**made, **cube, **kept}


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


def predict(
    outputs: Float[Array, "n m m m c"],
    inputs: Inputs,
    *,
    grid: voxel.VoxelGrid,
    method: str,
    beta: float,
    peaks: int | None,
    radius: float | None = None,
    views: virtual_views.Views | None = None,
) -> Rows:
    """Heat maps → `joints_xyz` [b, j, 3] in camera mm and `confidence` [b, j], the height of the
    peak. `peaks`: the number of joints to find in the map of `global_joints`. With a `radius` the
    maps are closeness and offsets; with `views` the answers are those of `prepare`'s views."""
    if radius is not None:
        cells = offset.decode(outputs, grid, radius)
        confidence = heatmap.confidence(offset.closeness(outputs), 3)
    elif peaks is None:
        cells = voxel.decode(outputs, grid, method, beta)
        confidence = heatmap.confidence(outputs, 3)
    else:
        ratio = grid.size / grid.heatmap_size
        cells = heatmap.peaks(outputs, 3, grid.cell_center, peaks)[..., np.array(grid.axes)] * ratio
        confidence = jnp.broadcast_to(heatmap.confidence(outputs, 3), cells.shape[:-1])
    center, cube_mm = inputs["center_xyz"], inputs["cube_mm"]
    if views and "turns" in inputs:
        turns = inputs["turns"]
        cells, confidence = (x.reshape(*turns.shape[:2], *x.shape[1:]) for x in (cells, confidence))
        zero = jnp.zeros_like(cells[..., 0, :])
        own = jnp.broadcast_to(cube_mm[:, None], zero.shape)
        xyz = map_points(turns.mT, voxel.grid_to_xyz(cells, zero, own, grid.size))
        fused = virtual_views.fuse(xyz, confidence.mean(-1), views.keep)
        return {"joints_xyz": fused + center[:, None], "confidence": confidence.mean(1)}
    xyz = voxel.grid_to_xyz(cells, center, cube_mm, grid.size)
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
    """`metrics.summarize`. Every labelled joint counts, visible or hidden, as in the papers.
    `matched`: say so, for peaks named by `match_joints`."""
    pred, true, labelled = rows["joints_xyz"], rows["true_joints_xyz"], rows.get("true_labelled")
    result = metrics.summarize(pred, true, skeleton.joints, labelled, root=skeleton.root)
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
    if "turns" in inputs:
        volume = volume.reshape(*inputs["turns"].shape[:2], *volume.shape[1:])[:, 0]
    x, y, z = (1 + grid.axes.index(axis) for axis in range(3))
    volume = volume.transpose(0, y, x, z)
    return volume.mean(3), volume.mean(2)


def dummy_inputs(samples: int, *, grid: voxel.VoxelGrid) -> Inputs:
    """Empty grids."""
    return {"x": jnp.zeros((samples, grid.size, grid.size, grid.size, 1))}
