"""handjax export: untrained runs of every system and the included networks, in all formats."""

import json
import re
import subprocess
import sys
from functools import cache

import jax
import numpy as np
import pytest

from handjax import export, run
from handjax.engine import config as configs
from handjax.engine.checkpoint import Checkpoints
from handjax.exporter import parity
from handjax.exporter.contents import Contents, Port
from handjax.exporter.depth_contents import parallel_rays
from handjax.exporter.graph import OPSET
from handjax.pose import cube
from handjax.pose.skeleton import SKELETONS
from handjax.prediction.predictor import load

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'handjax[export]'")
onnxruntime = pytest.importorskip("onnxruntime")
onnx_file = pytest.importorskip("handjax.exporter.onnx_file")

COMMON = ("config.eval_batch_size=2", "config.devices=1", "config.compile_cache=False")
HELD_OUT = ("config.data.hands.frontal=1.0", "config.data.hands.upright=1.0")
HELD_OUT += (
    "config.data.shares.things=0.0",
    "config.data.shares.second=0.0",
    "config.data.sensors=()",
)
V2V = ("config.model.widths=(2,4,4,4)", "config.task.grid=16", "config.task.heatmap_grid=8")
RGB = ("config.crop.size=32", "config.data.image_size=48", "config.data.supersampling=1")
BODY = ("config.model.width=2", "config.crop.size=(32,32)", "config.data.image_size=48")
RUNS = {
    "v2v": ("v2v.py:quick", *V2V, "config.data.image_size=32", "config.task.decode=centroid"),
    # Hands held out to the camera: of others two places may be as likely, and rounding chooses.
    "v2v_camera": ("v2v.py:camera,quick", *V2V, *HELD_OUT),
    "posenet2d": ("posenet2d.py:quick,dsnt", *RGB, "config.model.widths=(4,4,4,4,4)"),
    "wide": ("posenet2d.py:quick,dsnt", *RGB, "config.model.widths=(16,16,16,16,16)"),
    "cpm": ("cpm.py:quick", *RGB, "config.model.widths=(4,4,4)", "config.task.mirror_left=True"),
    "direct": ("body.py:direct,quick", *BODY, "config.data.supersampling=1"),
    "integral": ("body.py:integral,quick", *BODY, "config.data.supersampling=1"),
    "kinematic": ("body.py:kinematic,quick", *BODY, "config.data.supersampling=1"),
    "spherehand": ("spherehand.py:quick", "config.data.image_size=32", "config.model.width=32"),
}
FLAGS = {"v2v": ("--center", "nearest"), "spherehand": ("--side", "left"), "v2v_camera": ()}


@pytest.fixture(scope="module")
def folder_of(repo, tmp_path_factory):
    """folder_of(name) → an untrained run of RUNS."""

    @cache
    def make(name: str):
        spec, *own = RUNS[name]
        size = ("config.data.eval_size=2",)
        config = configs.load(f"{repo}/configs/{spec}", [*own, *COMMON, *size])
        folder = tmp_path_factory.mktemp(name)
        (folder / "config.json").write_text(configs.to_json(config))
        checkpoints = Checkpoints(folder / "checkpoints")
        checkpoints.save(run.open_run(folder).init_state())
        checkpoints.close()
        return folder

    return make


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def metadata(path):
    return session(path).get_modelmeta().custom_metadata_map


def frames(count=2):
    """Depth of a few slanted fingers before a wall, and the camera."""
    v, u = np.mgrid[:48, :64].astype(np.float32)
    depth = np.full((count, 48, 64), 1500, np.float32)
    for i in range(count):
        for finger in range(5):
            near = np.abs(u - 16 - 7 * finger - i) < 2.5
            depth[i] = np.where(near & (v > 8 + finger) & (v < 40), 420 + v + 3 * i, depth[i])
    k = np.array([[60, 0, 31.5], [0, 60, 23.5], [0, 0, 1]], np.float32)
    return depth, np.tile(k, (count, 1, 1))


def exported_by_command(name, folder, path, form, *more):
    """The command in a process of its own: jaxtyping cannot compare sizes that are symbols."""
    depth = ("--size", "64x48") if name in FLAGS else ()
    command = [sys.executable, "-m", "handjax", "export", str(folder), "--to", form]
    flags = ["--output", str(path), *FLAGS.get(name, ()), *depth, *more]
    return subprocess.run([*command, *flags], capture_output=True, text=True)


