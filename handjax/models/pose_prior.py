"""Priors of hand poses: an auto-encoder of sphere centers, and a network that predicts the palm
from the fingers (Wan et al. 2019, github.com/melonwan/sphereHand, network/pose_vae.py and
pose_denoiser.py)."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.engine import weights
from handjax.models.layers import torch_uniform

PALM = 11  # the first eleven spheres
_UNIT_MM = 100.0  # of the centers that the networks see
_GROUPS = 16


class PoseVAE(nn.Module):
    """Auto-encoder of sphere centers, absolute in mm, with a code of `latent` numbers."""

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
        """Decoded centers, mean of the code, and logarithm of its variance.

        With `noise`, standard normal, the code moves by a tenth of its deviation times `noise`, as
        in the original's prior. Without it the code is its mean, as in the original's training.
        """
        mu, logvar = self.encode(centers)
        code = mu if noise is None else mu + 0.1 * jnp.exp(0.5 * logvar) * noise
        return self.decode(code), mu, logvar

    def encode(
        self, centers: Float[Array, "*b {self.spheres} 3"]
    ) -> tuple[Float[Array, "*b {self.latent}"], Float[Array, "*b {self.latent}"]]:
        """Centers, mm → mean of the code, and logarithm of its variance."""
        features = self.encoder(centers.reshape(*centers.shape[:-2], -1) / _UNIT_MM)
        return self.mu(features), self.logvar(features)

    def decode(self, code: Float[Array, "*b {self.latent}"]) -> Float[Array, "*b {self.spheres} 3"]:
        """Code → centers, mm."""
        return self.out(self.decoder(code)).reshape(*code.shape[:-1], self.spheres, 3) * _UNIT_MM


class PalmDenoiser(nn.Module):
    """Sphere centers, mm → the same fingers with a predicted palm.

    The inputs are the centers of the fingers and x and y of those of the palm. The depth of the
    palm is ignored: it is the least reliable coordinate when the network sees the back of a hand.
    """

    spheres: int = 41
    width: int = 256

    @nn.compact
    def __call__(
        self,
        centers: Float[Array, "*b {self.spheres} 3"],
        noise: Float[Array, "*b 3*{self.spheres}-11"] | None = None,
    ) -> Float[Array, "*b {self.spheres} 3"]:
        """`noise`, standard normal, is for training: each input moves by 10 mm times `noise`."""
        palm, fingers = centers[..., :PALM, :], centers[..., PALM:, :]
        fingers_seen = fingers.reshape(*fingers.shape[:-2], -1)
        seen = jnp.concatenate([fingers_seen, palm[..., 0], palm[..., 1]], axis=-1) / _UNIT_MM
        seen = seen if noise is None else seen + 0.1 * noise
        features = Perceptron(self.width, name="network")(seen)
        palm = _dense(3 * PALM, self.width, name="out")(features) * _UNIT_MM
        return jnp.concatenate([palm.reshape(*palm.shape[:-1], PALM, 3), fingers], axis=-2)


class Perceptron(nn.Module):
    """Two times linear - group norm - ReLU."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "*b n"]) -> Float[Array, "*b {self.width}"]:
        for i in (1, 2):
            x = _dense(self.width, x.shape[-1], name=f"linear{i}")(x)
            # Statistics over the channels of one row, independent of the batch.
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
    """Initialized as PyTorch's; full float32 precision, since the outputs are millimetres."""
    init = torch_uniform(inside)
    return nn.Dense(
        features, kernel_init=init, bias_init=init, precision=jax.lax.Precision.HIGHEST, name=name
    )


def load_priors(path: str | Path | None = None) -> dict:
    """`vae` and `denoiser`: the variables of a PoseVAE and a PalmDenoiser, from a file written by
    scripts/train_priors.py; the default is the one in this package. Raises ValueError if the file
    lacks one of them.

    On sampled hands our auto-encoder has an error of 2.8 mm (4.8 mm with noise), the original's
    7.3 mm (12.9 mm); our palms have an error of 2.9 mm (5.8 mm). Our code is wider: its divergence
    is 7.7 per hand, the original's 0.64.
    """
    path = Path(path) if path else Path(__file__).with_name("pose_prior.npz")
    found = weights.load(path)
    if not {"vae", "denoiser"} <= found.keys():
        raise ValueError(
            f"{path}: holds {', '.join(found)}; expected vae and denoiser, as written by "
            "scripts/train_priors.py"
        )
    return found
