"""Networks, inference and training, compared with their reference implementations in PyTorch."""

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness, spheres, voxel_data
from benchmarks.harness import Case, Effort, seconds_of
from benchmarks.onnx_runtimes import onnx_runs
from benchmarks.torch_networks import KINDS, first, torch_gpu_runs, torch_runs
from configs.common import common
from handjax.engine.optimizer import make_optimizer
from handjax.models.body import HEADS, BodyNet
from handjax.models.cpm import CPM
from handjax.models.posenet2d import PoseNet2D
from handjax.models.resnet import ResNet
from handjax.models.spherenet import SphereNet
from handjax.models.v2v import V2V
from handjax.pose.pinhole import depth_to_points
from handjax.synthetic import hands
from handjax.targets import voxel

GPU_BATCH = 4  # times the batch size on a CPU


@dataclass(frozen=True)
class Network:
    """A network, its reference implementation in tests/parity, and the input [b, *shape].

    `options` are those of both constructors, `small` and `small_shape` replace some of them in tiny
    runs. If there are several outputs, the first one counts.
    """

    title: str
    module: Callable
    reference: tuple[str, str]
    options: dict
    small: dict
    shape: tuple[int, ...]
    small_shape: tuple[int, ...]
    batch: int


NETWORKS = {
    "v2v": Network(
        "V2V-PoseNet",
        V2V,
        ("v2v_reference", "Reference"),
        dict(joints=21),
        dict(widths=(2, 3, 4, 5)),
        (88, 88, 88, 1),
        (16, 16, 16, 1),
        2,
    ),
    "cpm": Network(
        "CPM",
        CPM,
        ("cpm_reference", "Reference"),
        dict(joints=21),
        dict(stages=2, widths=(4, 4, 4)),
        (368, 368, 4),
        (32, 32, 4),
        1,
    ),
    "posenet2d": Network(
        "PoseNet2D",
        PoseNet2D,
        ("posenet2d_reference", "Reference"),
        {},
        dict(widths=(2, 2, 2, 2, 2)),
        (256, 256, 3),
        (32, 32, 3),
        4,
    ),
    "resnet": Network(
        "ResNet-50",
        ResNet,
        ("resnet_reference", "ResNet"),
        dict(layers=50),
        dict(width=2),
        (256, 256, 3),
        (32, 32, 3),
        4,
    ),
    "spherehand": Network(
        "the sphere hand's network",
        SphereNet,
        ("spherenet_reference", "Reference"),
        {},
        dict(width=32),
        (64, 64, 1),
        (16, 16, 1),
        48,
    ),
    **{
        f"body, {head} head": Network(
            f"ResNet-50 and {head} head",
            BodyNet,
            ("body_reference", "Reference"),
            dict(head=head, layers=50),
            # Not narrower: training such a network, PyTorch 2.13.0 corrupts the process's memory.
            dict(layers=18, width=8, depth=4, deconvolutions=(8, 8, 8)),
            (256, 256, 3),
            (32, 32, 3),
            8,
        )
        for head in HEADS
    },
}


def bodies(effort: Effort) -> Iterator[Case]:
    """The body network with each of its heads."""
    for head in HEADS:
        yield from network(f"body, {head} head", effort)


def spherehand(effort: Effort) -> Iterator[Case]:
    """The sphere hand: its network and its renderer."""
    yield from network("spherehand", effort)
    yield from spheres.cases(effort)


def network(name: str, effort: Effort) -> Iterator[Case]:
    """One of NETWORKS on the CPU, and on the GPU if there is one."""
    yield from network_on(jax.devices("cpu")[0], name, effort, half=False)
    if name == "v2v":
        yield from voxel_data.cases(effort)
    if (device := harness.gpu()) is not None:
        yield from network_on(device, name, effort, half=True)


def network_on(
    device: jax.Device, name: str, effort: Effort, half: bool, peers: bool = True
) -> Iterator[Case]:
    """Inference, and a training step: mean squared error to random targets, RMSprop.

    Weights are random, since they do not change the time. With `half` the networks run as on a GPU:
    in bfloat16, with larger batches, and compiled by PyTorch. Without `peers` ours alone.
    """
    net = NETWORKS[name]
    options = net.options | (net.small if effort.tiny else {})
    batch = effort.batch(effort.samples or net.batch * (GPU_BATCH if half else 1))
    shape = (batch, *(net.small_shape if effort.tiny else net.shape))
    with jax.default_device(device):
        x = occupancy(shape) if name == "v2v" else jax.random.uniform(jax.random.key(0), shape)
        model = net.module(**options, **({"dtype": jnp.bfloat16} if half else {}))
        variables = jax.jit(model.init)(jax.random.key(1), x[:1])
        target = jax.random.normal(
            jax.random.key(2), first(jax.eval_shape(model.apply, variables, x)).shape
        )
        runs, floors = our_runs(model, variables, x, target)
        theirs: dict[str, dict] = dict.fromkeys(KINDS, {})
        if peers:
            theirs = (torch_gpu_runs if half else torch_runs)(
                net, options, np.asarray(x), np.asarray(target), effort
            )
        if peers and effort.strongest and not half:
            infer = functools.partial(first_of, model, variables)
            theirs["inference"] |= onnx_runs(infer, np.asarray(x), effort)
        size = (
            " x ".join(map(str, shape[1:]))
            + f", batch {batch}"
            + (f", bfloat16 on {device.device_kind}" if half else "")
        )
        for kind, our in runs.items():

            def notes(seconds, kind=kind):
                return [floors[kind](seconds["handjax"], *rates(device, effort))]

            yield Case(
                f"{net.title}, {kind}, {size}",
                batch,
                "sample",
                {"handjax": our} | theirs[kind],
                notes,
            )


