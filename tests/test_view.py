"""The viewer without a browser: rendering, page, files, network address, exit and errors."""

import json
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
from handjax.data.formats.depth import read_depth
from handjax.data.formats.mesh import read_skin
from handjax.fitting import sphere_network
from handjax.pose import pinhole
from handjax.rigs import hand, poses, skinning, spheres
from handjax.viewer import files, fit, panels, rendering
from handjax.viewer import hand as viewer_hand
from handjax.viewer import page as page_module
from handjax.viewer.fit import DepthCamera
from handjax.viewer.hand import SIDES, posed_hand
from handjax.viewer.rendering import SURFACES, render_hand, window

pytestmark = pytest.mark.optimized

viser = pytest.importorskip("viser", reason="viser is not installed: pip install 'handjax[view]'")

START = np.asarray(viewer_hand.START, np.float32)
CENTER = np.asarray(rendering.CENTER_XYZ, np.float32)


@pytest.fixture(scope="module")
def skin():
    return skinning.hand_skin()


def rendered(pose, skin, surface="skin", **rest):
    return jax.device_get(render_hand(posed_hand(pose, **rest), CENTER, skin, surface))


@pytest.mark.slow
def test_rendered_hand_is_the_posed_rig(skin):
    seen = {surface: rendered(START, skin, surface) for surface in SURFACES}
    centers, _ = hand.spheres(jnp.asarray(START))
    away = CENTER
    np.testing.assert_allclose(seen["skin"].centers - away, centers, atol=1e-3)
    np.testing.assert_allclose(
        seen["skin"].joints - away, hand.joints21(jnp.asarray(START)), atol=1e-3
    )
    np.testing.assert_allclose(
        seen["skin"].vertices - away, skinning.hand_vertices(skin, jnp.asarray(START)), atol=1e-3
    )
    skin_depth, ball_depth = (seen[surface].depth for surface in SURFACES)
    both = (skin_depth > 0) & (ball_depth > 0)
    assert both.mean() > 0.1 and both.sum() > 0.8 * (skin_depth > 0).sum()
    assert np.median(np.abs(skin_depth - ball_depth)[both]) < 3


@pytest.mark.slow
def test_depth_image_shows_every_joint_and_an_empty_rim(skin):
    for surface in SURFACES:
        now = rendered(START, skin, surface)
        u, v, z = np.asarray(pinhole.xyz_to_uvd(jnp.asarray(now.joints), window(CENTER))).T
        depth = now.depth[np.round(v).astype(int), np.round(u).astype(int)]
        assert np.all(depth > 0) and np.all(depth < z)
        assert not now.depth[[0, -1]].any() and not now.depth[:, [0, -1]].any()


@pytest.mark.slow
def test_hand_is_held_up_towards_the_camera(skin):
    """Fingers up (y down), a right hand's thumb at the right, the palm to the camera."""
    joints = dict(
        zip(
            ("wrist", "thumb_tip", "middle_tip", "little_tip"),
            rendered(START, skin, "spheres").joints[np.asarray([0, 4, 12, 20])],
            strict=True,
        )
    )
    assert joints["middle_tip"][1] < joints["wrist"][1] - 100
    assert joints["thumb_tip"][0] > joints["wrist"][0] > joints["little_tip"][0]
    bent = START.copy()
    bent[[6 + 4 * finger + 1 for finger in range(4)]] = 1.0
    assert rendered(bent, skin, "spheres").joints[12, 2] < joints["middle_tip"][2] - 20


def test_left_hand_is_the_mirror_image(skin):
    bent = START + np.float32(0.1)
    right, left = (rendered(bent, skin, side=side) for side in SIDES)
    mirror = np.asarray([-1, 1, 1], np.float32)
    np.testing.assert_allclose(
        left.vertices - CENTER, (right.vertices - CENTER) * mirror, atol=1e-3
    )
    np.testing.assert_allclose(left.joints - CENTER, (right.joints - CENTER) * mirror, atol=1e-3)
    away = np.abs(left.depth - right.depth[:, ::-1])
    assert np.mean(away > 0.1) < 1e-3  # two faces may share a pixel of their edge


