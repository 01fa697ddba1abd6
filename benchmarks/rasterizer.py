"""The rasterizer on the CPU, compared with Open3D and with plain JAX."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness, rasterizer_gpu
from benchmarks.harness import Case, Effort
from benchmarks.scenes import ORTHOGRAPHIC, PINHOLE, camera, hand_count, posed_skin
from handjax.ops import rasterize


def cases(effort: Effort) -> Iterator[Case]:
    """Images of one hand and of batches, their gradients, and a GPU's if there is one."""
    cpu = jax.devices("cpu")[0]
    small, large = effort.size(64), (effort.size(480), effort.size(640))
    with jax.default_device(cpu):
        for batch in (1, 48):
            yield rasterizer_case(
                ORTHOGRAPHIC,
                "parallel rays",
                effort.batch(batch),
                small,
                small,
                effort,
                with_reference=True,
            )
        for batch in (1, 8):
            yield rasterizer_case(
                PINHOLE, "pinhole", effort.batch(batch), *large, effort, with_reference=batch == 1
            )
        yield gradient_case(effort.batch(48), small)
    if (device := harness.gpu()) is not None:
        for options, name, batch, size in (
            (ORTHOGRAPHIC, "parallel rays", 48, (64, 64)),
            (PINHOLE, "pinhole", 32, (480, 640)),
        ):
            yield rasterizer_gpu.case(device, options, name, batch, *size)


def rasterizer_case(
    options: dict[str, str],
    name: str,
    batch: int,
    height: int,
    width: int,
    effort: Effort,
    with_reference: bool,
) -> Case:
    """One image per hand, on the CPU."""
    vertices, faces = posed_skin(batch, 500.0 if options is PINHOLE else 0.0)
    k = camera(options, height, width)
    ks = jnp.broadcast_to(jnp.asarray(k), (batch, 3, 3))
    placed, far = jnp.asarray(vertices), 1000.0

    @jax.jit
    def ours(vertices):
        return rasterize.rasterize(
            rasterize.to_screen(vertices, ks, **options), faces, height, width, background=far
        )

    @jax.jit
    def reference(vertices):
        return rasterize.reference(
            rasterize.to_screen(vertices, ks, **options),
            jnp.asarray(faces),
            (height, width, 0, -np.inf, far),
        )

    runs = {"CPU kernel": functools.partial(ours, placed)}
    if with_reference:
        runs["plain JAX, face by face"] = functools.partial(reference, placed)
    depth, face = (np.asarray(x) for x in ours(placed))
    peers, agreement = open3d_runs(options, vertices, faces, k, depth, face)

    def notes(seconds: dict[str, float]) -> list[str]:
        mine, pixels, covered = seconds["CPU kernel"], depth.size, int((face >= 0).sum())
        moved = 8 * pixels + vertices.nbytes + faces.nbytes
        floor = moved / harness.copy_rate(effort.tiny)
        return [
            *agreement,
            f"{len(faces):,} faces per hand, {covered / batch:,.0f} of {height * width:,} pixels "
            f"covered: {batch * len(faces) / mine / 1e6:.1f} million faces/s, "
            f"{covered / mine / 1e6:.1f} million covered pixels/s",
            f"floor: {moved / 1e6:.2f} MB (8 bytes per pixel, vertices, faces) take "
            f"{1e3 * floor:.3f} ms at the rate of a copy, {100 * floor / mine:.1f} % of the "
            "kernel's time",
        ]

    return Case(
        f"{name}, {height} x {width}, {hand_count(batch)} on the CPU",
        batch,
        "hand",
        runs | peers,
        notes,
    )


def open3d_runs(
    options: dict[str, str],
    vertices: np.ndarray,
    faces: np.ndarray,
    k: np.ndarray,
    depth: np.ndarray,
    face: np.ndarray,
) -> tuple[dict[str, Callable[[], object] | str], list[str]]:
    """Open3D's RaycastingScene, one per hand, on all cores: building, casting rays, and both.

    Also returned are notes on how well its images agree with ours, `depth` and `face`.
    """
    try:
        import open3d
    except ImportError:
        return {"Open3D": "not installed: pip install open3d"}, []
    height, width = depth.shape[1:]
    v, u = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    slopes = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1]], axis=-1)
    start, zero, one = -1000.0, np.zeros((height, width, 1)), np.ones((height, width, 1))
    if options is PINHOLE:  # directions (x, y, 1), so that distances along them are depths
        start, rays = 0.0, np.concatenate([zero, zero, zero, slopes, one], axis=-1)
    else:
        rays = np.concatenate([slopes, start * one, zero, zero, one], axis=-1)
    tensor = functools.partial(open3d.core.Tensor.from_numpy)
    rays = tensor(np.ascontiguousarray(rays, np.float32))
    one_ray, list_of_faces = rays[:1, :1].clone(), tensor(np.ascontiguousarray(faces, np.uint32))
    meshes = [tensor(np.ascontiguousarray(each)) for each in vertices]

    def build():
        scenes = []
        for each in meshes:
            scene = open3d.t.geometry.RaycastingScene()
            scene.add_triangles(each, list_of_faces)
            scene.cast_rays(one_ray)  # it is built at the first query
            scenes.append(scene)
        return scenes

    def cast(scenes):
        return [scene.cast_rays(rays) for scene in scenes]

    ready = build()
    peers = {
        "Open3D: build and cast": lambda: cast(build()),
        "Open3D: build": build,
        "Open3D: cast": lambda: cast(ready),
    }
    answers = cast(ready)
    theirs = np.stack([each["t_hit"].numpy() for each in answers]) + start
    same = np.stack([each["primitive_ids"].numpy().astype(np.int64) for each in answers]) == face
    hit = face >= 0
    off = np.abs(theirs - depth, where=same & hit, out=np.zeros_like(depth)).max()
    also = 100 * same[hit].mean() if hit.any() else 100.0
    edges = int((np.isfinite(theirs) != hit).sum())
    return peers, [
        f"Open3D finds the same face at {also:.2f} % of covered pixels, at most {off:.1g} mm off "
        f"there; outlines differ at {edges} of {depth.size:,} pixels"
    ]


def gradient_case(batch: int, size: int) -> Case:
    """A weighted sum of depths, with and without its gradient."""
    vertices, faces = posed_skin(batch, 0.0)
    ks = jnp.broadcast_to(jnp.asarray(camera(ORTHOGRAPHIC, size, size)), (batch, 3, 3))
    weight = jax.random.normal(jax.random.key(1), (batch, size, size))
    placed = jnp.asarray(vertices)

    def loss(vertices):
        return jnp.sum(
            rasterize.rasterize(
                rasterize.to_screen(vertices, ks, **ORTHOGRAPHIC), faces, size, size
            )[0]
            * weight
        )

    runs = {
        "forward": functools.partial(jax.jit(loss), placed),
        "forward and gradient": functools.partial(jax.jit(jax.value_and_grad(loss)), placed),
    }
    return Case(
        f"gradient, parallel rays, {size} x {size}, {hand_count(batch)} on the CPU",
        batch,
        "hand",
        runs,
    )
