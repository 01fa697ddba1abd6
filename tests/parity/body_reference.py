"""The three heads of the body system and their loss in PyTorch, and conversion of their tensors.

After Sun et al. 2018 (arXiv 1711.08229, github.com/JimmySuen/integral-human-pose) and its kinematic
fork.
"""

import numpy as np
import torch
from flax.traverse_util import unflatten_dict
from resnet_reference import ResNet
from torch import nn

torch.set_num_threads(1)


class Reference(nn.Module):
    """[b, 3, h, w] → [b, joints, 3], or [b, 30] for the kinematic head."""

    def __init__(self, head, layers, joints=18, depth=64, width=64, deconvolutions=(256, 256, 256)):
        super().__init__()
        self.head, self.joints, self.depth, self.width = head, joints, depth, width
        self.backbone = ResNet(layers, width, classes=1)
        inside = self.backbone.features
        if head == "integral":
            for i, features in enumerate(deconvolutions):
                setattr(
                    self, f"deconv{i}", nn.ConvTranspose2d(inside, features, 4, 2, 1, bias=False)
                )
                setattr(self, f"deconv{i}_bn", nn.BatchNorm2d(features))
                inside = features
            self.count = len(deconvolutions)
            self.out = nn.Conv2d(inside, joints * depth, 1)
        else:
            self.fc = nn.Linear(inside, 3 * joints if head == "direct" else 30)

    def forward(self, x):
        x = self.backbone(x)
        if self.head != "integral":
            x = self.fc(x.mean((2, 3)))
            return x.reshape(-1, self.joints, 3) if self.head == "direct" else x
        for i in range(self.count):
            x = torch.relu(getattr(self, f"deconv{i}_bn")(getattr(self, f"deconv{i}")(x)))
        return expectation(self.out(x), self.joints, self.depth)


def expectation(maps, joints, depth):
    """[b, joints · depth, h, w] → [b, joints, 3], each -1/2 to 1/2."""
    b, _, h, w = maps.shape
    p = torch.softmax(maps.reshape(b, joints, -1), -1).reshape(b, joints, depth, h, w)
    sums = p.sum((2, 3)), p.sum((2, 4)), p.sum((3, 4))
    return torch.stack(
        [(s * torch.arange(s.shape[-1])).sum(-1) / s.shape[-1] - 0.5 for s in sums], -1
    )


def joint_loss(prediction, target, weight, power):
    """Weighted L1 (power 1) or L2 (power 2): the sum divided by the batch size."""
    return ((prediction - target).abs() ** power * weight).sum() / len(prediction)


def randomize(reference: nn.Module, seed: int) -> nn.Module:
    """Keep PyTorch's initialization, but replace zeros and ones, which would hide mistakes."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in reference.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.3)
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2.0)
            elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight)
    return reference


def to_flax(tensors) -> dict:
    """Convert `state_dict()`, or gradients by parameter name, to `params` and `batch_stats`."""
    tree = {}
    for name, tensor in tensors.items():
        *path, kind = (
            name.replace("downsample.0", "downsample_conv")
            .replace("downsample.1", "downsample_bn")
            .split(".")
        )
        if kind == "num_batches_tracked" or path[:2] == ["backbone", "fc"]:
            continue
        if path[0] == "backbone" and path[1].startswith("layer"):
            path[1:3] = [f"{path[1]}_{path[2]}"]
        value = tensor.detach().numpy().copy()
        if value.ndim == 4:  # O I H W, or I O H W if transposed → H W I O
            value = value.transpose((2, 3, 0, 1) if path[-1].startswith("deconv") else (2, 3, 1, 0))
        value = value.T if value.ndim == 2 else value
        of = (
            "kernel"
            if value.ndim > 1
            else "scale"
            if kind == "weight"
            else kind.removeprefix("running_")
        )
        tree["batch_stats" if kind.startswith("running") else "params", *path, of] = (
            np.ascontiguousarray(value)
        )
    return unflatten_dict(tree)
