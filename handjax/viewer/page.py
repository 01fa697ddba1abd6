"""The page of the viewer: the hand on sliders and in 3D, its depth image, and one that is loaded, with the hand that fits it."""

import html
import itertools
import math
import queue
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from handjax.data.formats.depth import DEPTH_FORMATS, read_depth
from handjax.fitting import objective as fitting
from handjax.fitting import tracker
from handjax.rigs import hand, poses
from handjax.rigs import skinning as mesh
from handjax.viewer import hand as shown
from handjax.viewer.hand import Hand, Scene

ALL = "any mode"
PALMS = {"to the camera": poses.ROTATION_FRONTAL, "anywhere": poses.ROTATION_ANY}
FILES = {"pose": "hand.json", "depth image": "hand_depth.png", "mesh": "hand.obj"}
BEGIN = ("all directions", "what is shown")
STEPS = 300  # of a fit
_PATIENCE = "getting ready: what is compiled takes up to a minute, once"


Network = Callable[[Float[np.ndarray, "n n"]], Float[np.ndarray, "41 3"]]  # `tracker.network`


class Camera(NamedTuple):
    """What a depth image was taken with."""

    k: tuple[float, float, float, float] = ()  # fx, fy, cx, cy, px
    unit_mm: float = 1.0  # of the file's numbers
    form: str = "png16"  # one of DEPTH_FORMATS
    range_mm: tuple[float, float] = tracker.RANGE_MM  # where hands are, along z

    def matrix(self) -> Float[np.ndarray, "3 3"]:
        if (
            len(self.k) != 4
            or not np.all(np.abs(self.k) < 1e6)
            or not (self.k[0] > 0 and self.k[1] > 0)
        ):
            raise ValueError(
                f"camera {' '.join(f'{n:g}' for n in self.k) or 'unknown'}: expected fx fy cx cy in px, fx and fy above 0"
            )
        fx, fy, cx, cy = self.k
        return np.asarray([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)


class Loaded(NamedTuple):
    """A depth image."""

    name: str
    depth: Float[np.ndarray, "h w"]  # mm, 0: missing
    camera: Camera


class Page:
    """The page and what it does. Its handlers only note what is to be done; `run` does it and then draws once."""

    def __init__(
        self,
        server,
        skin: mesh.Skin,
        start: Hand,
        center: Float[np.ndarray, "3"],
        camera: Camera,
        network: Network | None = None,
    ):
        from matplotlib import colormaps

        self.skin, self.start, self.center = skin, start, center
        self.loaded: Loaded | None = None
        self.view: tracker.View | None = None  # of `loaded`: its hand's cube
        self.observed = self.picture = (
            None  # of `loaded`: points [p, 3], camera mm, and what `window` sees of it
        )
        self.steps: Iterator[tracker.Step] | None = None  # of a fit that has begun
        self.now_at: tracker.Step | None = None  # the last of them
        self.tracker, self.network, self.wrist = (
            tracker.Tracker(chunk=1),
            network,
            np.zeros(2, np.float32),
        )
        self.fitting, self.drawn, self.seeds = False, None, itertools.count()
        self.todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.table = (colormaps["turbo_r"](np.linspace(0.05, 0.95, 256))[:, :3] * 255).astype(
            np.uint8
        )
        self._panels(server.gui, camera)
        self.scene = Scene(server, skin)
        self.scene.look_at(center)
        self.reset()
        self.draw()

    def run(self) -> None:
        while True:
            if not self.fitting:
                self.todo.get()()
            while not self.todo.empty():
                self.todo.get()()
            if self.fitting:
                self.step()
            self.draw()

    def _later(self, do: Callable[[], None] = lambda: None) -> Callable:
        return lambda _: self.todo.put(do)

    def _later_for(self, do: Callable) -> Callable:
        """`do` gets the client that asked; a mistake is told to it."""

        def handle(event):
            def attempt():
                try:
                    do(event.client)
                except (ValueError, OSError) as error:
                    event.client.add_notification(
                        "This cannot be done", str(error), color="red", auto_close_seconds=10
                    )

            self.todo.put(attempt)

        return handle

    # ------------------------------------------------------------ what is on the page

    def _panels(self, gui, camera: Camera) -> None:
        gui.set_panel_label("handjax")
        gui.configure_theme(
            show_logo=False, show_share_button=False, dark_mode=True, control_width="medium"
        )
        pictures = gui.add_panel()  # of its own, so that it stays in sight of all sliders
        pictures.float(x=15, y=-15, width=270)
        with pictures.add_tab("depth image"):
            self.given = gui.add_image(self._dark(), label="observed", format="png", visible=False)
            self.image = gui.add_image(self._dark(), label="of the hand shown", format="png")
            self.legend = gui.add_html("")
            self.source = gui.add_dropdown("depth of", shown.SOURCES)
        self.toggles = {
            name: gui.add_checkbox(name, name == "skin") for name in ("skin", "spheres", "joints")
        }
        tabs = gui.add_tab_group()
        with tabs.add_tab("pose"):
            self._pose_tab(gui)
        with tabs.add_tab("fit"):
            self._fit_tab(gui, camera)
        with tabs.add_tab("files"):
            self._files_tab(gui)
        for handle in (self.source, *self.toggles.values()):
            handle.on_update(self._later())

    @staticmethod
    def _dark() -> np.ndarray:
        return np.full((shown.PIXELS, shown.PIXELS, 3), 24, np.uint8)

    def _pose_tab(self, gui) -> None:
        self.side = gui.add_dropdown("hand", tuple(shown.SIDES))
        self.mode = gui.add_dropdown(
            "fingers", (ALL, *poses.MODES), hint="what a random pose's fingers do"
        )
        self.palm = gui.add_dropdown("palm", tuple(PALMS), hint="where a random pose's palm looks")
        gui.add_button("random pose").on_click(self._later(self.randomize))
        gui.add_button("reset").on_click(self._later(self.reset))
        self.usual = gui.add_checkbox(
            "usual angles",
            False,
            hint="keeps the fingers to what hands usually do, which the marks at their sliders show",
        )
        self.sliders, numbers = [], zip(hand.POSE_NAMES, shown.REACH, shown.LIMITS, strict=True)
        for finger, members in itertools.groupby(numbers, lambda number: number[0].split("_")[0]):
            with gui.add_folder(finger, expand_by_default=finger == "palm"):
                for name, (low, high), usual in members:
                    label = name.removeprefix(finger + "_").replace("_", " ")
                    marks = usual and tuple((end, f"{end:g}") for end in usual)
                    self.sliders.append(gui.add_slider(label, low, high, 0.01, 0.0, marks=marks))
        with gui.add_folder("size", expand_by_default=False):
            self.size = gui.add_slider(
                "hand",
                *shown.SIZES,
                0.01,
                1.0,
                hint="beside the model's; a finger's is beside the palm's",
            )
            self.fingers = [
                gui.add_slider(finger, *shown.SIZES, 0.01, 1.0) for finger in hand.FINGERS
            ]
        with gui.add_folder("26 numbers", expand_by_default=False):
            self.text = gui.add_text("rad, mm", "", multiline=True)
            gui.add_button("use these").on_click(self._later_for(self.use_text))
            gui.add_button("print in the terminal").on_click(
                self._later(lambda: print(self.text.value, flush=True))
            )
        self.beyond = gui.add_html("")
        self.usual.on_update(self._later(self.limit))
        self.side.on_update(self._later(self.observe))
        for handle in (*self.sliders, self.size, *self.fingers):
            handle.on_update(self._later())

    def _fit_tab(self, gui, camera: Camera) -> None:
        self.upload = gui.add_upload_button("load a depth image", mime_type="image/png")
        self.upload.on_upload(
            self._later_for(
                lambda _: self.load_bytes(self.upload.value.name, self.upload.value.content)
            )
        )
        with gui.add_folder("its camera", expand_by_default=not camera.k):
            self.k = gui.add_text(
                "fx fy cx cy", " ".join(f"{number:g}" for number in camera.k), hint="intrinsics, px"
            )
            self.unit = gui.add_number("mm a unit", camera.unit_mm, hint="what a 1 in the file is")
            self.form = gui.add_dropdown(
                "format", tuple(DEPTH_FORMATS), initial_value=camera.form, hint="nyu: G · 256 + B"
            )
            self.range = gui.add_vector2(
                "hand, mm", camera.range_mm, step=1.0, hint="nearest and furthest along z"
            )
        self.cloud_on = gui.add_checkbox("points", True)
        self.found_on = gui.add_checkbox("network's spheres", True, visible=False)
        gui.add_button(
            "network", hint="the spheres that it sees, and the hand nearest to them"
        ).on_click(self._later_for(lambda _: self.ask_network()))
        self.begin = gui.add_dropdown(
            "begin with", BEGIN, hint="all directions: 24 palms at first, of which the best goes on"
        )
        self.begin.on_update(self._later(self.restart))
        gui.add_button("fit: one step").on_click(self._later_for(lambda _: self.step()))
        self.run_button = gui.add_button("fit: run")
        self.run_button.on_click(self._later_for(lambda _: self.run_or_stop()))
        self.status = gui.add_html("")
        for toggle in (self.cloud_on, self.found_on):
            toggle.on_update(self._later())

    def _files_tab(self, gui) -> None:
        gui.add_markdown(
            "The hand as it is shown. Everything is in mm of the camera: x right, y down, z forward."
        )
        for what, name in FILES.items():
            gui.add_button(f"{what}: {name}").on_click(
                self._later_for(lambda client, what=what: self.send(client, what))
            )

    # ------------------------------------------------------------ what the sliders say

    def hand(self) -> Hand:
        fingers = [slider.value for slider in self.fingers]
        return shown.hand_of(
            [slider.value for slider in self.sliders], self.size.value, fingers, self.side.value
        )

    def show(self, wanted: Hand) -> None:
        """No joint has a limit: a slider gives way to what goes further."""
        sliders = (*self.sliders, self.size, *self.fingers)
        for slider, value in zip(
            sliders, np.concatenate([part.ravel() for part in wanted[:3]]).tolist(), strict=True
        ):
            slider.min = min(
                slider.min, math.floor(value * 100 + 1e-3) / 100
            )  # float32 is no further than its decimals
            slider.max = max(slider.max, math.ceil(value * 100 - 1e-3) / 100)
            slider.value = value
        self.side.value = shown.side_of(wanted)

    def set_pose(self, pose: Float[Array | np.ndarray, "26"]) -> None:
        self.show(self.hand()._replace(pose=np.asarray(pose, np.float32)))

    def use_text(self, _) -> None:
        self.set_pose(shown.parse_pose(self.text.value))

    def reset(self) -> None:
        """As the viewer began."""
        self.show(self.start)
        self.limit()

    def randomize(self) -> None:
        modes = poses.ALL_MODES if self.mode.value == ALL else (self.mode.value,)
        pose = np.array(shown.random_pose(next(self.seeds), modes, PALMS[self.palm.value]))
        pose[:3] = (pose[:3] + math.pi) % (
            2 * math.pi
        ) - math.pi  # the same directions, on the sliders
        self.set_pose(pose)

    def limit(self) -> None:
        """The fingers' sliders end where they do at first or, with `usual`, where hands usually do, and the fingers with them."""
        now = self.hand()
        for slider, reach, usual in zip(self.sliders, shown.REACH, shown.LIMITS, strict=True):
            slider.min, slider.max = usual if usual and self.usual.value else reach
        ends = np.asarray([(slider.min, slider.max) for slider in self.sliders], np.float32)
        self.show(now._replace(pose=np.clip(now.pose, *ends.T)) if self.usual.value else now)

    # ------------------------------------------------------------ a depth image, and the hand that fits it

    def load_bytes(self, name: str, data: bytes) -> None:
        """An uploaded file, with the camera of the panel."""
        try:
            k = tuple(float(word) for word in self.k.value.replace(",", " ").split())
        except ValueError:
            raise ValueError(f"camera {self.k.value!r}: expected fx fy cx cy in px") from None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            path.write_bytes(data)
            self.load(path, Camera(k, self.unit.value, self.form.value, self.range.value))

    def load(self, path: Path, camera: Camera) -> None:
        camera.matrix()  # is one
        depth = read_depth(path, form=camera.form, scale=camera.unit_mm)
        self.found_on.visible = False
        before, self.loaded = self.loaded, Loaded(path.name, depth, camera)
        try:
            self.observe()
        except ValueError as error:
            self.loaded = before
            raise ValueError(f"{path.name}: {error}") from None

    def observe(self) -> None:
        """Finds the hand in what is loaded, and looks there."""
        if self.loaded is None:
            return
        _, depth, camera = self.loaded
        left = self.side.value == "left"
        self.view = tracker.view(depth, camera.matrix(), camera.range_mm, left)
        if not np.array_equal(self.center, self.view.center_xyz):
            self.center = self.view.center_xyz
            self.scene.look_at(self.center)
        self.observed = tracker.to_camera(self.view.points, self.view)
        self.picture = shown.through_window(depth, camera.matrix(), self.center)
        self.scene.show_points(self.observed)
        self.restart()

    def ask_network(self) -> None:
        """Shows the spheres that the network sees and the hand that is nearest to them; a fit goes on from it."""
        self._needs_image()
        if self.network is None:
            if not tracker.SHIPPED.exists():
                raise FileNotFoundError(
                    "no trained network comes with this copy: start the viewer with --workdir RUN or --weights NPZ"
                )
            self.network = tracker.network()
        self.status.content = small(_PATIENCE)
        centers = self.network(self.view.cube_depth)
        self.scene.found.batched_positions = tracker.to_camera(centers, self.view)
        self.found_on.visible, self.begin.value = True, BEGIN[1]
        self.restart()
        self.show(hand_of_fit(self.tracker.from_centers(centers), self.side.value))

    def restart(self) -> None:
        """The next step is a fit's first."""
        self.wrist = np.zeros(2, np.float32)
        self.steps = self.now_at = None
        self._fitting(False)
        self.drawn = None

    def run_or_stop(self) -> None:
        self._needs_image()
        self._fitting(not self.fitting)

    def _fitting(self, running: bool) -> None:
        self.fitting = running
        self.run_button.label = "fit: stop" if running else "fit: run"

    def _needs_image(self) -> None:
        if self.view is None:
            raise ValueError("there is nothing to fit to: load a depth image first")

    def step(self) -> None:
        """One step of the fit, whose hand is then shown."""
        self._needs_image()
        if self.steps is None:
            self.status.content = small(_PATIENCE)
            start = fit_of(self.hand(), self.wrist) if self.begin.value == BEGIN[1] else None
            self.steps = self.tracker.steps(self.view.cube_depth, STEPS, start)
        found = next(self.steps, None)
        if found is None:
            self._fitting(False)
            return
        self.now_at, self.wrist = found, np.asarray(found.fit.wrist)
        self.show(hand_of_fit(found.fit, self.side.value))

    # ------------------------------------------------------------ what is seen

    def draw(self) -> None:
        now_hand, show = self.hand(), {name: toggle.value for name, toggle in self.toggles.items()}
        switches = (self.source.value, *show.values(), self.cloud_on.value, self.found_on.value)
        wanted = (
            *(part.tobytes() for part in now_hand),
            *switches,
            self.now_at and self.now_at.step,
        )
        if wanted == self.drawn:
            return
        self.drawn = wanted
        now = jax.device_get(shown.look(now_hand, self.center, self.skin, self.source.value))
        self.scene.draw(now, shown.faces(self.skin, now_hand), show)
        self._draw_depth(now.depth)
        self._draw_fit()
        self.text.value = " ".join(f"{value:.6g}" for value in now_hand.pose.tolist())
        self.beyond.content = small(shown.beyond(now_hand.pose))

    def _draw_depth(self, depth: Float[np.ndarray, "h w"]) -> None:
        both = depth if self.picture is None else np.concatenate([depth, self.picture])
        seen = both[both > 0]
        near, far = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
        self.image.image = shown.coloured(depth, self.table, near, far)
        if self.picture is not None:
            self.given.image, self.given.visible = (
                shown.coloured(self.picture, self.table, near, far),
                True,
            )
        ramp = ", ".join(f"rgb{tuple(colour)}" for colour in self.table[::32].tolist())
        self.legend.content = (
            f'<div style="padding:0 1em 0.5em;font-size:0.8em"><div style="height:0.6em;background:linear-gradient(90deg, {ramp})">'
            f'</div><div style="display:flex;justify-content:space-between"><span>{near:.0f} mm</span><span>depth</span>'
            f"<span>{far:.0f} mm</span></div></div>"
        )

    def _draw_fit(self) -> None:
        if self.loaded is None:
            return
        self.scene.points.visible = self.cloud_on.value
        self.scene.found.visible = self.found_on.visible and self.found_on.value
        fit = fit_of(self.hand(), self.wrist)
        away, arm = shown.surface_mm(
            self.view.points, self.tracker.spheres(fit), self.tracker.forearm(fit)
        )
        at = ", ".join(f"{value:.0f}" for value in self.center.tolist())
        lines = [f"{self.loaded.name}: {len(self.observed)} points about {at} mm"]
        lines += [f"mean surface distance {away:.2f} mm ({100 * arm:.0f} % is forearm)"]
        if self.now_at is not None:
            lines += [f"step {self.now_at.step} of {STEPS}, least loss {self.now_at.value:.2f}"]
        self.status.content = small(*lines)

    def send(self, client, what: str) -> None:
        client.send_file_download(FILES[what], self.file(what), save_immediately=True)

    def file(self, what: str) -> bytes:
        """One of FILES, of the hand as it is shown."""
        now_hand = self.hand()
        now = jax.device_get(shown.look(now_hand, self.center, self.skin, self.source.value))
        if what == "pose":
            return shown.pose_json(now_hand, self.center, now)
        return (
            shown.depth_png(now.depth)
            if what == "depth image"
            else shown.mesh_obj(now.vertices, shown.faces(self.skin, now_hand))
        )


def fit_of(now: Hand, wrist: Float[np.ndarray, "2"]) -> fitting.Fit:
    """A shown hand as the fitting has it, where all hands are right ones."""
    return fitting.Fit(now.pose, np.log(now.size), np.log(now.fingers), wrist)


def hand_of_fit(found: fitting.Fit, side: str) -> Hand:
    return shown.hand_of(found.pose, np.exp(found.log_size), np.exp(found.log_fingers), side)


def small(*lines: str) -> str:
    text = "<br>".join(html.escape(line) for line in lines if line)
    return text and f'<div style="padding:0 1em 0.5em;font-size:0.8em;opacity:0.85">{text}</div>'
