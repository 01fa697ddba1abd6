"""The viewer without a browser: what it computes, what its page does, how it listens, ends and answers mistakes."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax import view
from handjax.data.mesh_files import read_skin
from handjax.figures import hand, mesh, poses, render
from handjax.pose import geometry

viser = pytest.importorskip("viser", reason="viser is not installed: pip install 'handjax[view]'")

START = np.asarray(view.START, np.float32)


@pytest.fixture(scope="module")
def skin():
    return mesh.hand_skin()


def _k():
    return render.crop_intrinsics(jnp.asarray(view.CENTER_XYZ), jnp.asarray(view.WINDOW_MM), view.PIXELS)


def test_what_is_looked_at_is_the_posed_hand(skin):
    seen = {source: jax.device_get(view.look(START, skin, source)) for source in view.SOURCES}
    centers, _ = hand.spheres(jnp.asarray(START))
    away = np.asarray(view.CENTER_XYZ)
    np.testing.assert_allclose(seen["skin"].centers - away, centers, atol=1e-3)
    np.testing.assert_allclose(seen["skin"].joints - away, hand.joints21(jnp.asarray(START)), atol=1e-3)
    np.testing.assert_allclose(seen["skin"].vertices - away, mesh.hand_vertices(skin, jnp.asarray(START)), atol=1e-3)
    skin_depth, ball_depth = (seen[source].depth for source in view.SOURCES)
    both = (skin_depth > 0) & (ball_depth > 0)
    assert both.mean() > 0.1 and both.sum() > 0.8 * (skin_depth > 0).sum()
    assert np.median(np.abs(skin_depth - ball_depth)[both]) < 3


def test_the_depth_image_shows_every_joint_and_nothing_at_its_rim(skin):
    for source in view.SOURCES:
        now = jax.device_get(view.look(START, skin, source))
        u, v, z = np.asarray(geometry.xyz_to_uvd(jnp.asarray(now.joints), _k())).T
        depth = now.depth[np.round(v).astype(int), np.round(u).astype(int)]
        assert np.all(depth > 0) and np.all(depth < z)
        assert not now.depth[[0, -1]].any() and not now.depth[:, [0, -1]].any()


def test_the_hand_is_held_up_as_the_camera_sees_it(skin):
    """Fingers up (y down), a right hand's thumb at the right, the palm to the camera."""
    joints = dict(
        zip(
            ("wrist", "thumb_tip", "middle_tip", "little_tip"),
            view.look(START, skin, "spheres").joints[np.asarray([0, 4, 12, 20])],
            strict=True,
        )
    )
    assert joints["middle_tip"][1] < joints["wrist"][1] - 100
    assert joints["thumb_tip"][0] > joints["wrist"][0] > joints["little_tip"][0]
    bent = START.copy()
    bent[[6 + 4 * finger + 1 for finger in range(4)]] = 1.0
    assert view.look(bent, skin, "spheres").joints[12, 2] < joints["middle_tip"][2] - 20


def test_a_moved_slider_compiles_nothing(skin):
    view.look(START, skin, "skin")
    compiled = view.look._cache_size()
    for i in range(5):
        view.look(START + np.float32(0.1 * i), skin, "skin")
    assert view.look._cache_size() == compiled


def test_depth_is_coloured_from_near_to_far():
    table = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    picture, near, far = view.coloured(np.asarray([[0.0, 500.0], [550.0, 600.0]], np.float32), table)
    assert (near, far) == (500, 600) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[..., 0], [[24, 0], [127, 255]])
    nothing, near, far = view.coloured(np.zeros((2, 2), np.float32), table)
    assert (near, far) == (0, 0) and np.all(nothing == 24)
    assert np.all(view.coloured(np.full((2, 2), 7.0, np.float32), table)[0] == 0)


def test_a_ball_is_round_and_turned_outward():
    points, faces = view.ball()
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1)
    a, b, c = np.moveaxis(points[faces], 1, 0)
    volume = np.sum(a * np.cross(b, c)) / 6
    assert 0.9 < volume / (4 / 3 * np.pi) < 1


NUMBERS = [round(0.1 * i - 1, 1) for i in range(26)]