def test_sizes_of_the_hand_and_its_fingers(skin):
    whole, half, thumb = (
        rendered(START, skin, **size)
        for size in ({}, {"size": 0.5}, {"fingers": (1, 1, 1, 1, 1.2)})
    )
    np.testing.assert_allclose(half.joints - CENTER, (whole.joints - CENTER) / 2, atol=1e-3)
    np.testing.assert_allclose(half.vertices - CENTER, (whole.vertices - CENTER) / 2, atol=1e-3)
    np.testing.assert_allclose(half.radii, whole.radii / 2)
    np.testing.assert_allclose(thumb.joints[5:], whole.joints[5:], atol=1e-3)
    lengths = [np.linalg.norm(seen.joints[4] - seen.joints[1]) for seen in (whole, thumb)]
    assert lengths[1] / lengths[0] == pytest.approx(1.2, abs=1e-3)


def test_usual_range_is_that_of_the_sampler():
    drawn = np.asarray(
        jax.jit(jax.vmap(poses.sample_pose))(jax.random.split(jax.random.key(0), 20_000))
    )[:, 6:]
    low, high = np.asarray(viewer_hand.USUAL[6:]).T
    assert np.all(drawn.min(0) >= low) and np.all(drawn.max(0) <= high)
    assert np.all(np.ptp(drawn, axis=0) > 0.8 * (high - low))
    assert viewer_hand.out_of_range(np.pad(drawn[0], (6, 0))) == ""
    assert (
        viewer_hand.out_of_range(np.eye(26, dtype=np.float32)[25] * 2)
        == "outside the usual range: thumb flexion 3"
    )


def test_moving_a_slider_compiles_nothing(skin):
    rendered(START, skin, "skin")
    compiled = render_hand._cache_size()
    for i in range(5):
        rendered(START + np.float32(0.1 * i), skin)
    assert render_hand._cache_size() == compiled


def test_depth_colours_run_from_near_to_far():
    table = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    picture = rendering.colour_depth(
        np.asarray([[0.0, 500.0], [550.0, 650.0]], np.float32), table, 500.0, 600.0
    )
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[..., 0], [[24, 0], [127, 255]])
    assert np.all(rendering.colour_depth(np.zeros((2, 2), np.float32), table, 0.0, 0.0) == 24)
    assert np.all(rendering.colour_depth(np.full((2, 2), 7.0, np.float32), table, 7.0, 7.0) == 0)


def test_unit_sphere_is_round_and_faces_outward():
    points, faces = spheres.unit_sphere()
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1)
    a, b, c = np.moveaxis(points[faces], 1, 0)
    volume = np.sum(a * np.cross(b, c)) / 6
    assert 0.9 < volume / (4 / 3 * np.pi) < 1


NUMBERS = [round(0.1 * i - 1, 1) for i in range(26)]


@pytest.mark.parametrize("between", [" ", ", ", ";", "\n"])
def test_pose_is_read(tmp_path, between):
    text = between.join(map(str, NUMBERS))
    (tmp_path / "pose.txt").write_text(f"[{text}]\n")
    np.save(tmp_path / "pose.npy", np.asarray(NUMBERS))
    for given in (text, f"[{text}]", str(tmp_path / "pose.txt"), str(tmp_path / "pose.npy")):
        np.testing.assert_array_equal(files.read_pose(given), np.asarray(NUMBERS, np.float32))


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
def test_invalid_pose_is_an_error(tmp_path, monkeypatch, given, what):
    monkeypatch.chdir(tmp_path)
    np.save("objects.npy", np.asarray([None] * 26), allow_pickle=True)
    np.save("words.npy", np.asarray(["a"] * 26))
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "binary.txt").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match=re.escape(what)) as error:
        files.read_pose(given)
    assert "26 numbers (rad, mm)" in str(error.value)


@pytest.fixture(scope="module")
def page(skin):
    server = viser.ViserServer("127.0.0.1", 0, verbose=False)
    yield page_module.Page(server, skin, posed_hand(START), CENTER, DepthCamera())
    server.stop()


def ask(page, do, client):
    """Click a button."""
    page.actions.later_for(do)(SimpleNamespace(client=client))
    page.actions.run_pending()


def test_page_has_one_slider_per_parameter(page):
    assert len(page.panels.sliders) == len(hand.POSE_NAMES) == len(viewer_hand.SLIDER_RANGE)
    assert [slider.value for slider in page.panels.sliders] == pytest.approx(viewer_hand.START)
    assert (page.panels.sliders[6].min, page.panels.sliders[6].max) == (-1.8, 1.8)
    assert np.fromstring(page.panels.text.value, sep=" ").tolist() == pytest.approx(
        viewer_hand.START
    )


