"""The page of the viewer: what its widgets do, and when it is drawn."""

import itertools
import math
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array, Float

from handjax.data.formats.mesh_files import obj_bytes
from handjax.fitting import sphere_network
from handjax.rigs import poses, skinning
from handjax.viewer.actions import ActionQueue
from handjax.viewer.files import DOWNLOADS, depth_png, pose_json
from handjax.viewer.fit import (
    STEPS,
    DepthCamera,
    FitSession,
    LoadedImage,
    ObservedHand,
    from_state,
)
from handjax.viewer.hand import (
    SLIDER_RANGE,
    USUAL,
    PosedHand,
    out_of_range,
    parse_pose,
    posed_hand,
    random_pose,
    side_of,
)
from handjax.viewer.panels import ALL_MODES, PALMS, STARTS, Panels, set_value
from handjax.viewer.playback import Playback
from handjax.viewer.rendering import RenderedHand, faces, render_hand
from handjax.viewer.scene import Scene
from handjax.viewer.text import small

if TYPE_CHECKING:
    import viser

_NEAR_MM = 120.0  # that a played hand moves before the camera follows it
_PATIENCE = "getting ready: compiling takes up to a minute, once"


class Page:
    """The page: `run` executes the queued actions of its widgets and then draws once."""

    def __init__(
        self,
        server: "viser.ViserServer",
        skin: skinning.Skin,
        start: PosedHand,
        center: Float[np.ndarray, "3"],
        camera: DepthCamera,
        network: sphere_network.SphereNetwork | None = None,
        playback: Playback | None = None,
    ):
        self.skin, self.start, self.center, self.network = skin, start, center, network
        self.loaded: LoadedImage | None = None
        self.observation: ObservedHand | None = None  # of `loaded`
        self.fit = FitSession()
        self.drawn: tuple | None = None  # what was drawn last
        self.seeds = itertools.count()
        self.actions = ActionQueue()
        self.panels = Panels(server.gui, camera)
        self._connect()
        self.scene = Scene(server, skin)
        self.scene.look_at(center)
        self.playback = playback
        if playback is not None:
            playback.add_to(self)
        self.reset()
        self.draw()

    # ------------------------------------------------------------ the loop

    def run(self) -> None:
        """Serve the page until the process is interrupted."""
        while True:
            if not self.fit.running and not self._plays():
                self.actions.run_next()
            self.actions.run_pending()
            if self.fit.running:
                self.step()
            elif self.playback is not None and self._plays():
                self.playback.advance(self)
            self.draw()

    def _plays(self) -> bool:
        return self.playback is not None and self.playback.running

    def _connect(self) -> None:
        """Queue what the widgets do."""
        panels, later, later_for = self.panels, self.actions.later, self.actions.later_for
        for handle in panels.drawn_by():
            handle.on_update(later())
        panels.random_pose.on_click(later(self.randomize))
        panels.reset.on_click(later(self.reset))
        panels.usual.on_update(later(self.limit))
        panels.side.on_update(later(self.observe))
        panels.use_text.on_click(later_for(self.use_text))
        panels.print_text.on_click(later(lambda: print(panels.text.value, flush=True)))
        panels.upload.on_upload(later_for(lambda _: self.load_upload()))
        panels.network.on_click(later_for(lambda _: self.ask_network()))
        panels.start.on_update(later(self.restart))
        panels.step.on_click(later_for(lambda _: self.step()))
        panels.run.on_click(later_for(lambda _: self.run_or_stop()))
        for what, button in panels.downloads.items():
            button.on_click(later_for(partial(self.send, what=what)))

    # ------------------------------------------------------------ the hand of the sliders

    def hand(self) -> PosedHand:
        """The hand that the widgets show."""
        panels = self.panels
        rows = (panels.sliders, panels.fingers, panels.thickness)
        pose, fingers, thickness = ([slider.value for slider in row] for row in rows)
        return posed_hand(pose, panels.size.value, fingers, panels.side.value, thickness)

    def show(self, wanted: PosedHand) -> None:
        """Set the widgets; sliders are extended to values outside, since joints have no limits."""
        panels = self.panels
        sliders = (*panels.sliders, panels.size, *panels.fingers, *panels.thickness)
        values = np.concatenate([np.ravel(part) for part in wanted[:4]]).tolist()
        for slider, value in zip(sliders, values, strict=True):
            # Ends are rounded outward to two decimals, up to the error of float32.
            slider.min = min(slider.min, math.floor(value * 100 + 1e-3) / 100)
            slider.max = max(slider.max, math.ceil(value * 100 - 1e-3) / 100)
            set_value(slider, value)
        set_value(panels.side, side_of(wanted))

    def set_pose(self, pose: Float[Array | np.ndarray, "26"]) -> None:
        """Change the pose and keep size and side."""
        self.show(self.hand()._replace(pose=np.asarray(pose, np.float32)))

    def use_text(self, _: Any) -> None:
        """Set the pose to the 26 numbers of the text field."""
        self.set_pose(parse_pose(self.panels.text.value))

    def reset(self) -> None:
        """Back to the hand at the start."""
        self.show(self.start)
        self.limit()

    def randomize(self) -> None:
        """A random pose of the chosen mode and palm."""
        mode = self.panels.mode.value
        modes = poses.ALL_MODES if mode == ALL_MODES else (mode,)
        pose = np.array(random_pose(next(self.seeds), modes, PALMS[self.panels.palm.value]))
        # The same rotation, within the sliders.
        pose[:3] = (pose[:3] + math.pi) % (2 * math.pi) - math.pi
        self.set_pose(pose)

    def limit(self) -> None:
        """Set the sliders' ends: to the usual range, with the fingers clipped to it, or back."""
        now, sliders = self.hand(), self.panels.sliders
        for slider, reach, usual in zip(sliders, SLIDER_RANGE, USUAL, strict=True):
            slider.min, slider.max = usual if usual and self.panels.usual.value else reach
        ends = np.asarray([(slider.min, slider.max) for slider in sliders], np.float32)
        clipped = now._replace(pose=np.clip(now.pose, *ends.T))
        self.show(clipped if self.panels.usual.value else now)

    # ------------------------------------------------------------ a depth image and its fit

    def load_upload(self) -> None:
        """Load the uploaded file with the camera of the panel."""
        uploaded = self.panels.upload.value
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(uploaded.name).name
            path.write_bytes(uploaded.content)
            self.load(path, self.panels.camera())

    def load(self, path: Path, camera: DepthCamera) -> None:
        """Load a depth image and find its hand; on ValueError the image before stays."""
        before, self.loaded = self.loaded, LoadedImage.read(path, camera)
        self.panels.network_on.visible = False
        try:
            self.observe()
        except ValueError as error:
            self.loaded = before
            raise ValueError(f"{path.name}: {error}") from None

    def observe(self) -> None:
        """Find the hand in the loaded image, of the side that is shown, and look at it."""
        if self.loaded is None:
            return
        left = self.panels.side.value == "left"
        if self.playback is not None:  # the tracker says where the hand is
            self.place(self.loaded, ObservedHand.at(self.loaded, left, self.center))
        else:
            self.place(self.loaded, ObservedHand.of(self.loaded, left))

    def place(self, image: LoadedImage, observed: ObservedHand) -> None:
        """Show a depth image and what is around the hand, and look at it where it has moved."""
        self.loaded, self.observation = image, observed
        center = observed.cube.center_xyz
        if not np.array_equal(self.center, center):
            if np.linalg.norm(self.center - center) > _NEAR_MM or self.playback is None:
                self.scene.look_at(center)
            self.center = center
        self.scene.show_points(observed.points)
        self.restart()

    def ask_network(self) -> None:
        """Show the network's spheres and the hand nearest to them, from which a fit starts."""
        cube = self._observed().cube
        if self.network is None:
            if not sphere_network.SHIPPED.exists():
                raise FileNotFoundError(
                    "this installation has no trained network: "
                    "start the viewer with --workdir RUN or --weights NPZ"
                )
            self.network = sphere_network.load()
        self.panels.status.content = small(_PATIENCE)
        centers = self.network(cube.depth)
        self.scene.found.batched_positions = cube.to_camera(centers)
        self.panels.network_on.visible = True
        set_value(self.panels.start, STARTS[1])
        self.restart()
        state = self.fit.tracker.from_centers(centers)
        self.show(from_state(state, self.panels.side.value))

    def restart(self) -> None:
        """The next step is the first of a fit."""
        self.fit.restart()
        self._label_run()
        self.drawn = None

    def run_or_stop(self) -> None:
        """Start fitting step after step, or stop."""
        self._observed()
        self.fit.running = not self.fit.running
        self._label_run()

    def step(self) -> None:
        """One step of the fit, whose hand is then shown."""
        cube = self._observed().cube
        if not self.fit.started:
            self.panels.status.content = small(_PATIENCE)
        start = self.hand() if self.panels.start.value == STARTS[1] else None
        state = self.fit.step(cube, start)
        if state is None:
            self._label_run()
        else:
            self.show(from_state(state, self.panels.side.value))

    def _observed(self) -> ObservedHand:
        if self.observation is None:
            raise ValueError("there is nothing to fit to: load a depth image first")
        return self.observation

    def _label_run(self) -> None:
        self.panels.run.label = "fit: stop" if self.fit.running else "fit: run"

    # ------------------------------------------------------------ drawing

    def draw(self) -> None:
        """Draw the hand if anything has changed."""
        hand, panels = self.hand(), self.panels
        show = {name: toggle.value for name, toggle in panels.toggles.items()}
        wanted = (
            *(part.tobytes() for part in hand),
            *(panels.surface.value, *show.values(), panels.points_on.value),
            *(panels.network_on.value, self.fit.last and self.fit.last.step),
        )
        if wanted == self.drawn:
            return
        self.drawn = wanted
        now = self._render(hand)
        self.scene.draw(now, faces(self.skin, hand), show)
        panels.show_depth(np.asarray(now.depth), self.observation and self.observation.picture)
        self._draw_fit(hand)
        set_value(panels.text, " ".join(f"{value:.6g}" for value in hand.pose.tolist()))
        panels.out_of_range.content = small(out_of_range(hand.pose))

    def rendered(self) -> RenderedHand:
        """The hand as shown, camera mm."""
        return self._render(self.hand())

    def _render(self, hand: PosedHand) -> RenderedHand:
        surface = self.panels.surface.value
        return jax.device_get(render_hand(hand, self.center, self.skin, surface))

    def _draw_fit(self, hand: PosedHand) -> None:
        if self.loaded is None or self.observation is None:
            return
        panels = self.panels
        self.scene.points.visible = panels.points_on.value
        self.scene.found.visible = panels.network_on.visible and panels.network_on.value
        distance, arm = self.fit.surface_distance(self.observation.cube, hand)
        at = ", ".join(f"{value:.0f}" for value in self.center.tolist())
        lines = [
            f"{self.loaded.name}: {len(self.observation.points)} points around {at} mm",
            f"mean surface distance {distance:.2f} mm ({100 * arm:.0f} % is forearm)",
        ]
        if self.fit.last is not None:
            step, _, loss = self.fit.last
            lines += [f"step {step} of {STEPS}, smallest loss {loss:.2f}"]
        panels.status.content = small(*lines)

    # ------------------------------------------------------------ downloads

    def send(self, client: "viser.ClientHandle", what: str) -> None:
        """Download one of DOWNLOADS."""
        client.send_file_download(DOWNLOADS[what], self.file(what), save_immediately=True)

    def file(self, what: str) -> bytes:
        """The content of one of DOWNLOADS, of the hand as shown."""
        hand = self.hand()
        now = self._render(hand)
        if what == "pose":
            return pose_json(hand, self.center, now)
        if what == "depth image":
            return depth_png(np.asarray(now.depth))
        return obj_bytes(np.asarray(now.vertices), faces(self.skin, hand))