@pytest.mark.parametrize("between", [" ", ", ", ";", "\n"])
def test_a_pose_is_read(tmp_path, between):
    text = between.join(map(str, NUMBERS))
    (tmp_path / "pose.txt").write_text(f"[{text}]\n")
    np.save(tmp_path / "pose.npy", np.asarray(NUMBERS))
    for given in (text, f"[{text}]", str(tmp_path / "pose.txt"), str(tmp_path / "pose.npy")):
        np.testing.assert_array_equal(view.read_pose(given), np.asarray(NUMBERS, np.float32))


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("1 2 3", "expected 26 finite numbers, got 3"),
        (" ".join(["nan"] * 26), "expected 26 finite numbers"),
        (" ".join(["1e300"] * 26), "expected 26 finite numbers"),
        (" ".join(["0"] * 25 + ["x" * 300]), "could not convert"),
        ("pose.txt", "could not convert string to float: 'pose.txt'"),
        ("objects.npy", "pickle"),
        ("empty.npy", "empty.npy"),
        ("words.npy", "got 26 of <U1"),
        ("binary.txt", "binary.txt"),
    ],
)
def test_what_is_no_pose_is_said(tmp_path, monkeypatch, given, what):
    monkeypatch.chdir(tmp_path)
    np.save("objects.npy", np.asarray([None] * 26), allow_pickle=True)
    np.save("words.npy", np.asarray(["a"] * 26))
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "binary.txt").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match=re.escape(what)) as error:
        view.read_pose(given)
    assert "26 numbers (rad, mm)" in str(error.value)


@pytest.fixture(scope="module")
def page(skin):
    server = viser.ViserServer("127.0.0.1", 0, verbose=False)
    yield view.Page(server, skin, START)
    server.stop()


def test_the_page_has_a_slider_a_number(page):
    assert len(page.sliders) == len(hand.POSE_NAMES) == len(view.REACH)
    assert [slider.value for slider in page.sliders] == pytest.approx(view.START)
    assert (page.sliders[6].min, page.sliders[6].max) == (-1.8, 1.8)
    assert np.fromstring(page.text.value, sep=" ").tolist() == pytest.approx(view.START)


def test_the_page_follows_its_sliders(page):
    page.set_pose(START)
    page.draw()
    before, text, vertices = page.image.image, page.text.value, page.skin_mesh.vertices.copy()
    page.sliders[hand.POSE_NAMES.index("middle_flexion_1")].value = 1.2
    page.draw()
    assert np.any(page.image.image != before) and page.text.value != text
    assert np.abs(page.skin_mesh.vertices - vertices).max() > 20
    np.testing.assert_allclose(
        page.balls.batched_positions, hand.spheres(jnp.asarray(page.pose()))[0] + np.asarray([view.CENTER_XYZ]), atol=1e-3
    )
    assert page.lines.points.shape == (20, 2, 3)
    page.source.value = "spheres"
    skin_image = page.image.image
    page.draw()
    assert np.any(page.image.image != skin_image)
    page.source.value = "skin"


def test_the_page_draws_only_what_has_changed(page, monkeypatch):
    page.draw()
    monkeypatch.setattr(view, "look", None)
    page.draw()


def test_the_page_goes_as_far_as_a_pose(page):
    far = START.copy()
    far[5], far[9] = -34.567, 2.5
    page.set_pose(far)
    np.testing.assert_array_equal(page.pose(), far)
    assert page.sliders[5].min == pytest.approx(-34.57) and page.sliders[9].max == pytest.approx(2.5)
    page.set_pose(START)


@pytest.mark.parametrize("palm", list(view.PALMS))
def test_a_random_pose_is_of_its_mode(page, palm):
    page.mode.value, page.palm.value = "closed", palm
    seen = []
    for _ in range(3):
        page.randomize()
        seen.append(page.pose())
        assert np.all(np.abs(seen[-1][:3]) <= 3.15)
        assert np.all(seen[-1][[7, 11, 15, 19]] > 0.5)  # all fingers bent
    assert np.ptp(seen, axis=0).max() > 0.1
    page.mode.value = view.ALL
    page.randomize()
    assert set(page.mode.options) == {view.ALL, *poses.MODES}


def test_numbers_are_taken_from_the_text_or_refused(page):
    notes = []
    client = SimpleNamespace(add_notification=lambda *args, **kwargs: notes.append(args))
    page.text.value = ", ".join(map(str, NUMBERS))
    page.use_text(client)
    np.testing.assert_array_equal(page.pose(), np.asarray(NUMBERS, np.float32))
    for wrong in ("1 2 3", "/etc/hostname", ""):
        page.text.value = wrong
        page.use_text(client)
    assert len(notes) == 3 and "got 3" in notes[0][1]
    np.testing.assert_array_equal(page.pose(), np.asarray(NUMBERS, np.float32))


