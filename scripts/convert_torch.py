"""Convert PyTorch checkpoints: python scripts/convert_torch.py NETWORK IN.pth OUT.npz

    pose_vae, pose_denoiser    priors of sphereHand
    sphere_net                 network of sphereHand, from its model_EPOCH.pth
    torchvision                ResNet of torchvision, 18 to 152 layers, as `backbone` of the body
                               networks (config.init)

Checkpoints are read as tensors only (`weights_only=True`), so none of their code runs.
`handjax.engine.weights.load` reads the result.
"""

import argparse
import pickle
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from handjax.engine import cli, weights
from handjax.models.pose_prior import PalmDenoiser, PoseVAE
from handjax.models.resnet import STAGES, ResNet, from_torchvision
from handjax.models.spherenet import SphereNet

State = dict[str, np.ndarray]


class Network(NamedTuple):
    """How to convert the `state_dict` of a network.

    `renames` are applied in order to convert PyTorch's layer names into our paths; entries that
    match `left_out` are dropped. `model` returns our network and the shape of its input; `prepare`
    modifies the state first.
    """

    renames: tuple[tuple[str, str | Callable[[re.Match], str]], ...]
    left_out: str
    model: Callable[[State], tuple[nn.Module, tuple[int, ...]]]
    prepare: Callable[[State], State] = dict


def _numbered(path: str) -> Callable[[re.Match], str]:
    """A replacement for names that count from 0 where ours count from 1."""
    return lambda match: path.format(int(match[1]) + 1)


def _hourglass(match: re.Match) -> str:
    stack, level, part = (int(n) for n in match.groups())
    name = ("skip", "down", "up", "bottom")[part]
    return f"hourglass{stack + 1}_{name}{level + 1 if part < 3 else ''}"


def _denoiser_inputs(state: State) -> State:
    """Reorder the inputs: the checkpoint says which of a hand's 123 numbers is which input.

    The order of the released checkpoint differs from that of its code.
    """
    order = [*range(33, 123), *range(0, 33, 3), *range(1, 33, 3)]  # ours
    if "network.0.weight" not in state:
        return state
    theirs = {
        number: column
        for column, number in enumerate(state.get("input_indices", np.array(order)).tolist())
    }
    if theirs.keys() != set(order):
        raise ValueError(
            "its input_indices are not x, y, z of the fingers' spheres and x, y of the palm's"
        )
    return {
        **state,
        "network.0.weight": state["network.0.weight"][:, [theirs[number] for number in order]],
    }


def _sphere_net(state: State) -> tuple[nn.Module, tuple[int, ...]]:
    """A network with the number of stacks and the width of the state."""
    heads = [value.size for name, value in state.items() if re.search(r"\bscore\.\d\.bias$", name)]
    widths = [value.size for name, value in state.items() if name.endswith("layer3.0.conv1.bias")]
    return SphereNet(
        spheres=max(heads, default=82) // 2,
        stacks=max(len(heads), 1),
        width=max(widths, default=128),
    ), (1, 64, 64, 1)


_PERCEPTRON = (
    (r"\.0$", "/linear1"),
    (r"\.1$", "/norm1"),
    (r"\.3$", "/linear2"),
    (r"\.4$", "/norm2"),
)
NETWORKS = {
    "pose_vae": Network(
        ((r"^base", "encoder"), (r"^decoder\.6$", "out"), *_PERCEPTRON),
        "^$",
        lambda state: (PoseVAE(), (1, 41, 3)),
    ),
    "pose_denoiser": Network(
        ((r"^network\.6$", "out"), *_PERCEPTRON),
        "_indices$",
        lambda state: (PalmDenoiser(), (1, 41, 3)),
        _denoiser_inputs,
    ),
    "sphere_net": Network(
        (
            (r"^hg\.(?!\d)", ""),  # the network within the one that also decodes
            (r"^conv1$", "stem"),
            (r"^bn1$", "stem_norm"),
            (r"^layer(\d)\.0", r"front\1"),
            (r"^hg\.(\d)\.hg\.(\d)\.(\d)\.0", _hourglass),
            (r"^res\.(\d)\.0", _numbered("out{}_block")),
            (r"^fc\.(\d)\.0$", _numbered("out{}_conv")),
            (r"^fc\.(\d)\.1$", _numbered("out{}_norm")),
            (r"^score\.(\d)$", _numbered("out{}_maps")),
            (r"^fc_\.(\d)$", _numbered("back{}_features")),
            (r"^score_\.(\d)$", _numbered("back{}_maps")),
            (r"\.bn(\d)$", r"/norm\1"),
            (r"\.conv(\d)$", r"/conv\1"),
            (r"\.downsample\.0$", "/skip"),
        ),
        r"_grid$",
        _sphere_net,
    ),
}


