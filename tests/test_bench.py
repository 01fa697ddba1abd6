"""The benchmarks run and report, and reject invalid arguments. Their numbers are not tested."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import bench, networks, onnx_runtimes, rasterizer_gpu, torch_networks, voxel_data
from benchmarks.harness import Effort
from handjax.synthetic import hands
from tests.devices import xla_flags

pytestmark = pytest.mark.slow


@pytest.fixture
def command(repo):
    """command(*arguments) → the finished process."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        env = {**os.environ, "PYTHONPATH": str(repo), "JAX_PLATFORMS": "cpu"}
        env["XLA_FLAGS"] = (
            f"{xla_flags(1)} --xla_backend_optimization_level=0"  # compiled in half the time
        )
        words = [sys.executable, repo / "benchmarks" / "bench.py", *arguments]
        return subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)

    return run


def test_table_and_json(command, tmp_path):
    file = tmp_path / "bench.json"
    done = command("rasterizer", "spheres", "--tiny", "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert (
        "rasterizer: parallel rays, 8 x 8, 2 hands on the CPU" in done.stdout
        and "measuring rasterizer" in done.stderr
    )
    written = json.loads(file.read_text())
    kernels = "none" if os.environ.get("HANDJAX_OPS") == "off" else "cpu"
    assert written["machine"]["matmul_gflops"] > 0 and kernels in written["machine"]["kernels"]
    assert [r["title"].split(",")[0] for r in written["results"]] == ["parallel rays"] * 2 + [
        "pinhole"
    ] * 2 + ["gradient"] + [
        "forward",
        "forward and gradient",
    ]
    for result in written["results"]:
        first, *others = result["rows"]
        assert first["seconds"] > 0 and first["ratio"] == 1
        for row in others:
            assert row["missing"] or row["ratio"] > 0
            assert row["name"] in done.stdout
    again = command("spheres", "--tiny", "--json", str(file))
    assert (
        again.returncode == 2
        and "exists; choose another" in again.stderr
        and json.loads(file.read_text()) == written
    )


def test_networks_against_their_references(command, tmp_path):
    pytest.importorskip("torch")
    file = tmp_path / "bench.json"
    done = command("v2v", "--tiny", "--json", str(file))
    assert done.returncode == 0, done.stderr
    layouts = ["PyTorch", "PyTorch, channels last"]
    peers = layouts + [f"{layout}, memory kept" for layout in layouts]
    inference, step, data = json.loads(file.read_text())["results"]
    for result in (inference, step):
        assert [row["name"] for row in result["rows"]] == ["handjax", *peers]
        assert all(row["seconds"] > 0 for row in result["rows"]) and "GFLOP" in result["notes"][0]
    assert [row["name"] for row in data["rows"]] == ["handjax", "NumPy, sample by sample"]


@pytest.mark.parametrize("name", ["spherehand", "body, integral head", "body, kinematic head"])
def test_reference_has_the_network_s_output_shape(name):
    """So both candidates do the same work."""
    pytest.importorskip("torch")
    net = networks.NETWORKS[name]
    options, x = net.options | net.small, np.zeros((2, *net.small_shape), np.float32)
    model = net.module(**options)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    out = torch_networks.first(jax.eval_shape(model.apply, variables, x))
    reference = torch_networks.TorchReference(
        net.reference, options, x, np.zeros(out.shape, np.float32), threads=1
    )
    for way in torch_networks.WAYS:  # a loss of other shapes warns
        assert np.isfinite(
            [reference.run("inference", way), reference.run("training step", way)]
        ).all()


def test_networks_as_on_a_gpu(monkeypatch):
    """The rows of a GPU, on the CPU: bfloat16 throughout; a PyTorch without CUDA is reported."""
    monkeypatch.setattr(torch_networks, "torch_sees_a_gpu", lambda: False)
    cpu = jax.devices("cpu")[0]
    inference, step = networks.network_on(cpu, "posenet2d", Effort(0.0, 1, True), half=True)
    assert f"bfloat16 on {cpu.device_kind}" in step.title
    ours, theirs = step.runs.values()
    assert np.isfinite(ours()) and "GFLOP" in step.notes({"handjax": 1.0})[0]
    assert "sees no GPU" in theirs or "not installed" in theirs
    for net in networks.NETWORKS.values():
        assert net.module(**net.options, dtype=jnp.bfloat16).dtype == jnp.bfloat16


