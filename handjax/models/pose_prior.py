"""What hands look like: an auto-encoder of sphere centres, and a network that puts the palm where the fingers say it is
(Wan et al. 2019, github.com/melonwan/sphereHand, network/pose_vae.py and pose_denoiser.py)."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.engine import weights
from handjax.models.layers import torch_uniform

PALM = 11  # of the spheres the first eleven
_UNIT_MM = 100.0  # the networks see centres in this unit
_GROUPS = 16


class PoseVAE(nn.Module):
    """Sphere centres, mm, not relative to any of them, through a code of `latent` numbers and back."""

    spheres: int = 41
    latent: int = 32
    width: int = 256

    def setup(self):
        self.encoder, self.decoder = Perceptron(self.width), Perceptron(self.width)
        self.mu, self.logvar = (_dense(self.latent, self.width) for _ in range(2))
        self.out = _dense(3 * self.spheres, self.width)

    def __call__(
        self,
        centers: Float[Array, "*b {self.spheres} 3"],
        noise: Float[Array, "*b {self.latent}"] | None = None,
    ) -> tuple[
        Float[Array, "*b {self.spheres} 3"],
        Float[Array, "*b {self.latent}"],
        Float[Array, "*b {self.latent}"],
    ]:
        """The centres as the code has them, the code's mean, and the logarithm of its variance. `noise` is standard normal; the
        code moves by a tenth of its deviation times it, as in the original's prior, and not at all without it, as in its
        training."""
        mu, logvar = self.encode(centers)
        code = mu if noise is None else mu + 0.1 * jnp.exp(0.5 * logvar) * noise
        return self.decode(code), mu, logvar

    def encode(
        self, centers: Float[Array, "*b {self.spheres} 3"]
    ) -> tuple[Float[Array, "*b {self.latent}"], Float[Array, "*b {self.latent}"]]:
        features = self.encoder(centers.reshape(*centers.shape[:-2], -1) / _UNIT_MM)
        return self.mu(features), self.logvar(features)

    def decode(self, code: Float[Array, "*b {self.latent}"]) -> Float[Array, "*b {self.spheres} 3"]:
        return self.out(self.decoder(code)).reshape(*code.shape[:-1], self.spheres, 3) * _UNIT_MM


class PalmDenoiser(nn.Module):
    """Centres of the fingers' spheres, mm, and x and y of the palm's → the same fingers with another palm.

    The palm's own depth is not looked at: it is what a network that sees the back of a hand knows least."""

    spheres: int = 41
    width: int = 256

    @nn.compact
    def __call__(
        self,
        centers: Float[Array, "*b {self.spheres} 3"],
        noise: Float[Array, "*b 3*{self.spheres}-11"] | None = None,
    ) -> Float[Array, "*b {self.spheres} 3"]:
        """`noise` is standard normal, for training: each number the network sees moves by 10 mm times it."""
        palm, fingers = centers[..., :PALM, :], centers[..., PALM:, :]
        fingers_seen = fingers.reshape(*fingers.shape[:-2], -1)
        seen = jnp.concatenate([fingers_seen, palm[..., 0], palm[..., 1]], axis=-1) / _UNIT_MM
        seen = seen if noise is None else seen + 0.1 * noise
        features = Perceptron(self.width, name="network")(seen)
        palm = _dense(3 * PALM, self.width, name="out")(features) * _UNIT_MM
        return jnp.concatenate([palm.reshape(*palm.shape[:-1], PALM, 3), fingers], axis=-2)


class Perceptron(nn.Module):
    """Twice linear - group norm - ReLU."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "*b n"]) -> Float[Array, "*b {self.width}"]:
        for i in (1, 2):
            x = _dense(self.width, x.shape[-1], name=f"linear{i}")(x)
            # Over a row's own channels, whatever batch it is in.
            norm = nn.GroupNorm(
                _GROUPS,
                epsilon=1e-5,
                use_fast_variance=False,
                reduction_axes=(-1,),
                name=f"norm{i}",
            )
            x = nn.relu(norm(x))
        return x


def _dense(features, inside, name=None):
    """Starts as PyTorch's does; full float32, for what comes out are millimetres."""
    init = torch_uniform(inside)
    return nn.Dense(
        features, kernel_init=init, bias_init=init, precision=jax.lax.Precision.HIGHEST, name=name
    )


def load_priors(path: str | Path | None = None) -> dict:
    """`vae` and `denoiser`: the variables of a PoseVAE and a PalmDenoiser, from what scripts/train_priors.py writes or, with no
    path, from what it wrote for this package.

    Ours lose 2.8 mm of a sampled hand in the code (4.8 mm with its noise), where the original's lose 7.3 mm (12.9 mm) of the
    same hands, and err by 2.9 mm in a palm (5.8 mm). Our code spreads wider: its divergence is 7.7 a hand, the original's 0.64."""
    path = Path(path) if path else Path(__file__).with_name("pose_prior.npz")
    found = weights.load(path)
    if not {"vae", "denoiser"} <= found.keys():
        raise ValueError(
            f"{path}: holds {', '.join(found)}; expected vae and denoiser, as scripts/train_priors.py writes them"
        )
    return found
