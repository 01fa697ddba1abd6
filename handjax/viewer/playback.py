"""Depth frames in the viewer: played, followed by the tracker, corrected on the sliders and kept.

The tracker is the hand network, whose joints are then weighed against the depth.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from handjax.data.cameras import Camera
from handjax.fitting.depth_cube import CubeFrame
from handjax.fitting.depth_fitter import SeenJoints, weigh
from handjax.fitting.hand_build import SeenBuild
from handjax.pose.skeleton import SKELETONS
from handjax.prediction.frames import Frame, FrameSource
from handjax.prediction.hand_depth import HandDepthPredictor
from handjax.viewer.fit import DepthCamera, LoadedImage, ObservedHand, from_state
from handjax.viewer.hand import PosedHand
from handjax.viewer.kept_frames import KeptFrames
from handjax.viewer.panels import STARTS, set_value
from handjax.viewer.text import small

if TYPE_CHECKING:
    import handjax.viewer.page

_UNSURE_MM = 12.0  # deviation of a joint above which it is named
_JOINTS = SKELETONS["hand21"].joints


class TrackedHand(NamedTuple):
    """The hand of a frame, in the viewer's parameters."""

    hand: PosedHand
    side: str
    center: Float[np.ndarray, "3"]  # its origin, camera mm
    joints: Float[np.ndarray, "21 3"]  # hand21, camera mm
    std: Float[np.ndarray, "21"]  # deviation of its joints along an axis, mm
    covariance: Float[np.ndarray, "21 3 3"]  # of each joint, mm²
    presence: float


class HandTracker:
    """The hand of one depth image after another."""

    def __init__(self, predictor: HandDepthPredictor):
        self.predictor = predictor
        self.restart()

    def restart(self) -> None:
        """Forget the frames so far: the next one does not follow on them."""
        self.follower = self.predictor.follower(hands=1)
        self.last: tuple[str, np.ndarray] | None = None  # side and joints, of the frame before
        self.build = SeenBuild()

    def __call__(self, image: LoadedImage) -> TrackedHand | None:
        """The hand in the image, or None if none is found or followed."""
        hands = self.follower.next_hands(image.depth, image.k)
        if not hands:
            self.last, self.build = None, SeenBuild()
            return None
        found = hands[0]
        side = "left" if float(found.side) < 0 else "right"
        frame = CubeFrame(np.asarray(found.center), side == "left")
        seen = SeenJoints(np.asarray(found.joints), np.asarray(found.std), image.depth, image.k)
        before = self.last[1] if self.last and self.last[0] == side else None
        self.build = self.build if before is not None else SeenBuild()
        weighed = weigh(seen, frame, before, build=self.build.known())
        if weighed.fit.holds:
            self.build = self.build.after(weighed.fit.state)
        self.last = side, weighed.joints
        hand = from_state(weighed.fit.state, side)
        doubt = weighed.joints, weighed.std, weighed.covariance
        return TrackedHand(hand, side, frame.center_xyz, *doubt, float(found.presence))