@pytest.mark.parametrize("half", [False, True])
def test_compiled_reference(monkeypatch, half):
    """What a GPU runs in half precision, and a CPU, without compiling it, which takes a minute."""
    torch = pytest.importorskip("torch")
    compiled, asked = [], []
    monkeypatch.setattr(torch, "compile", lambda net: compiled.append(net) or net)
    net = networks.NETWORKS["v2v"]
    x = np.zeros((2, *net.small_shape), np.float32)
    reference = torch_networks.TorchReference(
        net.reference,
        net.options | net.small,
        x,
        np.zeros((2, 8, 8, 8, 21), np.float32),
        1,
        "cpu",
        True,
        half,
    )
    way = torch_networks.COMPILED_HALF if half else torch_networks.COMPILED
    layer = next(layer for layer in compiled[0].modules() if isinstance(layer, torch.nn.Conv3d))
    layer.register_forward_hook(lambda layer, inputs, out: asked.append((out.dtype, inputs[0])))
    for kind in torch_networks.KINDS:
        assert np.isfinite(reference.run(kind, way))
    assert len(compiled) == 1 and len(asked) == 2
    for dtype, inputs in asked:
        assert dtype == (torch.bfloat16 if half else torch.float32) and inputs.is_contiguous(
            memory_format=torch.channels_last_3d
        )


@pytest.mark.parametrize("runtime", onnx_runtimes.RUNTIMES)
def test_runtimes_compute_the_network(runtime):
    """So they do the same work."""
    pytest.importorskip("onnx")
    pytest.importorskip(runtime)
    net = networks.NETWORKS["posenet2d"]
    x = np.random.default_rng(0).random((2, *net.small_shape)).astype(np.float32)
    model = net.module(**net.options | net.small)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.asarray(x))
    infer = partial(networks.first_of, model, variables)
    run = onnx_runtimes.runner(runtime, onnx_runtimes.file_of(infer, x), x, 1)
    np.testing.assert_allclose(run(), infer(jnp.asarray(x)), atol=1e-5)


def test_strongest_peers_take_part(monkeypatch):
    """Each in a process of its own, without compiling PyTorch's."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(networks, "torch_runs", lambda *_: {k: {} for k in torch_networks.KINDS})
    cpu, effort = jax.devices("cpu")[0], Effort(0.0, 1, True, strongest=True, samples=1)
    inference, step = networks.network_on(cpu, "spherehand", effort, half=False)
    assert inference.title.endswith("batch 1") and list(step.runs) == ["handjax"]
    assert list(inference.runs) == ["handjax", *onnx_runtimes.RUNTIMES]
    ours, *theirs = (run for run in inference.runs.values() if callable(run))
    for run in theirs:
        np.testing.assert_allclose(run(), np.float64(ours()).sum(), rtol=1e-4)


def test_voxels_by_numpy_equal_ours():
    """So both candidates do the same work."""
    sample = jax.jit(lambda key: hands.depth_sample(key, image_size=32))(jax.random.key(0))
    matrix, shift = np.diag(np.float32([0.9, 0.9, 1.0])), np.float32([1.0, -0.5, 0.25])
    theirs = voxel_data.voxels_in_numpy(
        (matrix, shift), {name: np.asarray(value) for name, value in sample.items()}, 16
    )
    ours = jax.jit(
        lambda sample: voxel_data.voxels_in_jax(
            (jnp.asarray(matrix), jnp.asarray(shift)), sample, 16
        )
    )(sample)
    assert (
        theirs[0].sum() > 20 and (ours[0] != theirs[0]).mean() < 1e-3
    )  # points on the border of two cells
    np.testing.assert_allclose(ours[1], np.moveaxis(theirs[1], 0, -1), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("nonsense",), "nonsense: expected one of rasterizer"),
        (("--seconds", "0"), "--seconds 0: expected more than 0"),
        (("--json", "/nowhere/x.json"), "there is no folder /nowhere"),
    ],
)
def test_invalid_arguments_print_one_line(capsys, arguments, what):
    with pytest.raises(SystemExit) as ended:
        bench.main([*arguments])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and what in said.splitlines()[-1]
    assert "Traceback" not in said


def test_naive_kernel_compiles_and_lowers():
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc to compile benchmarks/naive_rasterizer.cu")
    draw = rasterizer_gpu.naive_rasterizer()
    assert callable(draw), draw
    program = jax.jit(lambda screen: draw(screen, np.zeros((5, 3), np.int32), 16, 24))
    lowered = program.trace(jnp.zeros((2, 7, 4))).lower(lowering_platforms=("cuda",)).as_text()
    assert "naive_rasterizer" in lowered and "tensor<2x16x24xf32>" in lowered
