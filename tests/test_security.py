"""What keeps a file, a name or a stranger on the network from harm: one guard for each.

What each guard leads to is tested beside the code, as in tests/data/formats and
tests/reports/test_page.py; here, that there is no other way in.
"""

import ast
import dataclasses
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from handjax.engine import weights
from handjax.pose.skeleton import SKELETONS
from handjax.reports.page import turning

ROOT = Path(__file__).resolve().parent.parent
CODE = ("handjax", "scripts", "benchmarks", "configs")
UNPICKLERS = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# The room of all unpickling; the others write pickles, as data sets' originals have them, or catch
# the errors of PyTorch's.
PICKLES = {"handjax/data/formats/unpickle.py", "handjax/data/sets/rhd/fake.py"}
PICKLES |= {"handjax/data/sets/ho3d/fake.py", "scripts/fuzz.py"}
PICKLES |= {"scripts/convert_torch.py"}
# Calls that unpack or decode → the files that may: each looks at sizes first, or at files of ours.
BOUNDED = {
    "np.load": {
        "handjax/engine/weights.py",  # _check_archive
        "handjax/data/formats/mesh.py",  # check_archive
        "handjax/data/formats/predictions_npz.py",  # check_archive
        "handjax/rigs/skinning.py",  # ours
        "handjax/fitting/prior.py",  # ours
    },
    "zipfile.ZipFile": {
        "handjax/data/formats/arrays.py",  # check_archive
        "handjax/data/formats/mesh.py",  # check_archive
        "handjax/data/formats/voxel_grid.py",  # its sizes are compared with those of a grid
        "handjax/data/formats/kinds.py",  # names alone
        "handjax/data/sets/dexycb/raw.py",  # check_archive
    },
    "zlib.decompressobj": {"handjax/data/formats/mat.py"},  # counts as it unpacks
    "gzip.open": {"handjax/data/formats/uvd_text.py"},  # line by line, of limited length
    "scipy.io.loadmat": {"handjax/data/formats/mat.py"},  # bounded(data)
    "cv2.imdecode": {
        "handjax/data/formats/image.py",  # read_header
        "handjax/data/formats/depth.py",  # read_header
        "handjax/data/formats/recording.py",  # read_header
        "handjax/prediction/frames.py",  # read_header
        "handjax/data/preparation/validate.py",  # of samples that image.py or depth.py has read
        "handjax/data/preparation/preview.py",  # ours
        "handjax/exporter/latency.py",  # ours
    },
    "cv2.imread": {"handjax/prediction/common.py", "scripts/overlays.py"},  # ours
    "h5py.File": {
        "handjax/data/formats/voxel_h5.py",  # sizes of tables and grids
        "handjax/data/formats/voxel_h5_writer.py",  # writes
        "handjax/data/formats/mat.py",  # sizes of variables
        "handjax/data/sets/itop/raw.py",  # shapes of tables
        "scripts/fuzz.py",  # damages files
    },
}
NEVER = {"zlib.decompress", "zipfile.ZipFile.extractall", "tarfile.open", "shutil.unpack_archive"}
NEVER |= {"os.system", "os.popen", "Image.open", "PIL.Image.open", "markupsafe.Markup"}


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """(path below the root, syntax tree), without the data sets' fakes, which only write."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name != "fake.py" or "pickle" in path.read_text():
                yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """(what is called as it is written, the call)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_nothing_unpickles_outside_its_room():
    found = set()
    for path, tree in sources(*CODE):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").split(".")[0]}
            else:
                continue
            if names & UNPICKLERS:
                found.add(path)
        for name, call in calls(tree):
            assert keywords(call).get("allow_pickle", "False") == "False", f"{path}: {name}"
            reads = name in ("pickle.load", "pickle.loads", "pickle.Unpickler", "pd.read_pickle")
            assert not reads or path == "handjax/data/formats/unpickle.py", f"{path}: {name}"
    assert found <= PICKLES


