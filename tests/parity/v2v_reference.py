"""V2V-PoseNet in PyTorch with handjax's names of layers, and conversion of its tensors.

After figure 3 of Moon et al. 2018 (arXiv 1711.07399).
"""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

torch.set_num_threads(1)  # more threads are slower on inputs as small as the tests'


def conv_norm(inside, outside, size):
    conv = nn.Conv3d(inside, outside, size, padding=size // 2)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm3d(outside)))


class Residual(nn.Module):
    def __init__(self, inside, outside):
        super().__init__()
        self.conv1, self.conv2 = conv_norm(inside, outside, 3), conv_norm(outside, outside, 3)
        self.skip = nn.Identity() if inside == outside else conv_norm(inside, outside, 1)

    def forward(self, x):
        return torch.relu(self.conv2(torch.relu(self.conv1(x))) + self.skip(x))


class Reference(nn.Module):
    """[b, 1, n, n, n] → [b, joints, n/2, n/2, n/2], or n³ with `full_resolution`; float32."""

    def __init__(self, joints, widths=(16, 32, 64, 128), full_resolution=False):
        super().__init__()
        stem, top, middle, bottom = widths
        self.stem = conv_norm(1, stem, 7)
        self.front1, self.front2, self.front3 = (
            Residual(stem, top),
            Residual(top, top),
            Residual(top, top),
        )
        self.skip_top, self.encode1 = Residual(top, top), Residual(top, middle)
        self.skip_middle, self.encode2 = Residual(middle, middle), Residual(middle, bottom)
        self.bottom, self.decode1 = Residual(bottom, bottom), Residual(bottom, bottom)
        self.up1, self.up1_norm = nn.ConvTranspose3d(bottom, middle, 2, 2), nn.BatchNorm3d(middle)
        self.decode2 = Residual(middle, middle)
        self.up2, self.up2_norm = nn.ConvTranspose3d(middle, top, 2, 2), nn.BatchNorm3d(top)
        self.back = Residual(top, top)
        self.full_resolution = full_resolution
        if full_resolution:
            self.up3, self.up3_norm = nn.ConvTranspose3d(top, top, 2, 2), nn.BatchNorm3d(top)
        self.back_conv1, self.back_conv2 = conv_norm(top, top, 1), conv_norm(top, top, 1)
        self.out = nn.Conv3d(top, joints, 1)
        self.pool = nn.MaxPool3d(2, 2)

    def forward(self, x):
        x = self.pool(torch.relu(self.stem(x)))
        x = self.front3(self.front2(self.front1(x)))
        high = self.skip_top(x)
        x = self.encode1(self.pool(x))
        half = self.skip_middle(x)
        x = self.decode1(self.bottom(self.encode2(self.pool(x))))
        x = self.decode2(torch.relu(self.up1_norm(self.up1(x))) + half)
        x = torch.relu(self.up2_norm(self.up2(x))) + high
        x = self.back(x)
        if self.full_resolution:
            x = torch.relu(self.up3_norm(self.up3(x)))
        x = torch.relu(self.back_conv2(torch.relu(self.back_conv1(x))))
        return self.out(x).float()


def randomize(reference: nn.Module, seed: int) -> nn.Module:
    """Keep PyTorch's initialization, but replace zeros and ones, which would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in reference.modules():
            if isinstance(module, nn.BatchNorm3d):
                for tensor, low, high in (
                    (module.weight, 0.5, 1.5),
                    (module.bias, -0.3, 0.3),
                    (module.running_mean, -0.5, 0.5),
                    (module.running_var, 0.5, 2.0),
                ):
                    tensor.uniform_(low, high, generator=generator)
            elif isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                bound = (
                    module.weight[0].numel() ** -0.5
                    if isinstance(module, nn.Conv3d)
                    else module.in_channels**-0.5
                )
                module.weight.uniform_(-bound * 3**0.5, bound * 3**0.5, generator=generator)
                module.bias.uniform_(-0.1, 0.1, generator=generator)
    return reference


def to_flax(tensors) -> dict:
    """Convert `state_dict()`, or gradients by parameter name, to `params` and `batch_stats`."""
    trees = {"params": {}, "batch_stats": {}}
    for name, tensor in tensors.items():
        *path, kind = name.split(".")
        value = tensor.detach().numpy().copy()
        if kind == "num_batches_tracked":
            continue
        if kind.startswith("running"):
            tree, kind = trees["batch_stats"], kind.removeprefix("running_")
        else:
            tree = trees["params"]
            # O I D H W, or I O D H W for transposed convolutions → D H W I O.
            if value.ndim == 5:
                value = value.transpose(
                    (2, 3, 4, 0, 1) if path[-1].startswith("up") else (2, 3, 4, 1, 0)
                )
                kind = "kernel"
            elif kind == "weight":
                kind = "scale"
        for part in path:
            tree = tree.setdefault(part, {})
        tree[kind] = np.ascontiguousarray(value)
    return trees


def channels_first(x) -> torch.Tensor:
    return torch.tensor(np.moveaxis(np.asarray(x), -1, 1).copy())


def channels_last(x: torch.Tensor) -> np.ndarray:
    return np.moveaxis(x.detach().numpy(), 1, -1)
