"""The hand in a browser: its 26 numbers on sliders; its skin, spheres and joints in 3D; and its depth image.

    python -m handjax.view [--pose FILE or "26 numbers"] [--mesh FILE] [--port 8080]

The page is served to this machine alone, and neither comes from nor asks for anything in the network. Ctrl-C ends it.
"""

import contextlib
import functools
import io
import ipaddress
import itertools
import math
import os
import queue
import re
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from handjax.data.mesh_files import read_skin
from handjax.engine import cli
from handjax.figures import hand, mesh, poses, render
from handjax.ops import spheres
from handjax.pose import skeleton

# The camera is half a metre and a bit before the hand, as a sensor is, and sees a ball of 300 mm around it.
CENTER_XYZ = (0.0, 0.0, 600.0)
WINDOW_MM = 300.0
PIXELS = 320
SOURCES = ("skin", "spheres")  # what the depth image is of
# A hand held up, its palm to the camera.
START = (3.14, 0.0, 1.57) + (0.0,) * 23
# Ends of the sliders, of palm rotation, palm translation and fingers: those of sphereHand's viewer.
REACH = (3.15,) * 3 + (20.0,) * 3 + (1.8,) * 20
PALMS = {"to the camera": poses.ROTATION_FRONTAL, "anywhere": poses.ROTATION_ANY}
ALL = "any mode"


class Look(NamedTuple):
    """All that is drawn of one pose: camera mm, and mm of depth along z with 0 where nothing is seen."""

    vertices: Float[Array, "v 3"]
    centers: Float[Array, "41 3"]
    joints: Float[Array, "21 3"]
    depth: Float[Array, "h w"]


@functools.partial(jax.jit, static_argnums=(1, 2))
def look(pose: Float[Array, "26"], skin: mesh.Skin, source: str) -> Look:
    """The posed right hand, and its depth image from `source`, one of SOURCES."""
    at = jnp.asarray(CENTER_XYZ)
    centers, radii, joints = render.hand_in_camera(pose, at)
    vertices = mesh.hand_vertices(skin, pose) + at[None]
    k = render.crop_intrinsics(at, jnp.asarray(WINDOW_MM), PIXELS)
    if source == "skin":
        depth, _ = render.mesh_depth(vertices, mesh.right_hand_faces(skin), k, PIXELS, PIXELS, projection="pinhole")
    else:
        depth, _ = spheres.sphere_depth_pinhole(centers, radii, k, PIXELS, PIXELS)
    return Look(vertices, centers, joints, depth)


@functools.partial(jax.jit, static_argnames=("modes", "rotation"))
def random_pose(seed: Int[Array, ""] | int, modes: tuple[str, ...], rotation: poses.Ranges) -> Float[Array, "26"]:
    return poses.sample_pose(jax.random.key(seed), modes=modes, rotation=rotation)


def parse_pose(text: str) -> Float[np.ndarray, "26"]:
    """26 finite numbers, with blanks, commas, semicolons or brackets between them."""
    return check_pose(np.asarray([float(word) for word in re.split(r"[\s,;()\[\]]+", text) if word]))


def read_pose(given: str) -> Float[np.ndarray, "26"]:
    """A pose from a file, .npy or text, or else from what is given itself."""
    try:
        if given.endswith(".npy"):
            with open(given, "rb") as file:
                return check_pose(np.lib.format.read_array(file, allow_pickle=False).ravel())
        return parse_pose(Path(given).read_text() if os.path.isfile(given) else given)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"--pose {given}: no such file; give 26 numbers (rad, mm), or a .npy or text file of them"
        ) from None
    except ValueError as error:
        raise ValueError(f"--pose {given[:100]}: {error}; give 26 numbers (rad, mm), or a .npy or text file of them") from None


def check_pose(values: np.ndarray) -> Float[np.ndarray, "26"]:
    if values.shape != (26,) or values.dtype.kind not in "fiu" or not np.all(np.abs(values) < 1e6):
        raise ValueError(f"expected 26 finite numbers, got {values.size} of {values.dtype}")
    return values.astype(np.float32)


def coloured(depth: Float[np.ndarray, "h w"], table: UInt8[np.ndarray, "256 3"]) -> tuple[np.ndarray, float, float]:
    """Depth as a picture [h, w, 3], from the first to the last colour of `table`, with the mm these stand for."""
    seen = depth > 0
    near, far = (float(depth[seen].min()), float(depth[seen].max())) if seen.any() else (0.0, 0.0)
    shades = np.clip((depth - near) / max(far - near, 1e-6) * 255, 0, 255).astype(np.uint8)
    return np.where(seen[..., None], table[shades], np.uint8(24)), near, far