@pytest.mark.slow
def test_page_follows_its_sliders(page):
    page.set_pose(START)
    page.draw()
    before, text, vertices = (
        page.panels.depth.image,
        page.panels.text.value,
        page.scene.skin.vertices.copy(),
    )
    page.panels.sliders[hand.POSE_NAMES.index("middle_flexion_1")].value = 1.2
    page.draw()
    assert np.any(page.panels.depth.image != before) and page.panels.text.value != text
    assert np.abs(page.scene.skin.vertices - vertices).max() > 20
    np.testing.assert_allclose(
        page.scene.spheres.batched_positions,
        hand.spheres(jnp.asarray(page.hand().pose))[0] + np.asarray([CENTER]),
        atol=1e-3,
    )
    assert page.scene.bones.points.shape == (20, 2, 3)
    page.panels.surface.value = "spheres"
    skin_image = page.panels.depth.image
    page.draw()
    assert np.any(page.panels.depth.image != skin_image)
    page.panels.surface.value = "skin"


def test_page_draws_only_changes(page, monkeypatch):
    page.draw()
    monkeypatch.setattr(page_module, "render_hand", None)
    page.draw()


def test_sliders_extend_to_a_pose(page):
    far = START.copy()
    far[5], far[9] = -34.567, 2.7
    page.set_pose(far)
    np.testing.assert_array_equal(page.hand().pose, far)
    assert page.panels.sliders[5].min == pytest.approx(-34.57)
    assert page.panels.sliders[9].max == pytest.approx(2.7)
    page.set_pose(START)


@pytest.mark.slow
@pytest.mark.parametrize("palm", list(panels.PALMS))
def test_random_pose_is_of_its_mode(page, palm):
    page.panels.mode.value, page.panels.palm.value = "closed", palm
    seen = []
    for _ in range(3):
        page.randomize()
        seen.append(page.hand().pose)
        assert np.all(np.abs(seen[-1][:3]) <= 3.15)
        assert np.all(seen[-1][[7, 11, 15, 19]] > 0.5)  # all fingers bent
    assert np.ptp(seen, axis=0).max() > 0.1
    page.panels.mode.value = panels.ALL_MODES
    page.randomize()
    assert set(page.panels.mode.options) == {panels.ALL_MODES, *poses.MODES}


def test_text_field_takes_26_numbers(page):
    notes = []
    client = SimpleNamespace(add_notification=lambda *args, **kwargs: notes.append(args))
    page.panels.text.value = ", ".join(map(str, NUMBERS))
    ask(page, page.use_text, client)
    np.testing.assert_array_equal(page.hand().pose, np.asarray(NUMBERS, np.float32))
    for wrong in ("1 2 3", "/etc/hostname", ""):
        page.panels.text.value = wrong
        ask(page, page.use_text, client)
    assert len(notes) == 3 and "got 3" in notes[0][1]
    np.testing.assert_array_equal(page.hand().pose, np.asarray(NUMBERS, np.float32))


def test_usual_angles_limit_the_sliders(page):
    number = hand.POSE_NAMES.index("index_flexion_2")
    odd = START.copy()
    odd[number] = -1.5
    page.set_pose(odd)
    page.draw()
    assert "index flexion 2" in page.panels.out_of_range.content
    page.panels.usual.value = True
    page.limit()
    page.draw()
    assert (page.panels.sliders[number].min, page.panels.sliders[number].max) == viewer_hand.USUAL[
        number
    ]
    assert (
        page.hand().pose[number] == np.float32(viewer_hand.USUAL[number][0])
        and page.panels.out_of_range.content == ""
    )
    np.testing.assert_array_equal(np.delete(page.hand().pose, number), np.delete(START, number))
    page.panels.usual.value = False
    page.limit()
    assert (
        page.panels.sliders[number].min,
        page.panels.sliders[number].max,
    ) == viewer_hand.SLIDER_RANGE[number]
    page.reset()


def test_page_shows_either_hand_of_any_size(page):
    page.reset()
    page.draw()
    before = page.scene.joints.batched_positions.copy()
    page.panels.side.value, page.panels.size.value = "left", 0.8
    page.draw()
    mirror = np.asarray([-0.8, 0.8, 0.8])
    np.testing.assert_allclose(
        page.scene.joints.batched_positions - CENTER, (before - CENTER) * mirror, atol=1e-3
    )
    np.testing.assert_array_equal(page.scene.skin.faces, page.skin.faces)
    page.reset()
    assert (page.panels.side.value, page.panels.size.value) == ("right", 1.0)


