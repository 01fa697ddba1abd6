import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.engine import weights
from handjax.models import pose_prior
from handjax.models.pose_prior import PalmDenoiser, PoseVAE
from handjax.rigs import hand, poses


@pytest.fixture(scope="module")
def hands():
    """Sphere centers of sampled hands, mm."""

    @jax.jit
    def sample(key):
        return hand.spheres(jax.vmap(poses.sample_pose)(jax.random.split(key, 200)), 0.9)[0]

    return sample(jax.random.key(7))


VAE, DENOISE = jax.jit(PoseVAE().apply, static_argnames="method"), jax.jit(PalmDenoiser().apply)


@pytest.fixture(scope="module")
def shipped():
    return pose_prior.load_priors()


@pytest.mark.slow
def test_agrees_with_the_original_with_its_weights(real_data):
    """Reconstruction, mean and variance of the code; the checkpoint is read as tensors only."""
    pytest.importorskip("torch")
    from scripts.convert_torch import convert, read_state

    variables = convert(read_state(real_data / "hand" / "pose_vae.pth"), "pose_vae")
    with np.load(real_data / "hand" / "sphere_hand_16poses.npz", allow_pickle=False) as file:
        oracle = dict(file)
    centers, mu, logvar = VAE(variables, jnp.asarray(oracle["joints_mm"]))
    np.testing.assert_allclose(centers, 100 * oracle["vae_recon"].reshape(16, 41, 3), atol=1e-3)
    np.testing.assert_allclose(mu, oracle["vae_mu"], atol=1e-5)
    np.testing.assert_allclose(logvar, oracle["vae_logvar"], atol=1e-5)
    assert 8 < np.linalg.norm(centers - oracle["joints_mm"], axis=-1).mean() < 11  # its error


@pytest.mark.slow
def test_the_converter_reports_what_does_not_fit(real_data, tmp_path):
    pytest.importorskip("torch")
    from scripts.convert_torch import convert, read_state

    state = read_state(real_data / "hand" / "pose_vae.pth")
    with pytest.raises(ValueError, match="this is no sphere_net: .*missing"):
        convert(state, "sphere_net")
    with pytest.raises(ValueError, match=r"params/mu/bias is \(31,\), expected \(32,\)"):
        convert({**state, "mu.bias": state["mu.bias"][1:]}, "pose_vae")
    (tmp_path / "bad.pth").write_bytes(
        b"cos\nsystem\n(S'true'\ntR."
    )  # a pickle that would run a command
    with pytest.raises(ValueError, match="no PyTorch checkpoint"):
        read_state(tmp_path / "bad.pth")