def test_what_is_inside_can_be_seen(page):
    page.toggles["spheres"].value, page.toggles["joints"].value = True, False
    page.draw()
    assert page.skin_mesh.visible and page.balls.visible and not page.joints.visible
    assert page.skin_mesh.opacity == 0.3 and page.balls.opacity is None
    page.toggles["skin"].value = page.toggles["spheres"].value = False
    page.draw()
    assert not page.skin_mesh.visible and not page.balls.visible
    page.toggles["skin"].value = True


def test_a_mesh_of_ones_own_takes_the_skins_place(tmp_path, skin):
    """Our own skin, read from a file, is the same hand."""
    np.savez(tmp_path / "all.npz", vertices=skin.vertices, faces=skin.faces, weights=skin.weights, unbind=skin.unbind)
    own = mesh.skin_from(*read_skin(tmp_path / "all.npz", bones=17))
    ours, theirs = (jax.device_get(view.look(START, s, "skin")) for s in (skin, own))
    np.testing.assert_allclose(theirs.vertices, ours.vertices, atol=1e-3)
    np.testing.assert_allclose(theirs.depth, ours.depth, atol=0.1)


def test_the_originals_mesh_is_the_same_hand(real_data, skin):
    own = mesh.skin_from(*read_skin(real_data / "hand" / "preprocessed_hand.pkl", bones=17))
    ours, theirs = (jax.device_get(view.look(START, s, "skin")).depth for s in (skin, own))
    assert np.sum((ours > 0) & (theirs > 0)) / np.sum(ours > 0) > 0.8  # theirs has a forearm, too
    assert np.median(np.abs(ours - theirs)[(ours > 0) & (theirs > 0)]) < 8


def run(*args, code="from handjax import view; from handjax.engine import cli; cli.run(view.main)"):
    return subprocess.run([sys.executable, "-W", "error", "-c", code, *args], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (
            ["--port", "{taken}"],
            "cannot listen on --host 127.0.0.1 --port {taken}: Address already in use",
        ),
        (["--port", "70000"], "--port 70000"),
        (["--port", "0", "--host", "203.0.113.1"], "cannot listen on --host 203.0.113.1"),
        (["--port", "0", "--host", "no.such.host.invalid"], "cannot listen on --host no.such.host.invalid"),
        (["--port", "0", "--pose", "1 2 3"], "--pose 1 2 3: expected 26 finite numbers, got 3 of float64; give"),
        (["--port", "0", "--pose", "none.npy"], "none.npy"),
        (["--port", "0", "--mesh", "none.npz"], "none.npz"),
        (["--prot", "0"], "--prot"),
    ],
)
def test_a_mistake_is_one_line(taken, args, what):
    done = run(*(arg.format(taken=taken) for arg in args))
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and what.format(taken=taken) in line


def test_without_viser_it_says_what_to_install():
    done = run(
        code="import sys; sys.modules['viser'] = None; from handjax import view; from handjax.engine import cli; cli.run(view.main)"
    )
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "pip install 'handjax[view]'" in line


def listening(port: int) -> set[str]:
    """Addresses in hex, as the kernel lists them, on which something listens at `port`."""
    rows = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            with open(table) as file:
                rows += [line.split() for line in file.readlines()[1:]]
    return {local.split(":")[0] for _, local, _, state, *_ in rows if state == "0A" and int(local.split(":")[1], 16) == port}


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="needs Linux's list of listening sockets")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_listens_to_this_machine_alone_and_leaves_quietly(end, tmp_path):
    np.save(tmp_path / "pose.npy", np.asarray(NUMBERS))
    server = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "handjax.view", "--port", "0", "--pose", str(tmp_path / "pose.npy")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = server.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert url, line + server.stderr.read()
        assert listening(int(url[1])) == {"0100007F"}
        with urllib.request.urlopen(url[0], timeout=10) as answer:
            assert answer.status == 200 and b"<html" in answer.read()
        server.send_signal(end)
        rest, errors = server.communicate(timeout=20)
        assert (server.returncode, rest, errors) == (0, "", "")
    finally:
        server.kill()
        server.communicate()
