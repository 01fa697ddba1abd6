"""Trains the sphere hand's two priors on sampled hands and writes them: python scripts/train_priors.py [--out FILE.npz] [--force]

The auto-encoder of hands and the network that mends a palm (handjax/models/pose_prior.py), each on hands that are never twice the
same, of the scales 0.8 to 1.0. The code's noise in training is that of the prior's use; the original trains without any. Minutes
on two cores; the errors it prints are of hands that it was not trained on.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from jax import random

from handjax.engine import weights
from handjax.fitting import losses as fit_losses
from handjax.models import pose_prior
from handjax.models.pose_prior import PalmDenoiser, PoseVAE
from handjax.pose.losses import squared_error
from handjax.rigs import hand, poses

OUT = Path(pose_prior.__file__).with_name("pose_prior.npz")
DIVERGENCE = 1e-4  # weight of the code's divergence beside the reconstruction's mean square
ROUND = 250  # steps between two lines


def hands(key, count: int):
    """Sphere centres [count, 41, 3], mm."""
    poses_key, scale_key = random.split(key)
    pose = jax.vmap(poses.sample_pose)(random.split(poses_key, count))
    return hand.spheres(pose, random.uniform(scale_key, (count, 3), minval=0.8, maxval=1.0))[0]


def vae_loss(variables, centers, key):
    reconstructed, mu, logvar = PoseVAE().apply(
        variables, centers, random.normal(key, (len(centers), PoseVAE.latent))
    )
    return fit_losses.pose_prior(centers, reconstructed, mu, logvar, DIVERGENCE).mean()


def denoiser_loss(variables, centers, key):
    noise = random.normal(key, (len(centers), 3 * PalmDenoiser.spheres - pose_prior.PALM))
    return squared_error(
        PalmDenoiser().apply(variables, centers, noise) / 100.0, centers / 100.0
    ).mean()


def error_mm(variables, centers, model, noise=None) -> float:
    """Mean distance of centres before and after, of the palm's for the denoiser."""
    after = model.apply(variables, centers, noise)
    after, before = (
        (after[0], centers)
        if isinstance(model, PoseVAE)
        else (x[:, : pose_prior.PALM] for x in (after, centers))
    )
    return float(jnp.linalg.norm(after - before, axis=-1).mean())


def train(name: str, model, loss: Callable, steps: int, batch: int, seed: int):
    """Adam from 1e-3 down a half cosine."""
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, steps))
    variables = model.init(random.key(seed), jnp.zeros((1, 41, 3)))

    @partial(jax.jit, donate_argnums=0)
    def some(state, step):
        def one(state, step):
            variables, memory = state
            hands_key, noise_key = random.split(random.fold_in(random.key(seed), step))
            value, gradient = jax.value_and_grad(loss)(
                variables, hands(hands_key, batch), noise_key
            )
            updates, memory = optimizer.update(gradient, memory)
            return (optax.apply_updates(variables, updates), memory), value

        state, values = jax.lax.scan(one, state, step + jnp.arange(ROUND))
        return state, values.mean()

    state, begun = (variables, optimizer.init(variables)), time.monotonic()
    for step in range(0, steps, ROUND):
        state, value = some(state, step)
        done, spent = step + ROUND, time.monotonic() - begun
        print(
            f"{name} {done}/{steps}  loss {value:.5f}  {spent:.0f} s of about {spent / done * steps:.0f}",
            flush=True,
        )
    return state[0]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description="Trains the sphere hand's two priors on sampled hands."
    )
    parser.add_argument(
        "--out", type=Path, default=OUT, help="the file to write (default: %(default)s)"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=16_000,
        help=f"of each, in rounds of {ROUND} (default: %(default)s)",
    )
    parser.add_argument(
        "--batch", type=int, default=128, help="hands a step (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="write over an earlier file")
    args = parser.parse_args(argv)
    if args.out.exists() and not args.force:
        parser.error(f"{args.out} exists; give another --out, or --force to write over it")
    if args.out.suffix != ".npz" or not args.out.parent.is_dir():
        parser.error(
            f"--out {args.out}: expected a file name ending in .npz, in a folder that exists"
        )
    if args.steps < ROUND or args.steps % ROUND or args.batch < 1:
        parser.error(
            f"--steps {args.steps} --batch {args.batch}: expected a multiple of {ROUND} steps and at least one hand"
        )

    vae = train("vae", PoseVAE(), vae_loss, args.steps, args.batch, args.seed)
    denoiser = train(
        "denoiser", PalmDenoiser(), denoiser_loss, args.steps, args.batch, args.seed + 1
    )
    weights.save(args.out, {"vae": vae, "denoiser": denoiser}, half=True)

    written, heldout = (
        pose_prior.load_priors(args.out),
        jax.jit(hands, static_argnums=1)(random.key(args.seed + 2), 4096),
    )
    noise = random.normal(random.key(args.seed), (4096, 112))
    print(
        f"{args.out}: {args.out.stat().st_size:,} bytes. On 4096 hands that were not trained on, mean distance of centres:"
    )
    for name, model, width in (("vae", PoseVAE(), 32), ("denoiser", PalmDenoiser(), 112)):
        clean, noisy = (
            error_mm(written[name], heldout, model, n) for n in (None, noise[:, :width])
        )
        print(f"  {name}: {clean:.2f} mm, {noisy:.2f} mm with the noise of its training")


if __name__ == "__main__":
    main(sys.argv[1:])
