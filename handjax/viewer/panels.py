"""The widgets of the page, without what they do."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from handjax.data.formats.depth import DEPTH_FORMATS
from handjax.rigs import hand, poses
from handjax.viewer.files import DOWNLOADS
from handjax.viewer.fit import DepthCamera
from handjax.viewer.hand import SIDES, SIZE_RANGE, SLIDER_RANGE, USUAL
from handjax.viewer.rendering import SURFACES, colour_depth, empty_image
from handjax.viewer.text import depth_legend

if TYPE_CHECKING:
    import viser

ALL_MODES = "any mode"
PALMS = {"to the camera": poses.ROTATION_FRONTAL, "anywhere": poses.ROTATION_ANY}
STARTS = ("all directions", "the hand shown")  # where a fit starts


def set_value(widget: "viser.GuiInputHandle", value: Any) -> None:
    """Assign the value of a widget."""
    widget.value = value  # type: ignore[misc]  # mypy misses the setter of viser's property


class Panels:
    """All widgets; their values are the state of the page."""

    def __init__(self, gui: "viser.GuiApi", camera: DepthCamera):
        from matplotlib import colormaps

        colours = colormaps["turbo_r"](np.linspace(0.05, 0.95, 256))[:, :3] * 255
        self.colours: UInt8[np.ndarray, "256 3"] = colours.astype(np.uint8)
        gui.set_panel_label("handjax")
        gui.configure_theme(
            show_logo=False, show_share_button=False, dark_mode=True, control_width="medium"
        )
        images = gui.add_panel()  # separate, so that it stays in sight of all sliders
        images.float(x=15, y=-15, width=270)
        with images.add_tab("depth image"):
            self.observed = gui.add_image(
                empty_image(), label="observed", format="png", visible=False
            )
            self.depth = gui.add_image(empty_image(), label="of the hand shown", format="png")
            self.legend = gui.add_html("")
            self.surface = gui.add_dropdown("depth of", SURFACES)
        self.toggles = {
            name: gui.add_checkbox(name, name == "skin") for name in ("skin", "spheres", "joints")
        }
        self.tabs = tabs = gui.add_tab_group()
        with tabs.add_tab("pose"):
            self._pose_tab(gui)
        with tabs.add_tab("fit"):
            self._fit_tab(gui, camera)
        with tabs.add_tab("files"):
            self._files_tab(gui)

    def _pose_tab(self, gui: "viser.GuiApi") -> None:
        self.side = gui.add_dropdown("hand", tuple(SIDES))
        self.mode = gui.add_dropdown(
            "fingers", (ALL_MODES, *poses.MODES), hint="finger pose of random poses"
        )
        self.palm = gui.add_dropdown(
            "palm", tuple(PALMS), hint="direction of the palm of random poses"
        )
        self.random_pose = gui.add_button("random pose")
        self.reset = gui.add_button("reset")
        self.usual = gui.add_checkbox(
            "usual angles",
            False,
            hint="limits the fingers to the usual range, which the marks on their sliders show",
        )
        self.sliders = []
        numbers = zip(hand.POSE_NAMES, SLIDER_RANGE, USUAL, strict=True)
        for finger, members in itertools.groupby(numbers, lambda number: number[0].split("_")[0]):
            with gui.add_folder(finger, expand_by_default=finger == "palm"):
                for name, (low, high), usual in members:
                    label = name.removeprefix(finger + "_").replace("_", " ")
                    marks = usual and tuple((end, f"{end:g}") for end in usual)
                    self.sliders.append(gui.add_slider(label, low, high, 0.01, 0.0, marks=marks))
        with gui.add_folder("size", expand_by_default=False):
            self.size = gui.add_slider(
                "hand",
                *SIZE_RANGE,
                0.01,
                1.0,
                hint="relative to the model; a finger's is relative to the palm",
            )
            self.fingers = [
                gui.add_slider(finger, *SIZE_RANGE, 0.01, 1.0) for finger in hand.FINGERS
            ]
            hint = "relative to the model, which is stout: people have some 0.77"
            self.thickness = [
                gui.add_slider(f"{part} thickness", 0.4, 1.4, 0.01, 1.0, hint=hint)
                for part in ("finger", "palm")
            ]
        with gui.add_folder("26 numbers", expand_by_default=False):
            self.text = gui.add_text("rad, mm", "", multiline=True)
            self.use_text = gui.add_button("use these")
            self.print_text = gui.add_button("print in the terminal")
        self.out_of_range = gui.add_html("")

    def _fit_tab(self, gui: "viser.GuiApi", camera: DepthCamera) -> None:
        self.upload = gui.add_upload_button("load a depth image", mime_type="image/png")
        with gui.add_folder("camera", expand_by_default=not camera.intrinsics):
            self.intrinsics = gui.add_text(
                "fx fy cx cy", camera.intrinsics, hint="in px, with lens coefficients, or a name"
            )
            self.unit = gui.add_number(
                "mm per unit", camera.unit_mm, hint="depth in mm of a 1 in the file"
            )
            self.form = gui.add_dropdown(
                "format", tuple(DEPTH_FORMATS), initial_value=camera.form, hint="nyu: G · 256 + B"
            )
            self.range = gui.add_vector2(
                "range, mm", camera.range_mm, step=1.0, hint="nearest and farthest hand, along z"
            )
        self.points_on = gui.add_checkbox("points", True)
        self.network_on = gui.add_checkbox("network's spheres", True, visible=False)
        self.network = gui.add_button(
            "network", hint="the spheres of the network, and the hand nearest to them"
        )
        self.start = gui.add_dropdown(
            "start from", STARTS, hint="all directions: 24 palms, of which the best continues"
        )
        self.step = gui.add_button("fit: one step")
        self.run = gui.add_button("fit: run")
        self.status = gui.add_html("")

    def _files_tab(self, gui: "viser.GuiApi") -> None:
        gui.add_markdown("The hand as shown, in mm of the camera: x right, y down, z forward.")
        self.downloads = {
            what: gui.add_button(f"{what}: {name}") for what, name in DOWNLOADS.items()
        }

    def camera(self) -> DepthCamera:
        """The camera of the fit tab."""
        near, far = self.range.value
        return DepthCamera(self.intrinsics.value, self.unit.value, self.form.value, (near, far))

    def show_depth(
        self, depth: Float[np.ndarray, "h w"], observed: Float[np.ndarray, "h w"] | None
    ) -> None:
        """Show the hand's depth image and, in the same colours, the observed one."""
        images = depth if observed is None else np.concatenate([depth, observed])
        seen = images[images > 0]
        near, far = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
        self.depth.image = colour_depth(depth, self.colours, near, far)
        if observed is not None:
            self.observed.image = colour_depth(observed, self.colours, near, far)
            self.observed.visible = True
        self.legend.content = depth_legend(self.colours, near, far)

    def drawn_by(self) -> Sequence["viser.GuiInputHandle"]:
        """Widgets of which a change only redraws."""
        return (
            self.surface,
            *self.toggles.values(),
            *self.sliders,
            self.size,
            *self.fingers,
            *self.thickness,
            self.points_on,
            self.network_on,
        )