def test_weights_of_pytorch_are_read_as_tensors_only():
    found = 0
    for path, tree in sources(*CODE, "tests"):
        for name, call in calls(tree):
            if name == "torch.load":
                found += 1
                assert keywords(call).get("weights_only") == "True", path
    assert found


def test_archives_images_and_hdf5_are_opened_where_sizes_are_checked():
    for path, tree in sources(*CODE):
        for name, _ in calls(tree):
            assert path in BOUNDED.get(name, {path}), f"{path} calls {name}: which bound has it?"
            assert name not in NEVER, f"{path} calls {name}"


def test_text_never_becomes_code_or_a_command():
    """YAML by its safe loader alone, and no shell."""
    for path, tree in sources(*CODE):
        for name, call in calls(tree):
            if name in ("yaml.load", "yaml.load_all"):
                assert "SafeLoader" in ast.unparse(call), path
            assert keywords(call).get("shell", "False") == "False", f"{path}: {name}"


def test_pages_escape_whatever_they_are_given():
    made = 0
    for path, tree in sources("handjax"):
        for name, call in calls(tree):
            if name.endswith("jinja2.Environment"):
                made += 1
                assert keywords(call).get("autoescape") == "True", path
    assert made == 1
    template = (ROOT / "handjax" / "reports" / "page.html").read_text()
    for ours in ("{{ script | safe -}}", "{{ block.data | safe }}"):  # turning.js, and its numbers
        assert template.count(ours) == 1
        template = template.replace(ours, "")
    assert not re.search(r"\|\s*safe|autoescape", template)
    hand = SKELETONS["hand21"]
    evil = dataclasses.replace(hand, palette=("</script>",) * len(hand.joints))
    assert "<" not in turning([("", np.zeros((21, 3)), None)], evil, "").data


def test_nobody_is_told_to_listen_to_the_network():
    """The viewer, and TensorBoard in the docs, on this machine alone."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "scripts").rglob("*")]
    pages += (ROOT / "handjax").rglob("*.py")
    for page in pages:
        if page.is_file() and page.suffix in (".md", ".py", ".sh", ".yaml"):
            assert not re.search(r"--bind_all|\b0\.0\.0\.0\b", page.read_text()), page
    from handjax.view import parser

    assert parser().parse_args([]).host == "127.0.0.1"


def bomb(path, shape, body):
    """An .npz whose array claims a shape."""
    header = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        archive.writestr("params/a.npy", head + body)


def test_weights_that_claim_to_be_huge_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "LARGEST_BYTES", 1 << 20)
    bomb(tmp_path / "unpacks.npz", (1 << 20,), bytes(1 << 22))
    bomb(tmp_path / "claims.npz", (1 << 60,), b"")
    weights.save(tmp_path / "good.npz", {"params": {"a": np.ones(3, np.float32)}})
    with zipfile.ZipFile(tmp_path / "good.npz") as archive:
        content = archive.read("params/a.npy")
    with zipfile.ZipFile(tmp_path / "other.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("params/a.npy", content)
    for name, words in (
        ("unpacks", "expected at most"),
        ("claims", "no weights can be read"),
        ("other", "not compressed by deflate"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            weights.load(tmp_path / f"{name}.npz")
        assert "\n" not in str(caught.value)
    assert weights.load(tmp_path / "good.npz")["params"]["a"].sum() == 3


LISTEN = """
import sys
from handjax.engine import processes
port = sys.argv[1]
processes.join(f"127.0.0.1:{port}", 1, 0, seconds=60)
rows = [line.split() for table in ("tcp", "tcp6") for line in open(f"/proc/net/{table}")][1:]
print({r[1].split(":")[0] for r in rows if r[3] == "0A" and r[1].endswith(f":{int(port):04X}")})
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's list of listening sockets")
def test_processes_on_one_machine_meet_on_its_own_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", LISTEN, str(port)], cwd=ROOT, capture_output=True, text=True
    )
    said = done.stdout.strip().splitlines()[-1:]
    mapped = "0000000000000000FFFF00000100007F"  # 127.0.0.1, as an address of IPv6
    assert said in (["{'0100007F'}"], [f"{{'{mapped}'}}"]), done.stdout + done.stderr