@pytest.mark.parametrize("side", list(SIDES))
def test_downloads_hold_the_hand_shown(page, tmp_path, side):
    page.show(posed_hand(NUMBERS, 0.9, (1.1, 1.0, 0.95, 1.05, 0.9), side, (0.77, 0.7)))
    now = jax.device_get(
        render_hand(page.hand(), page.center, page.skin, page.panels.surface.value)
    )
    sent = []
    for what in files.DOWNLOADS:
        page.send(
            SimpleNamespace(send_file_download=lambda *args, **kwargs: sent.append(args)), what
        )
    for name, content in sent:
        (tmp_path / name).write_bytes(content)

    data = json.loads((tmp_path / "hand.json").read_bytes())
    assert data["side"] == side and list(data["pose"]) == list(hand.POSE_NAMES)
    np.testing.assert_allclose(list(data["joints_xyz"].values()), now.joints, rtol=1e-6)
    again, center = files.read_hand(str(tmp_path / "hand.json"), "right")
    for part, other in zip(again, page.hand(), strict=True):
        np.testing.assert_array_equal(part, other)
    np.testing.assert_array_equal(center, page.center)

    depth = read_depth(tmp_path / "hand_depth.png", form="png16")
    np.testing.assert_array_equal(depth, np.rint(now.depth))
    fx, fy, cx, cy = data["depth_image"]["camera"]
    k = np.asarray([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
    np.testing.assert_array_equal(rendering.reproject(depth, k, center), depth)

    mesh = read_skin(tmp_path / "hand.obj", bones=17)  # which checks that faces point outward
    np.testing.assert_allclose(mesh.vertices, now.vertices, atol=1e-3)
    np.testing.assert_array_equal(mesh.faces, rendering.faces(page.skin, page.hand()))
    page.reset()


def test_a_file_from_before_hands_had_a_thickness_is_as_thick_as_the_model(page, tmp_path):
    data = json.loads(page.file("pose"))
    del data["thickness"]
    (tmp_path / "hand.json").write_text(json.dumps(data))
    found, _ = files.read_hand(str(tmp_path / "hand.json"), "right")
    np.testing.assert_array_equal(found.thickness, 1)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"side": "both"}, "KeyError('both')"),
        ({"size": [1.0]}, "expected finite numbers"),
        ({"size": 1e400}, "expected finite numbers"),
        ({"fingers": {}}, "KeyError('index')"),
        ({"thickness": {"palm": 1.0}}, "KeyError('fingers')"),
        ({"center_xyz": [0, 0, 0]}, "at least 200 mm from the camera"),
    ],
)
def test_invalid_hand_file_is_an_error(page, tmp_path, change, what):
    data = json.loads(page.file("pose"))
    (tmp_path / "hand.json").write_text(json.dumps(data | change))
    with pytest.raises(ValueError, match=re.escape(what)):
        files.read_hand(str(tmp_path / "hand.json"), "right")


@pytest.mark.slow
@pytest.mark.parametrize("side", list(SIDES))
def test_hand_shown_is_the_hand_fitted(page, side):
    """Both ways between the page's hand and that of the fit, a right hand in its cube."""
    there = posed_hand(np.asarray(NUMBERS) * 0.3, 0.85, (1.1, 1.0, 0.95, 1.05, 0.9), side)
    state = fit.to_state(there, np.zeros(2, np.float32))
    centers, radii = page.fit.tracker.spheres(state)
    seen = jax.device_get(render_hand(there, CENTER, page.skin, "spheres"))
    np.testing.assert_allclose(
        np.asarray(centers) * [SIDES[side], 1, 1] + CENTER, seen.centers, atol=2e-3
    )
    np.testing.assert_allclose(radii, seen.radii, rtol=1e-5)
    for part, other in zip(fit.from_state(state, side), there, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-6)


@pytest.fixture(scope="module")
def image(skin, tmp_path_factory):
    """A depth image of a left hand off its middle, and its camera."""
    path = tmp_path_factory.mktemp("depth") / "left.png"
    depth = rendered(START, skin, side="left").depth
    path.write_bytes(files.depth_png(np.pad(depth, ((0, 40), (60, 0)))))
    k = np.asarray(window(CENTER))
    return path, DepthCamera(f"{k[0, 0]} {k[1, 1]} {k[0, 2] + 60} {k[1, 2]}")


