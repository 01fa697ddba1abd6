"""Initial weights from another run or from a file."""

import runpy

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from handjax.engine import sharding, weights
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.step import create_state, state_target
from handjax.engine.warm_start import warm_start


@pytest.fixture(scope="module")
def fresh(tiny_task):
    """fresh(seed, optimizer, devices) → a state."""

    def make(seed, optimizer=None, devices=2):
        task, optimizer = tiny_task(True), optimizer or optax.adam(1e-3)
        target = state_target(task, optimizer, sharding.make_mesh(devices))
        return create_state(jax.random.key(seed), task, optimizer, target)

    return make


def arrays(state):
    return flatten_dict(jax.device_get({"params": state.params, **state.model_state}), sep="/")


@pytest.fixture(scope="module")
def other(fresh):
    """The last state of another run: with another optimizer, on other devices."""
    state = fresh(1, optax.sgd(0.1), devices=1)
    moved = jax.tree.map(lambda x: x + 1, state.model_state)
    return state.replace(step=state.step + 900, model_state=moved)


@pytest.fixture(params=["run", "file"])
def path(request, other, tmp_path):
    if request.param == "file":
        weights.save(tmp_path / "w.npz", {"params": other.params, **other.model_state})
        return tmp_path / "w.npz"
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    checkpoints.save(other)
    checkpoints.close()
    return tmp_path / "run"


@pytest.mark.slow
def test_weights_are_copied_and_the_rest_is_fresh(fresh, other, path):
    state, said = warm_start(fresh(0), path)
    mine, theirs = arrays(state), arrays(other)
    assert (
        mine.keys() == theirs.keys()
        and f"{len(mine)} of {len(mine)} arrays" in said
        and str(path) in said
    )
    for name, array in mine.items():
        np.testing.assert_array_equal(array, theirs[name])
    assert int(state.step) == 0
    assert all(
        len(leaf.sharding.device_set) == 2
        for leaf in jax.tree.leaves((state.params, state.model_state))
    )
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.device_get(state.opt_state),
        jax.device_get(fresh(0).opt_state),
    )


def test_export_weights_writes_a_run_to_a_file(other, tmp_path, repo, capsys):
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    for step in (3, 900):
        checkpoints.save(other.replace(step=np.int32(step)))
    checkpoints.close()
    main = runpy.run_path(str(repo / "scripts" / "export_weights.py"))["main"]
    run, out = str(tmp_path / "run"), tmp_path / "w.npz"
    main([run, str(out), "--half"])
    assert f"{out}: step 900, 0.0 MB" in capsys.readouterr().out
    found = flatten_dict(weights.load(out), sep="/")
    assert found.keys() == arrays(other).keys()
    for name, array in arrays(other).items():
        np.testing.assert_allclose(found[name], array, rtol=1e-3)
    for flags, said in (
        ([run, str(out)], "exists; remove it"),
        ([run, str(tmp_path / "w")], "ends in .npz"),
        (
            [run, str(tmp_path / "v.npz"), "--checkpoint", "all"],
            "2 checkpoints, but a file holds the weights of one",
        ),
    ):
        with pytest.raises((ValueError, FileExistsError), match=said):
            main(flags)


def test_the_mean_of_runs(other, tmp_path, repo):
    main = runpy.run_path(str(repo / "scripts" / "export_weights.py"))["main"]
    twice = other.replace(params=jax.tree.map(lambda x: 2 * x, other.params))
    for name, state in (("a", other), ("b", twice)):
        checkpoints = Checkpoints(tmp_path / name / "checkpoints")
        checkpoints.save(state.replace(step=np.int32(7)))
        checkpoints.close()
    main([str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "mean.npz")])
    found = flatten_dict(weights.load(tmp_path / "mean.npz"), sep="/")
    for name, array in arrays(other).items():
        factor = 1.5 if name.startswith("params/") else 1.0
        np.testing.assert_allclose(found[name], factor * array, rtol=1e-6)
        assert found[name].dtype == array.dtype


def test_no_mean_of_different_networks(other, tmp_path, repo):
    main = runpy.run_path(str(repo / "scripts" / "export_weights.py"))["main"]
    wider = other.replace(params=jax.tree.map(lambda x: np.stack([x, x]), other.params))
    for name, state in (("a", other), ("b", wider)):
        checkpoints = Checkpoints(tmp_path / name / "checkpoints")
        checkpoints.save(state)
        checkpoints.close()
    with pytest.raises(ValueError, match="b: another network than .*a; expected runs of one conf"):
        main([str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "mean.npz")])
    assert not (tmp_path / "mean.npz").exists()


def test_skipped_arrays_stay_random(fresh, other, tmp_path):
    file = tmp_path / "w.npz"
    weights.save(file, {"params": other.params})
    name = sorted(name for name in arrays(other) if name.startswith("params/"))[0]
    state, said = warm_start(fresh(0), file, skip=[name])
    mine, before, theirs = arrays(state), arrays(fresh(0)), arrays(other)
    for key, array in mine.items():
        own = key == name or not key.startswith("params/")  # statistics: the file has none
        np.testing.assert_array_equal(array, (before if own else theirs)[key])
    assert f"{sum(key.startswith('params/') for key in mine) - 1} of {len(mine)} arrays" in said


def test_unusable_weights_are_explained(fresh, other, tmp_path):
    state = fresh(0)
    file = tmp_path / "w.npz"
    wrong = jax.tree.map(
        lambda x: np.zeros((*x.shape, 2), np.float32), jax.device_get(other.params)
    )
    weights.save(file, {"params": wrong})
    with pytest.raises(ValueError, match=r"params/\S+ is \[.*2\] there .*config.init_skip$"):
        warm_start(state, file)
    weights.save(file, {"params": {"elsewhere": np.zeros(3)}})
    with pytest.raises(
        ValueError,
        match="no parameter matches this network .found params/elsewhere, expected e.g. params/",
    ):
        warm_start(state, file)
    with pytest.raises(
        FileNotFoundError, match="^config.init=.*: no checkpoint there; name the folder of a run"
    ):
        warm_start(state, tmp_path)
    with pytest.raises(FileNotFoundError, match="^config.init=.*no such file of weights"):
        warm_start(state, tmp_path / "none.npz")


def test_heads_of_other_joints_are_named_and_left(fresh, other, tmp_path):
    """Two arrays with three joints more; everything else is taken."""
    file, params = tmp_path / "w.npz", jax.device_get(other.params)
    head = "Dense_1"
    params = {**params, head: {k: np.repeat(v, 2, -1) for k, v in params[head].items()}}
    weights.save(file, {"params": params})
    first = fresh(0)
    state, said = warm_start(first, file)
    mine, before, theirs = arrays(state), arrays(first), arrays(other)
    left = [f"params/{head}/bias", f"params/{head}/kernel"]
    assert said.endswith(f"; at random, for another number of joints: {', '.join(sorted(left))}")
    for key, array in mine.items():
        own = key in left or not key.startswith("params/")
        np.testing.assert_array_equal(array, (before if own else theirs)[key])
    # Arrays that differ by different numbers are of another network.
    params = {**params, head: {**params[head], "bias": np.zeros(5, np.float32)}}
    weights.save(file, {"params": params})
    with pytest.raises(ValueError, match=rf"params/{head}/\S+ is \[.*\] there and .*init_skip$"):
        warm_start(first, file)