def ball(rows: int = 12, columns: int = 20) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """A sphere of radius 1 in triangles, by latitude and longitude, outside counter-clockwise."""
    down, around = np.meshgrid(np.linspace(0, np.pi, rows + 1), np.arange(columns) * 2 * np.pi / columns, indexing="ij")
    points = np.stack([np.sin(down) * np.cos(around), np.sin(down) * np.sin(around), np.cos(down)], axis=-1)
    a = np.arange(rows * columns).reshape(rows, columns)
    b = np.roll(a, -1, axis=1)
    faces = np.stack([a, a + columns, b + columns, a, b + columns, b], axis=-1)
    return points.reshape(-1, 3), faces.reshape(-1, 3)


class Page:
    """The page and what it does. Its handlers only note what is to be done; `run` does it and then draws once."""

    def __init__(self, server, skin: mesh.Skin, start: Float[np.ndarray, "26"]):
        from matplotlib import colormaps

        self.skin, self.start, self.drawn, self.seeds = skin, start, None, itertools.count()
        self.todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.table = (colormaps["turbo_r"](np.linspace(0.05, 0.95, 256))[:, :3] * 255).astype(np.uint8)
        self._panel(server.gui)
        self._scene(server)
        self.set_pose(start)
        self.draw()

    def run(self) -> None:
        while True:
            self.todo.get()()
            while not self.todo.empty():
                self.todo.get()()
            self.draw()

    def _later(self, do: Callable[[], None]) -> Callable:
        return lambda _: self.todo.put(do)

    def _panel(self, gui) -> None:
        gui.set_panel_label("handjax")
        gui.configure_theme(show_logo=False, show_share_button=False, dark_mode=True, control_width="medium")
        window = gui.add_panel()  # of its own, so that it stays in sight of all sliders
        window.float(x=15, y=-15, width=PIXELS + 20)
        with window.add_tab("depth image"):
            self.image = gui.add_image(np.zeros((PIXELS, PIXELS, 3), np.uint8), format="png")
            self.legend = gui.add_html("")
            self.source = gui.add_dropdown("depth of", SOURCES)
            self.source.on_update(self._later(lambda: None))
        self.toggles = {name: gui.add_checkbox(name, name == "skin") for name in ("skin", "spheres", "joints")}
        for toggle in self.toggles.values():
            toggle.on_update(self._later(lambda: None))
        self.mode = gui.add_dropdown("fingers", (ALL, *poses.MODES))
        self.palm = gui.add_dropdown("palm", tuple(PALMS))
        gui.add_button("random pose").on_click(self._later(self.randomize))
        gui.add_button("reset").on_click(self._later(lambda: self.set_pose(self.start)))
        self.sliders = []
        for finger, names in itertools.groupby(hand.POSE_NAMES, lambda name: name.split("_")[0]):
            with gui.add_folder(finger, expand_by_default=finger == "palm"):
                for name in names:
                    reach = REACH[len(self.sliders)]
                    self.sliders.append(gui.add_slider(name.removeprefix(finger + "_").replace("_", " "), -reach, reach, 0.01, 0.0))
                    self.sliders[-1].on_update(self._later(lambda: None))
        with gui.add_folder("26 numbers", expand_by_default=False):
            self.text = gui.add_text("rad, mm", "", multiline=True)
            gui.add_button("use these").on_click(lambda event: self.todo.put(lambda: self.use_text(event.client)))
            gui.add_button("print in the terminal").on_click(self._later(lambda: print(self.text.value, flush=True)))

    def _scene(self, server) -> None:
        scene, camera = server.scene, server.initial_camera
        scene.set_up_direction("-y")
        camera.position, camera.look_at, camera.up = (0.0, 0.0, 0.0), CENTER_XYZ, (0.0, -1.0, 0.0)
        camera.fov, camera.near, camera.far = 2 * math.asin(WINDOW_MM / 2 / CENTER_XYZ[2]), 10.0, 10000.0
        scene.configure_default_lights(False)
        scene.add_light_directional("/light", position=(-300.0, -500.0, -700.0), intensity=2.0)
        self.skin_mesh = scene.add_mesh_simple(
            "/skin", self.skin.vertices, mesh.right_hand_faces(self.skin), color=(224, 172, 140), side="double"
        )
        palette = {group: tuple(bytes.fromhex(code[1:])) for group, code in skeleton.COLOURS.items()}
        bones = (hand.HAND.bones[bone].split("_")[0] for bone in hand.HAND.sphere_bones)
        colours = np.asarray([palette.get(bone, palette["palm"]) for bone in bones], np.uint8)
        self.balls = self._balls(scene, "/spheres", np.asarray(hand.HAND.sphere_radii), colours)
        self.bones = skeleton.SKELETONS["hand21"].bones
        groups = np.asarray([palette[group] for group in skeleton.SKELETONS["hand21"].groups], np.uint8)
        self.joints = self._balls(scene, "/joints", np.full(21, 3.5), groups)
        lines = np.repeat(groups[[child for _, child in self.bones]][:, None], 2, axis=1)
        self.lines = scene.add_line_segments("/bones", np.zeros((len(self.bones), 2, 3)), lines, thickness=3.0)

    @staticmethod
    def _balls(scene, name: str, radii: np.ndarray, colours: np.ndarray):
        still = np.broadcast_to([1.0, 0.0, 0.0, 0.0], (len(radii), 4))
        return scene.add_batched_meshes_simple(
            name, *ball(), still, np.zeros((len(radii), 3)), batched_scales=radii, batched_colors=colours, lod="off"
        )

    def pose(self) -> Float[np.ndarray, "26"]:
        return np.asarray([slider.value for slider in self.sliders], np.float32)

    def set_pose(self, pose: Float[Array | np.ndarray, "26"]) -> None:
        """No joint has a limit: a slider gives way to a pose that goes further."""
        for slider, value in zip(self.sliders, np.asarray(pose).tolist(), strict=True):
            slider.min = min(slider.min, math.floor(value * 100) / 100)
            slider.max = max(slider.max, math.ceil(value * 100) / 100)
            slider.value = value

    def randomize(self) -> None:
        modes = poses.ALL_MODES if self.mode.value == ALL else (self.mode.value,)
        pose = np.array(random_pose(next(self.seeds), modes, PALMS[self.palm.value]))
        pose[:3] = (pose[:3] + math.pi) % (2 * math.pi) - math.pi  # the same directions, on the sliders
        self.set_pose(pose)

    def use_text(self, client) -> None:
        try:
            self.set_pose(parse_pose(self.text.value))
        except (ValueError, OSError) as error:
            client.add_notification("Not a pose", str(error), color="red", auto_close_seconds=8)

    def draw(self) -> None:
        pose, shown = self.pose(), {name: toggle.value for name, toggle in self.toggles.items()}
        wanted = (pose.tobytes(), self.source.value, tuple(shown.values()))
        if wanted == self.drawn:
            return
        self.drawn = wanted
        now = jax.device_get(look(pose, self.skin, self.source.value))
        self.skin_mesh.vertices, self.balls.batched_positions, self.joints.batched_positions = now[:3]
        self.lines.points = now.joints[np.asarray(self.bones)]
        self.skin_mesh.visible, self.balls.visible = shown["skin"], shown["spheres"]
        self.joints.visible = self.lines.visible = shown["joints"]
        # What is inside is seen through what is around it.
        self.skin_mesh.opacity = 0.3 if shown["spheres"] or shown["joints"] else None
        self.balls.opacity = 0.3 if shown["joints"] else None
        self.image.image, near, far = coloured(now.depth, self.table)
        ramp = ", ".join(f"rgb{tuple(colour)}" for colour in self.table[::32].tolist())
        self.legend.content = (
            f'<div style="padding:0 1em 0.5em;font-size:0.8em"><div style="height:0.6em;background:linear-gradient(90deg, {ramp})">'
            f'</div><div style="display:flex;justify-content:space-between"><span>{near:.0f} mm</span><span>depth</span>'
            f"<span>{far:.0f} mm</span></div></div>"
        )
        self.text.value = " ".join(f"{value:.6g}" for value in pose.tolist())


