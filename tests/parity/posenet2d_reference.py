"""PoseNet2D and its losses in PyTorch, and the losses of DSNT, with handjax's names of layers.

After jiangxubin/hand_pose, a TensorFlow 1 program, and Nibali et al. 2018 (arXiv 1801.07372).
"""

import math

import torch
from torch import nn
from torch.nn import functional


class Reference(nn.Module):
    """[b, 3, n, n] → [b, 1 + refinements, joints, m, m]."""

    def __init__(
        self, joints=21, refinements=2, widths=(64, 128, 256, 512, 128), kernel=7, pools=3
    ):
        super().__init__()
        one, two, three, four, encoded = widths
        self.refinements, self.pools = refinements, pools
        self.blocks = (
            (one,) * 2,
            (two,) * 2,
            (three,) * 4,
            (four, four, three, three, three, three, encoded),
        )
        inside = 3
        for block, outsides in enumerate(self.blocks, 1):
            for i, outside in enumerate(outsides, 1):
                self._conv(f"conv{block}_{i}", inside, outside, 3)
                inside = outside
        self._conv("conv5_1", encoded, four, 1)
        self._conv("conv5_2", four, joints, 1)
        for block in range(6, 6 + refinements):
            for i in range(1, 6):
                self._conv(
                    f"conv{block}_{i}", joints + encoded if i == 1 else encoded, encoded, kernel
                )
            self._conv(f"conv{block}_6", encoded, encoded, 1)
            self._conv(f"conv{block}_7", encoded, joints, 1)

    def _conv(self, name, inside, outside, size):
        setattr(self, name, nn.Conv2d(inside, outside, size, padding=size // 2))

    def _relu(self, name, x):
        return functional.leaky_relu(getattr(self, name)(x), 0.01)

    def forward(self, x):
        for block, outsides in enumerate(self.blocks, 1):
            for i in range(1, len(outsides) + 1):
                x = self._relu(f"conv{block}_{i}", x)
            if block <= self.pools:
                x = functional.max_pool2d(x, 2)
        encoding = x
        maps = [self.conv5_2(self._relu("conv5_1", encoding))]
        for block in range(6, 6 + self.refinements):
            x = torch.cat([maps[-1], encoding], dim=1)
            for i in range(1, 7):
                x = self._relu(f"conv{block}_{i}", x)
            maps.append(getattr(self, f"conv{block}_7")(x))
        return torch.stack(maps, dim=1)


def resize(maps, size):
    """Bilinear resizing of TensorFlow 1, where pixel 0 is at cell 0 and the far border repeats.

    With the last cell duplicated, this is resizing with aligned corners.
    """
    maps = functional.pad(maps, (0, 1, 0, 1), mode="replicate")
    return functional.interpolate(maps, size=size + 1, mode="bilinear", align_corners=True)[
        ..., :-1, :-1
    ]


def heatmap_loss(maps, target, visible=None):
    """RMS error of each resized map, averaged over joints, summed over stages."""
    total = 0
    for stage in maps.unbind(1):
        rms = (resize(stage, target.shape[-1]) - target).square().mean((-1, -2)).sqrt()
        total = total + (
            rms.mean() if visible is None else (visible * rms).sum() / (visible.sum() + 1e-4)
        )
    return total


def dsnt_loss(maps, uv):
    """Squared error of (u, v) in [0, 1], [b, j, 2], and divergence of maps from Gaussians."""
    last = maps[:, -1]
    b, j, n, _ = last.shape
    probability = torch.softmax(last.reshape(b, j, -1), dim=-1).reshape(last.shape)
    axis = (2 * torch.arange(1, n + 1) - (n + 1)).to(last.dtype) / n
    u, v = (probability * axis).sum((-1, -2)), (probability * axis[:, None]).sum((-1, -2))
    coordinate = functional.mse_loss((torch.stack([u, v], -1) + 1) / 2, uv)

    center = uv.clamp(0, 1) * n - 0.5
    cells = torch.arange(n).to(last.dtype)
    squared = (cells - center[..., None, :1]) ** 2 + (cells[:, None] - center[..., 1:, None]) ** 2
    gaussian = torch.exp(-4 * math.log(2) * squared)
    gaussian = gaussian / gaussian.sum((-1, -2), keepdim=True)

    def divergence(p, q):
        return (p * (torch.log(p + 1e-24) - torch.log(q + 1e-24))).sum((-1, -2))

    middle = (probability + gaussian) / 2
    return (
        coordinate + (divergence(probability, middle) / 2 + divergence(gaussian, middle) / 2).mean()
    )