def convert(state: State, network: str) -> dict:
    """Convert a `state_dict` of arrays to the variables of our network, checking each leaf.

    ValueError if leaves are missing, superfluous or of another shape.
    """
    renames, left_out, model, prepare = NETWORKS[network]
    found = {}
    for name, value in prepare(state).items():
        layer, _, kind = name.rpartition(".")
        if re.search(left_out, kind) or kind == "num_batches_tracked":
            continue
        for pattern, path in renames:
            layer = re.sub(pattern, path, layer)
        if kind.startswith("running_"):
            found[f"batch_stats/{layer}/{kind.removeprefix('running_')}"] = value
            continue
        if kind == "weight":
            # Channels last: O I H W → H W I O, O I → I O; a normalization's has one axis.
            value, kind = (
                np.moveaxis(value, (0, 1), (-1, -2)) if value.ndim > 1 else value,
                "kernel" if value.ndim > 1 else "scale",
            )
        found[f"params/{layer}/{kind}"] = np.ascontiguousarray(value)

    module, shape = model(state)
    expected = flatten_dict(
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(shape)), sep="/"
    )
    wrong = [f"{name} is missing" for name in expected if name not in found]
    wrong += [f"{name} has no place" for name in found if name not in expected]
    wrong += [
        f"{name} is {found[name].shape}, expected {leaf.shape}"
        for name, leaf in expected.items()
        if name in found and found[name].shape != leaf.shape
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"this is no {network}: {', '.join(wrong[:3])}{more}")
    return unflatten_dict(found, sep="/")


def torchvision(state: State) -> dict:
    """Convert the `state_dict` of a torchvision ResNet, of any depth and width, to a BodyNet's
    backbone."""
    counts = tuple(
        len({name.split(".")[1] for name in state if name.startswith(f"layer{stage}.")})
        for stage in (1, 2, 3, 4)
    )
    fitting = [
        layers
        for layers, stage in STAGES.items()
        if stage == (counts, "layer1.0.conv3.weight" in state)
    ]
    if not fitting or "conv1.weight" not in state:
        raise ValueError(
            f"this is no torchvision ResNet with {', '.join(map(str, STAGES))} layers: its "
            f"stages have {counts} blocks"
        )
    found = from_torchvision(state, ResNet(fitting[0], width=len(state["conv1.weight"])))
    return {kind: {"backbone": tree} for kind, tree in found.items()}


CONVERTERS = {
    **{name: partial(convert, network=name) for name in NETWORKS},
    "torchvision": torchvision,
}


def read_state(path: str | Path) -> State:
    """Read a checkpoint that is, or contains, a `state_dict`."""
    try:
        import torch
    except ImportError as error:
        raise ValueError(f"this needs PyTorch ({error}): pip install torch") from None
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"{path}: no PyTorch checkpoint of tensors only can be read ({reason[0]})"
        ) from None
    for key in ("network_state_dict", "state_dict", "model_state_dict"):
        checkpoint = checkpoint.get(key, checkpoint) if isinstance(checkpoint, dict) else {}
    # Remove the prefix of DataParallel.
    state = {
        name.removeprefix("module."): value.numpy()
        for name, value in checkpoint.items()
        if isinstance(value, torch.Tensor)
    }
    if not state:
        raise ValueError(f"{path}: there are no named tensors in it; expected a state_dict")
    return state


def main(argv: list[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Convert PyTorch checkpoints to .npz")
    parser.add_argument("network", choices=CONVERTERS)
    parser.add_argument("source", type=cli.path, metavar="IN.pth")
    parser.add_argument("target", type=cli.path, metavar="OUT.npz")
    parser.add_argument("--half", action="store_true", help="write 16-bit floats")
    args = parser.parse_args(argv)
    if args.target.exists():
        parser.error(f"{args.target} exists; give another name")
    if args.target.suffix != ".npz" or not args.target.parent.is_dir():
        parser.error(f"{args.target}: expected a file name ending in .npz, in a folder that exists")
    try:
        variables = CONVERTERS[args.network](read_state(args.source))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    weights.save(args.target, variables, args.half)
    sizes = [leaf.size for leaf in jax.tree.leaves(variables)]
    print(
        f"{args.target}: {len(sizes)} arrays, {sum(sizes):,} numbers, "
        f"{args.target.stat().st_size:,} bytes"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