def check_port(host: str, port: int) -> None:
    """viser would take the next free port in silence, and with a host that is not ours try a thousand, then wait for ever."""
    if not 0 <= port < 65536:
        raise ValueError(f"--port {port}: expected 0 (a free one) to 65535")
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot listen on --host {host} --port {port}: {error.strerror}; give an address of this machine, or --port 0"
        ) from None


def parser() -> cli.Parser:
    flags = cli.Parser(prog="python -m handjax.view", description=__doc__)
    flags.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine alone)")
    flags.add_argument("--port", type=int, default=8080, help="default 8080; 0: a free one")
    flags.add_argument(
        "--pose", metavar="FILE|NUMBERS", help="26 numbers to begin with, rad and mm, or a .npy or text file of them"
    )
    flags.add_argument("--mesh", type=Path, metavar="FILE", help="a skin of your own: .npz, .obj or sphereHand's .pkl")
    return flags


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    start = np.asarray(START, np.float32) if args.pose is None else read_pose(args.pose)
    check_port(args.host, args.port)
    skin = mesh.hand_skin() if args.mesh is None else mesh.skin_from(*read_skin(args.mesh, bones=len(hand.HAND.bones)))
    try:
        import viser
    except ImportError as error:
        raise ValueError(f"the viewer needs viser ({error}): pip install 'handjax[view]'") from None
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    with contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(args.host, args.port, verbose=False)
    server.request_share_url = lambda: None  # the page may not open a way in from outside
    try:
        if args.port not in (0, server.get_port()):
            raise ValueError(f"--port {args.port} was taken while the viewer started; --port 0 takes a free one")
        page = Page(server, skin, start)
        if not ipaddress.ip_address(socket.getaddrinfo(args.host, None)[0][4][0]).is_loopback:
            print(f"--host {args.host}: whoever reaches this machine can open the page")
        shown = f"[{args.host}]" if ":" in args.host else args.host
        print(f"the hand is at http://{shown}:{server.get_port()} (Ctrl-C ends)", flush=True)
        page.run()
    except KeyboardInterrupt:
        pass
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


if __name__ == "__main__":
    cli.run(main)