def check_parity(done):
    """The command found the joints of handjax, and did not warn."""
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    found = dict(re.findall(r"(\w+) (\d\.\de[+-]\d\d)", done.stdout.partition("handjax on")[2]))
    limits = {"uv": 1e-3, "xyz": 1e-2}
    assert set(found) & set(limits), done.stdout
    assert all(float(found[key]) < limits[key] for key in set(found) & set(limits))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RUNS if name != "wide"])
def test_run_as_onnx(name, folder_of, tmp_path):
    path = tmp_path / "model.onnx"
    check_parity(exported_by_command(name, folder_of(name), path, "onnx"))
    kept = metadata(path)
    assert json.loads(kept["joints"]) == list(load(folder_of(name)).joints)
    assert kept["command"].startswith(f"handjax export {folder_of(name)} --to onnx")


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["posenet2d", "v2v"])
def test_run_as_savedmodel(name, folder_of, tmp_path):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: the extra litert")
    path = tmp_path / "model"
    check_parity(exported_by_command(name, folder_of(name), path, "savedmodel"))
    kept = json.loads((path / "assets.extra/handjax.json").read_text())
    assert kept["joints"] == list(load(folder_of(name)).joints)
    assert [one.name for one in tmp_path.iterdir()] == ["model"]  # nothing is left beside it