class Playback:
    """The tab "play": the frames of a source by number, and what is done with each."""

    def __init__(
        self,
        source: FrameSource,
        camera: Camera | None,
        tracker: HandTracker,
        kept: KeptFrames | None = None,
    ):
        """`camera`: of frames that do not know theirs; `kept`: where corrected hands go."""
        self.source, self.camera, self.tracker, self.kept = source, camera, tracker, kept
        self.total = source.total or sum(1 for _ in source.frames())
        self.number = -1  # of the frame that is shown
        self.running = self.found = False  # found: whether its hand was
        self._frames = source.frames()
        self._next = 0  # the number of the frame that `_frames` gives next

    # ------------------------------------------------------------ widgets

    def add_to(self, page: "handjax.viewer.page.Page") -> None:
        """The tab, and what its widgets do."""
        gui, later, later_for = page.scene.server.gui, page.actions.later, page.actions.later_for
        with page.panels.tabs.add_tab("play"):
            self.slider = gui.add_slider("frame", 0, max(self.total - 1, 1), 1, 0)
            self.play = gui.add_button("play")
            self.step = gui.add_button("next frame")
            self.track = gui.add_checkbox("track", True, hint="find the hand in every frame")
            self.doubt = gui.add_checkbox(
                "uncertainty", False, hint="ellipsoids in which the joints are with 95 %"
            )
            self.status = gui.add_html("")
            self.keep = gui.add_button(
                "keep this hand",
                hint="as sliders show it, with its frame: a label for bench real and handnet:own",
                visible=self.kept is not None,
            )
        self.slider.on_update(later_for(lambda _: self.show(page, int(self.slider.value))))
        self.play.on_click(later(self.run_or_stop))
        self.step.on_click(later_for(lambda _: self.show(page, self.number + 1)))
        self.keep.on_click(later_for(lambda _: self.keep_hand(page)))
        self.doubt.on_update(later_for(lambda _: self._show_doubt(page)))

    def run_or_stop(self) -> None:
        """Play from here, or from the start if this is the last frame; or stop."""
        self.running = not self.running
        if self.running and self.number >= self.total - 1:
            self.number = -1
        self._label()

    def advance(self, page: "handjax.viewer.page.Page") -> None:
        """Show the next frame while it plays; at the end, and at an error, it stops."""
        try:
            self.show(page, self.number + 1)
        except (ValueError, OSError) as error:
            self.running = False
            self.status.content = small(" ".join(str(error).split()))
        self.running = self.running and self.number < self.total - 1
        self._label()

    def _label(self) -> None:
        self.play.label = "stop" if self.running else "play"

    # ------------------------------------------------------------ frames

    def show(self, page: "handjax.viewer.page.Page", number: int) -> None:
        """Show a frame, and its hand if it is tracked. ValueError if it cannot be read."""
        number = min(number, self.total - 1)
        if number == self.number:
            return
        frame = self.frame(number)
        camera = self.camera if self.camera is not None else frame.camera
        if camera is None:
            raise ValueError("--camera: these frames do not say which camera took them")
        known = DepthCamera(range_mm=self.tracker.predictor.range_mm)
        image = LoadedImage(frame.name, *camera.pinhole(frame.pixels), known)
        if number != self.number + 1 or not self.track.value:
            self.tracker.restart()
        found = self.tracker(image) if self.track.value else None
        self.number = number
        set_value(self.slider, number)
        self.found = found is not None
        self._show_doubt(page)
        if found is not None:
            page.scene.show_doubt(found.joints, found.covariance)
            page.show(found.hand)
            set_value(page.panels.start, STARTS[1])  # a fit goes on from here
        center = page.center if found is None else found.center
        left = page.panels.side.value == "left"
        told = [f"frame {number + 1} of {self.total}: {frame.name}, {frame.seconds:.2f} s"]
        told += self._told(found)
        try:
            page.place(image, ObservedHand.at(image, left, np.asarray(center, np.float32)))
        except ValueError as error:  # nothing is there
            told.append(str(error))
        self.status.content = small(*told)

    def _show_doubt(self, page: "handjax.viewer.page.Page") -> None:
        page.scene.doubt.visible = self.found and self.doubt.value

    def frame(self, number: int) -> Frame:
        """The frame of this number; going back starts again from the first."""
        if number < self._next:
            self._frames, self._next = self.source.frames(), 0
        for frame in self._frames:
            self._next += 1
            if self._next > number:
                return frame
        raise ValueError(f"{self.source.name}: it ended after {self._next} frames")

    def _told(self, found: TrackedHand | None) -> list[str]:
        if found is None:
            return ["no hand found; the one shown is of before"] if self.track.value else []
        order = np.argsort(-found.std)
        unsure = [f"{_JOINTS[j]} {found.std[j]:.0f} mm" for j in order if found.std[j] > _UNSURE_MM]
        sure = f"{found.side} hand, presence {found.presence:.2f}"
        return [sure, f"least sure: {', '.join(unsure[:4])}" if unsure else "all joints are sure"]

    # ------------------------------------------------------------ corrections

    def keep_hand(self, page: "handjax.viewer.page.Page") -> None:
        """Keep the hand of the sliders as the label of the frame. ValueError if there is none."""
        if self.kept is None or page.loaded is None or self.number < 0:
            raise ValueError("there is no frame to keep a hand of: play first")
        shown: Any = page.rendered()
        name = f"{Path(self.source.name).stem}_{Path(page.loaded.name).stem}.png"
        count = self.kept.add(
            name, page.loaded.depth, page.loaded.k, shown.joints, page.panels.side.value
        )
        self.status.content = small(f"{count} frames in {self.kept.folder}; the last: {name}")