def first_of(model: nn.Module, variables: dict, x: jax.Array) -> jax.Array:
    """The first output at inference."""
    return first(model.apply(variables, x, train=False))


@functools.cache
def rates(device: jax.Device, effort: Effort) -> tuple[float, float]:
    """Operations per second of a matmul (bfloat16 on a GPU), and bytes per second of a copy."""
    if device.platform == "cpu":
        about = harness.machine(effort)
        return 1e9 * about["matmul_gflops"], 1e9 * about["copy_gbytes"]
    n = 8192
    a = jax.device_put(jnp.ones((n, n), jnp.bfloat16), device)
    product = jax.jit(jnp.matmul)
    seconds_of(lambda: product(a, a))
    return 2 * n**3 / min(
        seconds_of(lambda: product(a, a), 10) for _ in range(5)
    ), harness.device_copy_rate(device)


def occupancy(shape: tuple[int, ...]) -> jax.Array:
    """Voxels of sampled hands, like those that the network is trained with."""
    grid = voxel.VoxelGrid(size=shape[1], heatmap_size=shape[1] // 2)

    def one(key):
        sample = hands.depth_sample(key, image_size=2 * shape[1])
        points, valid = depth_to_points(sample["depth"], sample["k"])
        cells = voxel.xyz_to_grid(points, sample["center_xyz"], sample["cube_mm"], grid.size)
        return voxel.voxelize(cells, valid, grid)[..., None].astype(jnp.float32)

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), shape[0]))


def our_runs(
    model: nn.Module, variables: dict, x: jax.Array, target: jax.Array
) -> tuple[dict[str, Callable[[], jax.Array]], dict[str, Callable[..., str]]]:
    """Functions to measure, and for each a function that compares its time with a lower bound."""
    optimizer = make_optimizer(common().optimizer, 100)
    params, rest = (
        variables["params"],
        {name: tree for name, tree in variables.items() if name != "params"},
    )
    kept = [params, rest, optimizer.init(params)]

    def infer(params, rest, x):
        return first(model.apply({"params": params, **rest}, x, train=False))

    def update(params, rest, state, x, target):
        def loss_of(params):
            outputs, changed = model.apply(
                {"params": params, **rest}, x, train=True, mutable=list(rest)
            )
            return jnp.mean((first(outputs) - target) ** 2), changed

        (loss, changed), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state, params)
        return jax.tree.map(jnp.add, params, updates), {**rest, **changed}, state, loss

    inference, step = jax.jit(infer), jax.jit(update, donate_argnums=(0, 1, 2))

    def train():
        *kept[:], loss = step(*kept, x, target)
        return loss

    floors = {
        "inference": functools.partial(floor, *work(inference, params, rest, x)),
        "training step": functools.partial(floor, *work(step, *kept, x, target)),
    }
    variables = jax.tree.map(jnp.copy, (params, rest))  # the step overwrites its own
    return {"inference": lambda: inference(*variables, x), "training step": train}, floors


def work(program, *arguments) -> tuple[float, float]:
    """Floating-point operations of a program in plain XLA, and bytes of its large operations.

    The bytes are those that convolutions and matrix products read and write if each number is moved
    once.
    """
    lowered = program.trace(*arguments).lower(lowering_platforms=("cuda",))
    types = re.findall(
        r"stablehlo\.(?:convolution|dot_general).*: \((.*)\) -> (.*)", lowered.as_text()
    )
    arrays = re.findall(r"tensor<([\dx]+)x(f32|bf16)>", " ".join(f"{a} {b}" for a, b in types))
    size = {"f32": 4.0, "bf16": 2.0}
    moved = sum(
        size[kind] * np.prod([int(n) for n in shape.split("x")], dtype=float)
        for shape, kind in arrays
    )
    return lowered.cost_analysis()["flops"], moved


def floor(flops: float, moved: float, seconds: float, rate: float, copied: float) -> str:
    """A note that compares `seconds` with the time at the rates of a matrix product and a copy."""
    least = max(flops / rate, moved / copied)
    return (
        f"{flops / 1e9:.1f} GFLOP, {flops / seconds / 1e9:.0f} per second, and {moved / 1e6:.0f} "
        f"MB through the convolutions. At the rates of matmul and copy {1e3 * flops / rate:.0f} "
        f"and {1e3 * moved / copied:.0f} ms: {100 * least / seconds:.0f} % of the measured time"
    )