@pytest.mark.slow
def test_depth_image_is_loaded_and_shown(skin, image):
    path, camera = image
    server = viser.ViserServer("127.0.0.1", 0, verbose=False)
    page = page_module.Page(server, skin, posed_hand(START, side="left"), CENTER, camera)
    try:
        page.load(path, camera)
        page.draw()
        seen = read_depth(path, form="png16") > 0
        vertices = rendered(START, skin, side="left").vertices
        assert np.linalg.norm(page.center - CENTER) < 40
        np.testing.assert_allclose(server.initial_camera.look_at, page.center)
        assert np.all(page.observation.points.min(0) > vertices.min(0) - 2) and np.all(
            page.observation.points.max(0) < vertices.max(0) + 2
        )
        assert len(page.observation.points) == pytest.approx(seen.sum(), rel=0.01)
        shows = np.ptp(page.panels.observed.image.astype(int), axis=-1) > 30
        assert page.panels.observed.visible and shows.sum() == pytest.approx(seen.sum(), rel=0.1)
        # The hand of the image, at its place, lies on the observed points.
        there = START.copy()
        there[3:6] = (CENTER - page.center) * [1, 1, 1]
        page.set_pose(there)
        page.draw()
        assert float(re.search(r"distance ([\d.]+) mm", page.panels.status.content)[1]) < 2.5
        # A network that returns the exact spheres, in the cube, leads back to it.
        state = fit.to_state(page.hand(), np.zeros(2, np.float32))
        centers = np.asarray(page.fit.tracker.spheres(state)[0])
        seen_there = jax.device_get(render_hand(page.hand(), page.center, skin, "skin"))
        cube = page.observation.cube
        page.network = lambda depth: {cube.depth.tobytes(): centers}[depth.tobytes()]
        page.reset()
        page.ask_network()
        page.draw()
        np.testing.assert_allclose(
            page.scene.found.batched_positions, seen_there.centers, atol=1e-3
        )
        assert page.scene.found.visible and page.panels.start.value == panels.STARTS[1]
        again = jax.device_get(render_hand(page.hand(), page.center, skin, "skin"))
        assert np.linalg.norm(again.joints - seen_there.joints, axis=-1).mean() < 6
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"intrinsics": ""}, "camera (nothing): expected FX,FY,CX,CY"),
        ({"intrinsics": "0 1 1 1"}, "camera 0 1 1 1"),
        ({"intrinsics": "0.9 0.9 0.5 0.5"}, "fractions of the picture?"),
        ({"intrinsics": "nyu"}, "camera nyu: its images are 640 x 480 px"),
        ({"form": "nyu"}, "left.png: PNG of 16 bits"),
        ({"range_mm": (100.0, 200.0)}, "left.png: no depth between 100 and 200 mm"),
    ],
)
def test_unusable_depth_image_is_refused(page, image, change, what):
    path, camera = image
    with pytest.raises(ValueError, match=re.escape(what)):
        page.load(path, camera._replace(**change))
    assert page.loaded is None
    notes = []
    ask(
        page,
        lambda _: page.step(),
        SimpleNamespace(add_notification=lambda *args, **kwargs: notes.append(args)),
    )
    assert "load a depth image first" in notes[0][1]


def test_missing_network_names_the_flags(page, image, monkeypatch):
    monkeypatch.setattr(sphere_network, "SHIPPED", image[0].with_name("none.npz"))
    depth = np.full((40, 40), 500.0, np.float32)
    loaded = fit.LoadedImage("depth.png", depth, image[1].read().k, image[1])
    monkeypatch.setattr(page, "observation", fit.ObservedHand.of(loaded, left=False))
    with pytest.raises(FileNotFoundError, match="--workdir RUN or --weights NPZ"):
        page.ask_network()


def test_inner_parts_are_visible(page):
    page.panels.toggles["spheres"].value, page.panels.toggles["joints"].value = True, False
    page.draw()
    assert page.scene.skin.visible and page.scene.spheres.visible and not page.scene.joints.visible
    assert page.scene.skin.opacity == 0.3 and page.scene.spheres.opacity is None
    page.panels.toggles["skin"].value = page.panels.toggles["spheres"].value = False
    page.draw()
    assert not page.scene.skin.visible and not page.scene.spheres.visible
    page.panels.toggles["skin"].value = True