@pytest.mark.slow
def test_the_converter_command(real_data, tmp_path, capsys):
    pytest.importorskip("torch")
    from scripts.convert_torch import main

    command = ["pose_vae", str(real_data / "hand" / "pose_vae.pth"), str(tmp_path / "vae.npz")]
    main([*command, "--half"])
    assert "22 arrays, 221,883 numbers" in capsys.readouterr().out
    params = weights.load(tmp_path / "vae.npz")["params"]
    assert (
        params["encoder"]["linear1"]["kernel"].shape == (123, 256)
        and params["mu"]["bias"].dtype == np.float32
    )
    for wrong, why in (
        (command, "exists"),
        ([command[0], str(tmp_path / "no.pth"), str(tmp_path / "b.npz")], "No such file"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(wrong)
        assert stop.value.code == 2 and why in capsys.readouterr().err


@pytest.mark.slow
def test_inputs_of_the_denoiser_are_reordered():
    """The released checkpoint and its code order the inputs differently; it stores its order."""
    pytest.importorskip("torch")
    from scripts.convert_torch import convert

    ours = [*range(33, 123), *range(0, 33, 3), *range(1, 33, 3)]
    shuffled = np.random.default_rng(0).permutation(ours)
    rng = np.random.default_rng(1)
    shapes = {"0": (256, 112), "3": (256, 256), "6": (33, 256)}
    state = {
        f"network.{n}.weight": rng.normal(size=s).astype(np.float32) for n, s in shapes.items()
    }
    state |= {f"network.{n}.weight": np.ones(256, np.float32) for n in "14"}
    state |= {f"network.{n}.bias": np.zeros(33 if n == "6" else 256, np.float32) for n in "01346"}
    variables = convert(
        {**state, "input_indices": shuffled, "output_indices": np.arange(33)}, "pose_denoiser"
    )
    kernel = variables["params"]["network"]["linear1"]["kernel"]
    hand123 = rng.normal(size=123)
    np.testing.assert_allclose(
        hand123[ours] @ kernel,
        hand123[shuffled] @ state["network.0.weight"].T,
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.slow
def test_shipped_weights_describe_hands(hands, shipped):
    """Hands are reconstructed, other shapes are not, and a displaced palm is put back."""
    back, mu, logvar = VAE(shipped["vae"], hands)
    assert mu.shape == logvar.shape == (200, 32)
    error = np.linalg.norm(back - hands, axis=-1).mean()
    assert error < 5
    broken = hands.at[:, 11:17].add(
        jnp.asarray([40.0, 0.0, 0.0])[None, None]
    )  # the index finger displaced
    displaced = np.linalg.norm(VAE(shipped["vae"], broken)[0] - broken, axis=-1)[:, 11:17].mean()
    assert displaced > 2.5 * error

    sunk = hands.at[:, : pose_prior.PALM, 2].add(40.0)
    restored = DENOISE(shipped["denoiser"], sunk)
    np.testing.assert_array_equal(restored[:, pose_prior.PALM :], sunk[:, pose_prior.PALM :])
    assert np.linalg.norm(restored - hands, axis=-1)[:, : pose_prior.PALM].mean() < 6


def test_hands_of_a_batch_are_independent(hands, shipped):
    """Normalization is per hand, for batches of any shape."""
    for run, name in ((lambda *a: VAE(*a)[0], "vae"), (DENOISE, "denoiser")):
        whole = run(shipped[name], hands[:6].reshape(2, 3, 41, 3))
        np.testing.assert_allclose(whole[1, 2], run(shipped[name], hands[5]), atol=1e-3)


def test_noise_moves_the_code(hands, shipped):
    quiet, mu, logvar = VAE(shipped["vae"], hands[:4], jnp.zeros((4, 32)))
    np.testing.assert_array_equal(quiet, VAE(shipped["vae"], hands[:4])[0])
    noise = jax.random.normal(jax.random.key(0), (4, 32))
    loud = VAE(shipped["vae"], hands[:4], noise)[0]
    code = mu + 0.1 * jnp.exp(0.5 * logvar) * noise
    np.testing.assert_allclose(loud, VAE(shipped["vae"], code, method="decode"), atol=1e-3)
    assert np.abs(loud - quiet).max() > 1


def test_weights_are_saved_and_loaded(tmp_path):
    tree = {
        "params": {
            "a": {"kernel": np.array([[1.0, 1e-3]], np.float32)},
            "n": np.array([3], np.int32),
        }
    }
    for half, error in ((False, 0), (True, 1e-6)):
        weights.save(tmp_path / "w.npz", tree, half)
        back = weights.load(tmp_path / "w.npz")
        np.testing.assert_allclose(
            back["params"]["a"]["kernel"], tree["params"]["a"]["kernel"], atol=error
        )
        assert (
            back["params"]["a"]["kernel"].dtype == np.float32
            and back["params"]["n"].dtype == np.int32
        )
    with pytest.raises(FileNotFoundError, match="no such file"):
        weights.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="no weights can be read"):
        weights.load(tmp_path / "bad.npz")
    with pytest.raises(ValueError, match="expected vae and denoiser"):
        pose_prior.load_priors(tmp_path / "w.npz")


@pytest.mark.slow
def test_convert_torch_shows_its_help_without_torch(repo):
    script = "import sys; sys.modules['torch'] = None; import runpy; sys.argv = sys.argv[1:]; "
    script += "runpy.run_path(sys.argv[0], run_name='__main__')"
    convert = repo / "scripts" / "convert_torch.py"

    def run(*argv):
        command = [sys.executable, "-c", script, convert, *argv]
        return subprocess.run(command, capture_output=True, text=True)

    done = run("--help")
    assert done.returncode == 0 and "IN.pth" in done.stdout, done.stderr
    done = run("pose_vae", "in.pth", "out.npz")
    assert done.returncode == 2 and "this needs PyTorch" in done.stderr.splitlines()[-1]
