"""Convolutional Pose Machines in PyTorch, and conversion of the tensors of 2D networks.

After Wei et al. 2016 (arXiv 1602.00134), with the sizes of
namedBen/Convolutional-Pose-Machines-Pytorch and handjax's names of layers.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

torch.set_num_threads(1)  # more threads are slower on inputs as small as the tests'


class Reference(nn.Module):
    """[b, 3 + 1, n, n] → [b, stages, channels, m, m]."""

    def __init__(
        self,
        joints,
        stages=6,
        background=True,
        widths=(128, 32, 512),
        kernels=(9, 5, 11),
        pools=3,
        pool_padding=1,
    ):
        super().__init__()
        self.stages, self.pools, self.pool_padding = stages, pools, pool_padding
        width, features, head = widths
        large, middle, wide = kernels
        channels = joints + background
        for trunk in ("stage1", "middle"):
            self._conv(f"{trunk}_conv1", 3, width, large)
            self._conv(f"{trunk}_conv2", width, width, large)
            self._conv(f"{trunk}_conv3", width, width, large)
        self._conv("stage1_conv4", width, features, middle)
        self._conv("stage1_conv5", features, head, large)
        self._conv("stage1_conv6", head, head, 1)
        self._conv("stage1_out", head, channels, 1)
        for stage in range(2, stages + 1):
            self._conv(f"stage{stage}_features", width, features, middle)
            self._conv(f"stage{stage}_conv1", features + channels + 1, width, wide)
            self._conv(f"stage{stage}_conv2", width, width, wide)
            self._conv(f"stage{stage}_conv3", width, width, wide)
            self._conv(f"stage{stage}_conv4", width, width, 1)
            self._conv(f"stage{stage}_out", width, channels, 1)

    def _conv(self, name, inside, outside, size):
        setattr(self, name, nn.Conv2d(inside, outside, size, padding=size // 2))

    def _relu(self, name, x):
        return functional.relu(getattr(self, name)(x))

    def _trunk(self, name, x):
        for i in (1, 2, 3):
            x = self._relu(f"{name}_conv{i}", x)
            if i <= self.pools:
                x = functional.max_pool2d(x, 3, 2, self.pool_padding)
        return x

    def forward(self, x):
        image, center = x[:, :3], x[:, 3:]
        center = functional.avg_pool2d(center, 2**self.pools + 1, 2**self.pools, self.pool_padding)
        x = self._trunk("stage1", image)
        for i in (4, 5, 6):
            x = self._relu(f"stage1_conv{i}", x)
        maps = [self.stage1_out(x)]
        shared = self._trunk("middle", image)
        for stage in range(2, self.stages + 1):
            x = torch.cat([self._relu(f"stage{stage}_features", shared), maps[-1], center], dim=1)
            for i in (1, 2, 3, 4):
                x = self._relu(f"stage{stage}_conv{i}", x)
            maps.append(getattr(self, f"stage{stage}_out")(x))
        return torch.stack(maps, dim=1)


def loss(maps, target):
    """Squared errors summed over stages, cells and channels, averaged over samples."""
    return sum(functional.mse_loss(stage, target) for stage in maps.unbind(1)) * target[0].numel()


def parameter_groups(reference, lr):
    """For SGD: 1 and 2 times the rate for kernels and biases of stage one, else 4 and 8 times."""
    groups = {}
    for name, parameter in reference.named_parameters():
        factor = (1 if name.startswith("stage1") else 4) * (2 if name.endswith("bias") else 1)
        groups.setdefault(factor, []).append(parameter)
    return [{"params": parameters, "lr": factor * lr} for factor, parameters in groups.items()]


def randomize(reference: nn.Module, seed: int) -> nn.Module:
    """Weights that keep activations of order one, and biases that are not zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in reference.modules():
            if isinstance(module, nn.Conv2d):
                bound = (6 / module.weight[0].numel()) ** 0.5
                module.weight.uniform_(-bound, bound, generator=generator)
                module.bias.uniform_(-0.1, 0.1, generator=generator)
    return reference


def to_flax(tensors) -> dict:
    """Convert `state_dict()`, or gradients by parameter name, to `params`; O I H W → H W I O."""
    params = {}
    for name, tensor in tensors.items():
        module, kind = name.split(".")
        value = tensor.detach().numpy()
        value = value.transpose(2, 3, 1, 0) if kind == "weight" else value
        params.setdefault(module, {})["kernel" if kind == "weight" else kind] = (
            np.ascontiguousarray(value)
        )
    return params


def gradients(reference) -> dict:
    return to_flax({name: parameter.grad for name, parameter in reference.named_parameters()})


def channels_first(x) -> torch.Tensor:
    """[…, h, w, c] → […, c, h, w]"""
    return torch.tensor(np.moveaxis(np.asarray(x), -1, -3).copy())


def channels_last(x: torch.Tensor) -> np.ndarray:
    return np.moveaxis(x.detach().numpy(), -3, -1)


def train_step(reference, optimizer, x, target, loss=loss) -> torch.Tensor:
    """One update, for benchmarks; returns the loss before it."""
    optimizer.zero_grad()
    value = loss(reference(x), target)
    value.backward()
    optimizer.step()
    return value.detach()
