"""Train the two priors of the sphere hand on sampled hands.

    python scripts/train_priors.py [--out FILE.npz] [--force]

These are the auto-encoder of hands and the denoiser of the palm (handjax/models/pose_prior.py). No
hand is drawn twice; scales are 0.8 to 1.0. The code of the auto-encoder has the noise with which
the prior is used later; the original trains without noise. Takes minutes on two cores. The printed
errors are those of held-out hands.
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

from handjax.engine import cli, weights
from handjax.fitting import losses
from handjax.models import pose_prior
from handjax.models.pose_prior import PalmDenoiser, PoseVAE
from handjax.pose.losses import squared_error
from handjax.rigs import hand, poses

OUT = Path(pose_prior.__file__).with_name("pose_prior.npz")
DIVERGENCE = 1e-4  # weight of the code's divergence relative to the reconstruction error
ROUND = 250  # steps per printed line


def hands(key: jax.Array, count: int) -> jax.Array:
    """Sphere centers [count, 41, 3], mm."""
    poses_key, scale_key = random.split(key)
    pose = jax.vmap(poses.sample_pose)(random.split(poses_key, count))
    return hand.spheres(pose, random.uniform(scale_key, (count, 3), minval=0.8, maxval=1.0))[0]


def vae_loss(variables, centers, key):
    reconstructed, mu, logvar = PoseVAE().apply(
        variables, centers, random.normal(key, (len(centers), PoseVAE.latent))
    )
    return losses.pose_prior(centers, reconstructed, mu, logvar, DIVERGENCE).mean()


def denoiser_loss(variables, centers, key):
    noise = random.normal(key, (len(centers), 3 * PalmDenoiser.spheres - pose_prior.PALM))
    return squared_error(
        PalmDenoiser().apply(variables, centers, noise) / 100.0, centers / 100.0
    ).mean()


def error_mm(variables, centers, model, noise=None) -> float:
    """Mean distance of output from input centers; for the denoiser those of the palm."""
    after = model.apply(variables, centers, noise)
    after, before = (
        (after[0], centers)
        if isinstance(model, PoseVAE)
        else (x[:, : pose_prior.PALM] for x in (after, centers))
    )
    return float(jnp.linalg.norm(after - before, axis=-1).mean())


def train(name: str, model, loss: Callable, steps: int, batch: int, seed: int):
    """Adam with a rate that falls from 1e-3 along half a cosine."""
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, steps))
    variables = model.init(random.key(seed), jnp.zeros((1, 41, 3)))

    @partial(jax.jit, donate_argnums=0)
    def train_round(state, step):
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

    state, began = (variables, optimizer.init(variables)), time.monotonic()
    for step in range(0, steps, ROUND):
        state, value = train_round(state, step)
        done, spent = step + ROUND, time.monotonic() - began
        print(
            f"{name} {done}/{steps}  loss {value:.5f}  {spent:.0f} s of about "
            f"{spent / done * steps:.0f}",
            flush=True,
        )
    return state[0]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description="Train the two priors of the sphere hand on sampled hands."
    )
    parser.add_argument(
        "--out", type=cli.path, default=OUT, help="file to write (default: %(default)s)"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=16_000,
        help=f"of each prior, a multiple of {ROUND} (default: %(default)s)",
    )
    parser.add_argument(
        "--batch", type=int, default=128, help="hands per step (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    args = parser.parse_args(argv)
    if args.out.exists() and not args.force:
        parser.error(f"{args.out} exists; choose another --out, or overwrite it with --force")
    if args.out.suffix != ".npz" or not args.out.parent.is_dir():
        parser.error(
            f"--out {args.out}: expected a file name ending in .npz, in a folder that exists"
        )
    if args.steps < ROUND or args.steps % ROUND or args.batch < 1:
        parser.error(
            f"--steps {args.steps} --batch {args.batch}: expected a multiple of {ROUND} steps and "
            "at least one hand"
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
        f"{args.out}: {args.out.stat().st_size:,} bytes. "
        "Mean distance of centers on 4096 held-out hands:"
    )
    for name, model, width in (("vae", PoseVAE(), 32), ("denoiser", PalmDenoiser(), 112)):
        clean, noisy = (
            error_mm(written[name], heldout, model, n) for n in (None, noise[:, :width])
        )
        print(f"  {name}: {clean:.2f} mm, {noisy:.2f} mm with the noise of its training")


if __name__ == "__main__":
    main(sys.argv[1:])