@pytest.mark.slow
@pytest.mark.tensorflow
def test_run_as_litert(folder_of, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed: the extra litert")
    path = tmp_path / "model.tflite"
    check_parity(exported_by_command("posenet2d", folder_of("posenet2d"), path, "litert"))
    assert len(json.loads((tmp_path / "model.tflite.json").read_text())["joints"]) == 21
    # It has no convolutions of volumes, and the command says so.
    done = exported_by_command("v2v", folder_of("v2v"), tmp_path / "v2v.tflite", "litert")
    assert done.returncode == 2 and "no counterpart of vhlo.convolution_v1" in done.stderr
    assert not (tmp_path / "v2v.tflite").exists()


@pytest.mark.slow
@pytest.mark.tensorflow
def test_included_hand_network_as_savedmodel(tmp_path):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: the extra litert")
    # TensorFlow, which is older than JAX, reads all of the program.
    done = exported_by_command("v2v_camera", "hand-depth", tmp_path / "model", "savedmodel")
    assert done.returncode == 0 and "warning: " not in done.stderr, done.stderr
    (gap,) = re.findall(r"rendered hands: xyz (\S+) mm", done.stdout)
    assert float(gap) < 0.1


@pytest.mark.slow
@pytest.mark.tensorflow
def test_what_litert_converts_and_cannot_run_is_refused(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed: the extra litert")
    from handjax.exporter.tensorflow_files import write_litert

    def least(depth):  # a scatter of minima in each sample
        return {"uv": jax.vmap(lambda row: row.at[row.astype(int)].min(2.0))(depth)}

    ports = {"depth": Port((4,), np.float32, "mm")}
    contents = Contents("none", "none", SKELETONS["hand21"], ports, {"uv": "px"}, least, least)
    with pytest.raises(ValueError, match="LiteRT cannot run STABLEHLO_SCATTER of this model: use"):
        write_litert(contents, {}, tmp_path / "model.tflite", "float32")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.tensorflow
def test_layers_of_litert_in_8_bits(folder_of, tmp_path):
    interpreter = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="LiteRT is not installed: the extra litert"
    )
    paths = {weights: tmp_path / f"{weights}.tflite" for weights in ("float32", "int8")}
    for weights, path in paths.items():
        flags = ("--weights", weights)
        done = exported_by_command("wide", folder_of("wide"), path, "litert", *flags)
        assert done.returncode == 0, done.stderr
        assert json.loads(path.with_name(f"{path.name}.json").read_text())["weights"] == weights
    assert "mean difference: uv" in done.stdout and "warning" not in done.stderr
    assert paths["int8"].stat().st_size < 0.5 * paths["float32"].stat().st_size
    run_it = interpreter.Interpreter(str(paths["int8"]))
    tensors = {one["index"]: one for one in run_it.get_tensor_details()}
    types = {index: np.dtype(one["dtype"]).name for index, one in tensors.items()}
    nodes = run_it._get_ops_details()
    layers = [node for node in nodes if node["op_name"] == "CONV_2D"]
    kernels = [node["inputs"][1] for node in layers]
    large = [index for index in kernels if tensors[index]["shape"].prod() >= 1024]
    assert len(large) > 10  # the converter leaves small ones as they are
    for index, one in tensors.items():  # what goes from layer to layer, and the geometry
        assert (types[index] == "int8") == (index in large), one["name"]
    for index in large:  # a scale for every output channel
        assert len(tensors[index]["quantization_parameters"]["scales"]) == 16
    runs = [interpreter.Interpreter(str(path)).get_signature_runner() for path in paths.values()]
    full, rounded = (one(**images(1))["uv"] for one in runs)
    assert 0 < np.abs(full - rounded).max() < 1.0
    # It has no convolutions of volumes, in 8 bits neither.
    flags = ("--weights", "int8")
    done = exported_by_command("v2v", folder_of("v2v"), tmp_path / "v2v.tflite", "litert", *flags)
    assert done.returncode == 2 and "no counterpart of vhlo.convolution_v1" in done.stderr


@pytest.fixture(scope="module")
def exported(folder_of, tmp_path_factory):
    """PoseNet2D as ONNX."""
    path = tmp_path_factory.mktemp("exported") / "posenet2d.onnx"
    export.main([str(folder_of("posenet2d")), "--to", "onnx", "--output", str(path)])
    return path


def images(count):
    rng = np.random.default_rng(count)
    box = np.tile(np.array([4, 6, 30, 34], np.float32), (count, 1))
    return {"image": rng.integers(0, 256, (count, 48, 48, 3), np.uint8), "box": box}


@pytest.mark.slow
def test_batches_of_any_size(exported, folder_of):
    network = load(folder_of("posenet2d")).network
    for count in (1, 5):
        given = images(count)
        uv, confidence = session(exported).run(["uv", "confidence"], given)
        assert uv.shape == (count, 21, 2)
        ours = network(given)
        np.testing.assert_allclose(uv, ours["joints_uv"], atol=1e-3)
        np.testing.assert_allclose(confidence, ours["confidence"], atol=1e-5)


def test_file_describes_itself(exported):
    kept = metadata(exported)
    assert kept["handjax"] == "0.1.0" and kept["system"] == "posenet2d"
    assert json.loads(kept["outputs"])["uv"].startswith("px of the image")
    assert json.loads(kept["inputs"])["box"].startswith("left, top, width, height")
    assert len(json.loads(kept["parents"])) == 21
    shapes = {one.name: one.shape for one in session(exported).get_inputs()}
    assert shapes == {"image": ["batch", 48, 48, 3], "box": ["batch", 4]}


def test_what_is_not_finite_stays_visible(exported):
    given = images(2)
    given["box"][1, 0] = np.nan
    uv, _ = session(exported).run(["uv", "confidence"], given)
    assert np.isfinite(uv[0]).all() and np.isnan(uv[1]).all()


def test_half_the_weights(exported, folder_of, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "SMALL", 16)  # the network is tiny
    path = tmp_path / "half.onnx"
    argv = [str(folder_of("posenet2d")), "--to", "onnx", "--output", str(path)]
    export.main([*argv, "--weights", "float16"])
    assert path.stat().st_size < 0.9 * exported.stat().st_size
    full, half = (session(one).run(["uv"], images(2))[0] for one in (exported, path))
    assert 0 < np.abs(full - half).max() < 0.1
    nodes = onnx.load(path).graph.node
    for cast in (node for node in nodes if node.op_type == "Cast" and "_half" in node.input[0]):
        users = [node for node in nodes if cast.output[0] in node.input]
        assert users and all(user.op_type in onnx_file.LAYERS for user in users)  # weights alone


def test_layers_in_8_bits(exported, folder_of, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_file, "SMALL", 16)
    path = tmp_path / "int8.onnx"
    argv = [str(folder_of("posenet2d")), "--to", "onnx", "--output", str(path)]
    export.main([*argv, "--weights", "int8"])
    said, progress = capsys.readouterr()
    assert "calibrating 8 bits on 64 training samples of the run" in progress
    assert progress.startswith(f"reading {argv[0]}") and f"writing {path}" in progress
    assert "from handjax on 2 held-out samples of the run" in said and "mean difference: uv" in said
    full, rounded = (session(one).run(["uv"], images(2))[0] for one in (exported, path))
    assert 0 < np.abs(full - rounded).max() < 1.0
    assert metadata(path)["weights"] == "int8" and metadata(path)["joints"]
    graph = onnx.load(path).graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    kinds = [[makers.get(name) for name in node.input[:2]] for node in graph.node]
    convolutions = [
        kind for node, kind in zip(graph.node, kinds, strict=True) if node.op_type == "Conv"
    ]
    assert convolutions.count(["DequantizeLinear"] * 2) == len(convolutions) > 10
    products = [kind for node, kind in zip(graph.node, kinds, strict=True) if "MatMul" in node.name]
    assert not any("DequantizeLinear" in kind for kind in products)  # the geometry stays as it is


def test_calibration_on_what_is_not_finite(tmp_path):
    int8 = pytest.importorskip("handjax.exporter.int8")
    float_type = onnx.TensorProto.FLOAT
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="layer_0")],
            "one layer",
            [onnx.helper.make_tensor_value_info("x", float_type, ["b", 2, 8])],
            [onnx.helper.make_tensor_value_info("y", float_type, ["b", 4, 6])],
            [onnx.numpy_helper.from_array(np.ones((4, 2, 3), np.float32), "w")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=10,
    )
    values = np.random.default_rng(0).normal(size=(3, 2, 8)).astype(np.float32)
    made = int8.to_int8(model, ["layer_0"], {"x": values})
    exact, rounded = (onnx_file.onnx_function(one)({"x": values})["y"] for one in (model, made))
    assert 0 < np.abs(exact - rounded).max() < 0.1
    values[1] = np.nan  # as of a frame without a hand: the others have the scales
    again = onnx_file.onnx_function(int8.to_int8(model, ["layer_0"], {"x": values}))
    np.testing.assert_allclose(again({"x": values[:1]})["y"], exact[:1], atol=0.1)
    values[:] = np.nan
    with pytest.raises(ValueError, match="8 bits: a layer is finite on none of the inputs"):
        int8.to_int8(model, ["layer_0"], {"x": values})


