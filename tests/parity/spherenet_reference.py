"""The sphere hand's network, decoding, renderer and losses in PyTorch, written for simplicity.

Every sphere is compared with every pixel, and views are processed in a loop. Layers have the names
of github.com/melonwan/sphereHand, so that scripts/convert_torch.py converts their weights.
"""

import torch
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(1)  # more threads are slower on inputs as small as the tests'


class Bottleneck(nn.Module):
    def __init__(self, inside, width):
        super().__init__()
        self.bn1, self.conv1 = nn.GroupNorm(16, inside), nn.Conv2d(inside, width, 1)
        self.bn2, self.conv2 = nn.GroupNorm(16, width), nn.Conv2d(width, width, 3, padding=1)
        self.bn3, self.conv3 = nn.GroupNorm(16, width), nn.Conv2d(width, 2 * width, 1)
        if inside != 2 * width:
            self.downsample = nn.Sequential(nn.Conv2d(inside, 2 * width, 1))

    def forward(self, x):
        y = self.conv1(torch.relu(self.bn1(x)))
        y = self.conv2(torch.relu(self.bn2(y)))
        y = self.conv3(torch.relu(self.bn3(y)))
        return y + (self.downsample(x) if hasattr(self, "downsample") else x)


class Hourglass(nn.Module):
    """hg[level - 1] has the blocks skip, down and up; the lowest level also has the bottom one."""

    def __init__(self, width):
        super().__init__()

        def blocks(n):
            return nn.ModuleList(nn.Sequential(Bottleneck(2 * width, width)) for _ in range(n))

        self.hg = nn.ModuleList([blocks(4), blocks(3)])

    def forward(self, x):
        outer, inner = self.hg[1], self.hg[0]
        half = outer[1](F.max_pool2d(x, 2))
        latent = inner[3](inner[1](F.max_pool2d(half, 2)))
        half = inner[0](half) + self.up(inner[2](latent))
        return outer[0](x) + self.up(outer[2](half)), latent

    @staticmethod
    def up(x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Reference(nn.Module):
    """[b, 1, n, n] → per stack [b, 2 · spheres, n/4, n/4], and [b, 2 · width, n/16, n/16]."""

    def __init__(self, spheres=41, stacks=1, width=128):
        super().__init__()
        wide = 2 * width
        self.conv1, self.bn1 = (
            nn.Conv2d(1, width // 2, 5, stride=2, padding=2),
            nn.GroupNorm(4, width // 2),
        )
        self.layer1 = nn.Sequential(Bottleneck(width // 2, width // 2))
        self.layer2, self.layer3 = (
            nn.Sequential(Bottleneck(width, width)),
            nn.Sequential(Bottleneck(wide, width)),
        )
        self.hg = nn.ModuleList(Hourglass(width) for _ in range(stacks))
        self.res = nn.ModuleList(nn.Sequential(Bottleneck(wide, width)) for _ in range(stacks))
        self.fc = nn.ModuleList(
            nn.Sequential(nn.Conv2d(wide, wide, 1), nn.GroupNorm(16, wide), nn.ReLU())
            for _ in range(stacks)
        )
        self.score = nn.ModuleList(nn.Conv2d(wide, 2 * spheres, 1) for _ in range(stacks))
        self.fc_ = nn.ModuleList(nn.Conv2d(wide, wide, 1) for _ in range(stacks - 1))
        self.score_ = nn.ModuleList(nn.Conv2d(2 * spheres, wide, 1) for _ in range(stacks - 1))

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(F.max_pool2d(self.layer1(x), 2)))
        maps, latents = [], []
        for i, (hourglass, block, out, score) in enumerate(
            zip(self.hg, self.res, self.fc, self.score, strict=True)
        ):
            y, latent = hourglass(x)
            y = out(block(y))
            maps.append(score(y))
            latents.append(latent)
            if i < len(self.fc_):
                x = x + self.fc_[i](y) + self.score_[i](maps[-1])
        return torch.stack(maps, 1), torch.stack(latents, 1)


def randomize(reference, seed):
    """Replace the zeros and ones of normalizations, which would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in reference.modules():
            if isinstance(module, nn.GroupNorm):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.3, 0.3, generator=generator)
            elif isinstance(module, nn.Conv2d):
                bound = (3 / module.weight[0].numel()) ** 0.5
                module.weight.uniform_(-bound, bound, generator=generator)
                module.bias.uniform_(-0.1, 0.1, generator=generator)
    return reference


def decode(heat, depth):
    """[b, s, n, n] each → centres [b, s, 3], mm."""
    n = heat.shape[-1]
    at = (torch.arange(n, dtype=heat.dtype) - n / 2) * 300 / n
    p = F.softmax(20 * heat.flatten(2), -1).view_as(heat)
    w = F.relu(heat) / (F.relu(heat).sum((-1, -2), keepdim=True) + 1e-5)
    x, y = (p.sum(-2) * at).sum(-1), (p.sum(-1) * at).sum(-1)
    return torch.stack([x, y, 100 * (w * depth).sum((-1, -2))], -1)


def grid(n, dtype):
    at = (torch.arange(n, dtype=dtype) - n / 2) * 300 / n
    return at[None, :].expand(n, n), at[:, None].expand(n, n)


def render(centers, radii, n):
    """[s, 3], [s] → [n, n]."""
    x, y = grid(n, centers.dtype)
    c = centers[:, :, None, None]
    half = radii[:, None, None] ** 2 - (x - c[:, 0]) ** 2 - (y - c[:, 1]) ** 2
    front = torch.where(
        half > 0.01, c[:, 2] - half.clamp(min=0.01).sqrt(), torch.full_like(half, 100.0)
    )
    return front.min(0).values


def surface(depth, centers, radii):
    """[n, n] → mm."""
    points = torch.stack([*grid(depth.shape[-1], depth.dtype), depth], -1).view(-1, 1, 3)
    distance = ((points - centers).norm(dim=-1) - radii).abs().min(1).values
    return (distance.clamp(0, 50) * (depth.flatten() <= 99)).mean()


def projection(depth, centers, radii, cameras, across):
    """One sample, [v, n, n], [v, s, 3], [s], [v, 4, 4] → 9 · the two means, by full matrices."""
    views, rendered, near = range(len(depth)), [], []
    for i in views:
        for j in views if across else [i]:
            change = cameras[j].inverse() @ cameras[i]
            moved = centers[i] @ change[:3, :3].T + change[:3, 3]
            rendered.append(((render(moved, radii, depth.shape[-1]) - depth[j]) ** 2).mean())
            near.append(surface(depth[j], moved, radii))
    return 9 * sum(rendered) / len(rendered), 9 * sum(near) / len(near)


def consistency(centers, cameras):
    """One sample of three views."""
    common = torch.stack(
        [c @ t[:3, :3].T + t[:3, 3] for c, t in zip(centers, cameras, strict=True)]
    )
    return ((common - common.median(0, keepdim=True).values) ** 2).mean()


def collision(centers):
    finger = [0] * 11 + [1 + i // 6 for i in range(30)]
    pairs = [(a, b) for a in range(41) for b in range(a + 1, 41) if finger[a] != finger[b]]
    assert len(pairs) == 690
    a, b = (torch.tensor(ends) for ends in zip(*pairs, strict=True))
    return F.relu(36 - ((centers[:, a] - centers[:, b]) ** 2).sum(-1)).sum()


def bone_length(centers, bones):
    a, b = (torch.tensor(ends) for ends in list(zip(*bones, strict=True))[:2])
    length = torch.tensor([bone[2] for bone in bones], dtype=centers.dtype)
    square = ((centers[:, a] - centers[:, b]) ** 2).sum(-1)
    return (
        F.relu((0.8 * length) ** 2 - square).mean() + F.relu(square - (1.05 * length) ** 2).mean()
    )


def prior(x, recon, mu, logvar):
    """The original's sum of a mean and a sum, over a whole batch of [b, 123] in 100 mm."""
    return F.mse_loss(x, recon) - 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