def test_own_mesh_replaces_the_skin(tmp_path, skin):
    """The included skin, read from a file, is the same hand."""
    np.savez(
        tmp_path / "all.npz",
        vertices=skin.vertices,
        faces=skin.faces,
        weights=skin.weights,
        unbind=skin.unbind,
    )
    own = skinning.bind_mesh(*read_skin(tmp_path / "all.npz", bones=17))
    ours, theirs = (rendered(START, s, "skin") for s in (skin, own))
    np.testing.assert_allclose(theirs.vertices, ours.vertices, atol=1e-3)
    np.testing.assert_allclose(theirs.depth, ours.depth, atol=0.1)


def test_original_mesh_is_the_same_hand(real_data, skin):
    own = skinning.bind_mesh(*read_skin(real_data / "hand" / "preprocessed_hand.pkl", bones=17))
    ours, theirs = (rendered(START, s, "skin").depth for s in (skin, own))
    assert np.sum((ours > 0) & (theirs > 0)) / np.sum(ours > 0) > 0.8  # theirs has a forearm, too
    assert np.median(np.abs(ours - theirs)[(ours > 0) & (theirs > 0)]) < 8


RUN = "from handjax import view; from handjax.engine import cli; cli.run(view.main)"


def run(*args, code=RUN):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *args],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "what"),
    [
        (
            ["--port", "{taken}"],
            "cannot listen on --host 127.0.0.1 --port {taken}: Address already in use",
        ),
        (["--port", "70000"], "--port 70000"),
        (["--port", "0", "--host", "203.0.113.1"], "cannot listen on --host 203.0.113.1"),
        (
            ["--port", "0", "--host", "no.such.host.invalid"],
            "cannot listen on --host no.such.host.invalid",
        ),
        (
            ["--port", "0", "--pose", "1 2 3"],
            "--pose 1 2 3: expected 26 finite numbers, got 3 of float64; give",
        ),
        (["--port", "0", "--pose", "none.npy"], "none.npy"),
        (["--port", "0", "--mesh", "none.npz"], "none.npz"),
        (
            ["--port", "0", "--depth", "none.png", "--camera", "500,500,320,240"],
            "none.png: no such file",
        ),
        (["--prot", "0"], "--prot"),
    ],
)
def test_invalid_flag_is_one_line(taken, args, what):
    done = run(*(arg.format(taken=taken) for arg in args))
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and what.format(taken=taken) in line


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["--pose", "none.json"], "none.json: no such file"),
        (["--depth", "none.png"], "--depth none.png: name its camera by --camera FX,FY,CX,CY"),
        (["--camera", "1,1,1"], "camera 1,1,1: expected FX,FY,CX,CY in px"),
        (["--range", "far"], "--range far: expected 2 numbers"),
    ],
)
def test_invalid_flag_is_an_error(args, what):
    with pytest.raises((ValueError, OSError), match=re.escape(what)):
        view.main(args)


@pytest.mark.slow
def test_missing_viser_names_the_extra():
    done = run(code=f"import sys; sys.modules['viser'] = None; {RUN}")
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "pip install 'handjax[view]'" in line


def listening(port: int) -> set[str]:
    """Addresses, in hex as the kernel lists them, on which a process listens at `port`."""
    rows = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            with open(table) as file:
                rows += [line.split() for line in file.readlines()[1:]]
    return {
        local.split(":")[0]
        for _, local, _, state, *_ in rows
        if state == "0A" and int(local.split(":")[1], 16) == port
    }


@pytest.mark.slow
@pytest.mark.skipif(
    not os.path.exists("/proc/net/tcp"), reason="needs Linux's list of listening sockets"
)
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_listens_on_localhost_and_exits_quietly(end, tmp_path):
    np.save(tmp_path / "pose.npy", np.asarray(NUMBERS))
    server = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "handjax.view",
            "--port",
            "0",
            "--pose",
            str(tmp_path / "pose.npy"),
        ],
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
        with pytest.raises(OSError):  # not answered, and no traceback either
            urllib.request.urlopen(urllib.request.Request(url[0], method="HEAD"), timeout=10)
        server.send_signal(end)
        rest, errors = server.communicate(timeout=20)
        said = [line for line in errors.splitlines() if not line.startswith("compiling ")]
        assert (server.returncode, rest, said) == (0, "", [])
    finally:
        server.kill()
        server.communicate()