def test_layers_behind_a_group_normalization_in_8_bits():
    """Whose type onnx does not infer: such a layer could not be calibrated."""
    int8 = pytest.importorskip("handjax.exporter.int8")
    node, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    weights = {"s": np.ones(4), "o": np.zeros(4), "w": np.ones((4, 4, 3)), "c": np.ones(4)}
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                node("GroupNormalization", ["x", "s", "o"], ["n"], num_groups=2),
                node("Relu", ["n"], ["r"]),
                node("Conv", ["r", "w", "c"], ["y"], name="layer_0"),
            ],
            "one layer",
            [value("x", kind, ["b", 4, 8])],
            [value("y", kind, ["b", 4, 6])],
            [array(one.astype(np.float32), name) for name, one in weights.items()],
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=10,
    )
    values = {"x": np.random.default_rng(0).normal(size=(3, 4, 8)).astype(np.float32)}
    exact = onnx_file.onnx_function(model)(values)["y"]
    rounded = onnx_file.onnx_function(int8.to_int8(model, ["layer_0"], values))(values)["y"]
    assert 0 < np.abs(exact - rounded).max() < 0.2


def test_invalid_flags(exported, folder_of, tmp_path):
    run_folder, new = str(folder_of("posenet2d")), str(tmp_path / "new.onnx")
    before = exported.read_bytes()
    for argv, message in (
        (["--to", "onnx", "--output", str(exported)], "is there already: use --overwrite"),
        (["--to", "onnx", "--output", "x.pb"], "expected a file that ends in .onnx"),
        (["--to", "onnx", "--output", new, "--size", "48"], "expected WIDTHxHEIGHT in px"),
        (["--to", "onnx", "--output", new, "--side", "left"], "are for models of depth images"),
        (["--to", "stablehlo", "--output", "x.stablehlo", "--weights", "float16"], "for --to onnx"),
        (["--to", "onnx", "--output", new, "--calibrate", "x"], "is for --to onnx --weights int8"),
        (["--to", "savedmodel", "--output", "x", "--weights", "int8"], "to onnx and litert"),
        (
            ["--to", "litert", "--output", "x.tflite", "--weights", "int8", "--calibrate", "x"],
            "--calibrate is for --to onnx --weights int8",
        ),
        (
            ["--to", "onnx", "--output", new, "--weights", "int8", "--calibrate", "nowhere"],
            "nowhere",
        ),
        (["--to", "litert", "--output", new], "expected a file that ends in .tflite"),
        (["--to", "savedmodel", "--output", new], "expected a folder, without an ending"),
        (["--to", "savedmodel", "--output", str(tmp_path)], "is there already: use --overwrite"),
        (["--to", "savedmodel", "--output", str(tmp_path), "--overwrite"], "not a SavedModel"),
        (["--to", "coreml", "--output", new], "invalid choice"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            export.main([run_folder, *argv])
    assert exported.read_bytes() == before and not (tmp_path / "new.onnx").exists()
    (tmp_path / "x.stablehlo.json").write_text("mine")
    argv = [run_folder, "--to", "stablehlo", "--output", str(tmp_path / "x.stablehlo")]
    with pytest.raises(FileExistsError, match="x.stablehlo.json is there already"):
        export.main(argv)
    with pytest.raises(ValueError, match="invalid choice: 'up'"):
        export.main(["hand-depth", "--to", "onnx", "--output", new, "--side", "up"])


def test_weights_that_are_not_finite_are_refused(folder_of, tmp_path, monkeypatch):
    network = load(folder_of("posenet2d"))
    broken = jax.tree.map(lambda a: a * np.nan, network.network.variables)
    monkeypatch.setattr(export, "load", lambda *_: _with(network, broken))
    with pytest.raises(ValueError, match="is not finite; export another checkpoint"):
        argv = ["--to", "onnx", "--output", str(tmp_path / "x.onnx")]
        export.main([str(folder_of("posenet2d")), *argv])


def _with(predictor, variables):
    import dataclasses

    predictor.network = dataclasses.replace(predictor.network, variables=variables)
    return predictor


def test_differences_see_what_only_one_has():
    a = {"xyz": np.array([1.0, np.nan]), "std": np.ones(2)}
    b = {"xyz": np.array([1.25, np.nan]), "std": np.array([1, np.inf])}
    assert parity.differences(a, b) == {"xyz": 0.25, "std": np.inf}
    assert parity.mean_differences(a, b) == {"xyz": 0.25, "std": np.inf}
    assert parity.beyond({"xyz": 1.0, "uv": 0.0}) == ["xyz"]
    assert not parity.beyond({"xyz": 1.0, "std": 9.0}, parity.ROUNDED)


def test_roundings_that_move_joints_far_are_warned_of(exported, folder_of, monkeypatch, capsys):
    monkeypatch.setattr(parity, "ROUNDED", {"uv": -1.0})
    path = exported.with_name("warned.onnx")
    argv = [str(folder_of("posenet2d")), "--to", "onnx", "--output", str(path)]
    export.main([*argv, "--weights", "float16"])
    assert "warning: joints move far; use --weights float32" in capsys.readouterr().err


def test_parallel_rays_are_those_of_the_host():
    depth, k = frames(1)
    middle = np.array([5.0, 0.0, 440.0], np.float32)
    ours = cube.parallel_rays(depth[0], k[0], middle, 32)
    traced = jax.jit(parallel_rays, static_argnums=3)(depth[0], k[0], middle, 32)
    np.testing.assert_allclose(traced, ours, atol=1e-3)
    assert (ours < cube.BACKGROUND_MM).sum() > 50


@pytest.mark.slow
@pytest.mark.optimized
def test_included_hand_network_on_whole_frames(tmp_path):
    path = tmp_path / "hand.onnx"
    export.main(["hand-depth", "--to", "onnx", "--size", "64x48", "--output", str(path)])
    depth, k = frames(3)
    depth[2] = 0
    run_it = session(path)
    names = [one.name for one in run_it.get_outputs()]
    found = dict(zip(names, run_it.run(None, {"depth": depth, "k": k}), strict=True))
    ours = load("hand-depth")(depth[:2], k[:2])
    np.testing.assert_allclose(found["xyz"][:2], ours.xyz, atol=0.1)
    np.testing.assert_allclose(found["presence"][:2], ours.presence, atol=1e-3)
    assert [("right", "left")[int(one)] for one in found["left"][:2]] == list(ours.side)
    assert np.isnan(found["xyz"][2]).all() and np.isnan(found["presence"][2])


@pytest.mark.slow
def test_stablehlo_is_read_by_jax_alone(folder_of, tmp_path):
    path = tmp_path / "model.stablehlo"
    export.main([str(folder_of("posenet2d")), "--to", "stablehlo", "--output", str(path)])
    kept = json.loads(path.with_name("model.stablehlo.json").read_text())
    assert kept["system"] == "posenet2d" and len(kept["joints"]) == 21
    np.savez(tmp_path / "images.npz", **images(3))
    code = f"""
import jax, numpy as np, sys
program = jax.export.deserialize(bytearray(open({str(path)!r}, "rb").read()))
found = program.call(dict(np.load({str(tmp_path / "images.npz")!r})))
np.save({str(tmp_path / "uv.npy")!r}, found["uv"])
assert "handjax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", "import jax.export\n" + code], check=True)
    ours = load(folder_of("posenet2d")).network(images(3))["joints_uv"]
    np.testing.assert_allclose(np.load(tmp_path / "uv.npy"), ours, atol=1e-3)


def test_example_of_the_docs_runs_without_jax(exported, repo, tmp_path):
    text = (repo / "docs" / "export.md").read_text()
    (code,) = re.findall(r"<!-- test: example -->\n```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 20
    code = code.replace('"runs/hand.onnx"', repr(str(exported)))
    guard = "import sys\nsys.modules['jax'] = sys.modules['handjax'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", guard + code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "wrist" in done.stdout and "px of the image" in done.stdout
