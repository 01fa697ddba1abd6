"""What predictors share: `Prediction`, which they return, and the base class `Predictor`.

Inputs are NumPy or JAX arrays, outputs NumPy. A single sample comes back without a batch axis.
Camera coordinates are mm with x right, y down, z forward; pixel centers are integers.
"""

import abc
import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from handjax.pose import rays
from handjax.pose.skeleton import SKELETONS, Skeleton
from handjax.prediction.meshes import HandMesh, mesh_of
from handjax.prediction.network import TrainedNetwork

if TYPE_CHECKING:
    import PIL.Image

# Drawing and saving take a Prediction, so its methods import them where they are used.

# Fields with a row per sample.
_ARRAYS = ("xyz", "uv", "confidence", "std", "covariance", "presence", "center", "box")
_UNITS = {"uv": " px", "std": " mm", "covariance": " mm²", "center": " mm", "box": " px"}


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Prediction:
    """Joints of one sample, or of n along a first axis; fields the system does not give are None.

    `result["index_tip"]` is one joint: its `xyz` [3] or [n, 3], or its `uv` if there is no `xyz`.
    `result[0]` is one sample of several, `len(result)` how many there are. It prints as a table,
    draws itself over its frame (`plot`), and writes itself to a file (`save`).
    """

    joints: tuple[str, ...]  # names, in the order of the arrays
    xyz: Float[np.ndarray, "*n j 3"] | None = None  # mm, in the frame `frame`
    uv: Float[np.ndarray, "*n j 2"] | None = None  # px of the input; pixel centers are integers
    confidence: Float[np.ndarray, "*n j"] | None = None  # higher is surer
    frame: str = "camera"  # of xyz: "camera" (x right, y down, z forward) or "pelvis"
    # Standard deviation of each coordinate of xyz, mm. If the errors are normal and alike in all
    # directions, a joint is within 1.54 std of its xyz in half of all cases, 2.80 std in 95 %.
    std: Float[np.ndarray, "*n j"] | None = None
    # Of each joint, mm², along the axes of xyz; std² is the mean of its diagonal.
    covariance: Float[np.ndarray, "*n j 3 3"] | None = None
    presence: Float[np.ndarray, "*n"] | None = None  # 0 to 1: probability that it is a hand
    side: str | tuple[str, ...] | None = None  # left or right, as found or as given; n of them
    center: Float[np.ndarray, "*n 3"] | None = None  # middle of the crop, camera mm
    # Left, top, width, height in px of the input: as given to the network, else of the joints.
    box: Float[np.ndarray, "*n 4"] | None = None
    # The input of each sample, to draw on: RGB [h, w, 3], or depth [h, w] in mm.
    pictures: tuple[np.ndarray, ...] = ()
    skeleton: Skeleton | None = None  # of the joints, if there is one
    model: str = ""  # which predicted it

    @property
    def batched(self) -> bool:
        """Whether the arrays have a first axis of samples."""
        return self._joints().ndim == 3

    def __len__(self) -> int:
        return len(self._joints()) if self.batched else 1

    def __iter__(self) -> Iterator["Prediction"]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, joint: str | int) -> Any:
        if isinstance(joint, int | np.integer):
            return self._sample(int(joint))
        if joint not in self.joints:
            near = difflib.get_close_matches(str(joint), self.joints, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(self.joints)}"
            raise KeyError(f"no joint {joint!r}: {hint}")
        return self._joints()[..., self.joints.index(joint), :]

    def _joints(self) -> np.ndarray:
        values = self.uv if self.xyz is None else self.xyz
        assert values is not None
        return values

    def _sample(self, number: int) -> "Prediction":
        if not -len(self) <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        if not self.batched:
            return self
        own: dict[str, Any] = {
            name: value[number, ...]
            for name in _ARRAYS
            if (value := getattr(self, name)) is not None
        }
        if self.side is not None:
            own["side"] = self.side[number]
        return dataclasses.replace(self, **own, pictures=self.pictures[number:][:1])

    def wrist_pose(self) -> Float[np.ndarray, "*n 4 4"]:
        """The rigid map, mm of the wrist → camera mm (`pose.rays.wrist_pose`). ValueError for what
        is not a hand of 21 joints in the camera's frame."""
        if self.xyz is None or self.frame != "camera" or self.joints != SKELETONS["hand21"].joints:
            raise ValueError("wrist_pose: expected a hand of 21 joints in camera mm")
        left = np.array(self.side) == "left"
        return rays.wrist_pose(self.xyz, left)

    def mesh(self, surface: str = "skin") -> HandMesh | tuple[HandMesh, ...]:
        """The hand as triangles in camera mm; of several samples a tuple. `.save("hand.glb")`
        writes it.

        It is the rig's hand whose joints are nearest to these, so any network's joints have one.
        ValueError for what is not a hand of 21 joints in the camera's frame with its side.

        surface: its "skin", or the 41 "spheres" of the sphere hand
        """
        if self.xyz is None or self.frame != "camera" or self.joints != SKELETONS["hand21"].joints:
            raise ValueError("no mesh: expected a hand of 21 joints in camera mm")
        if self.side is None:
            raise ValueError("no mesh: this prediction does not say which hand it is")
        sides = (self.side,) if isinstance(self.side, str) else self.side
        joints = self.xyz if self.batched else self.xyz[None]
        found = tuple(
            mesh_of(np.asarray(one), side, surface) for one, side in zip(joints, sides, strict=True)
        )
        return found if self.batched else found[0]

    def plot(self, zoom: bool = False) -> "PIL.Image.Image":
        """The joints over the frames they were found in, as an image of Pillow, which a notebook
        shows and `.save("x.png")` writes. Of several frames a sheet of the first 16; of several
        boxes of one picture that picture.

        zoom: only the surroundings of each box
        """
        from PIL import Image

        from handjax.prediction import drawing

        return Image.fromarray(drawing.picture(self, zoom))

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Writes joints by name with their units to a .json, .csv or .npz, and returns its path:
        docs/predict.md says what is in each. FileExistsError unless `overwrite`; ValueError for
        another ending."""
        from handjax.prediction import saving

        return saving.save(self, Path(path), overwrite)

    def __repr__(self) -> str:
        units = {"xyz": f" mm ({self.frame} frame)"} | _UNITS
        parts = [
            f"{name} {list(value.shape)}{units.get(name, '')}"
            for name in _ARRAYS
            if (value := getattr(self, name)) is not None
        ]
        return f"Prediction({len(self.joints)} joints; {', '.join(parts)})"

    def __str__(self) -> str:
        from handjax.prediction import saving

        return saving.table(self)

    def _repr_png_(self) -> bytes | None:
        from handjax.prediction import drawing

        return drawing.png(drawing.picture(self)) if self.uv is not None else None

    def _repr_html_(self) -> str:
        from handjax.prediction import saving

        return saving.html(self)


class Predictor(abc.ABC):
    """A trained network that predicts the joints named `joints`."""

    reads = "arrays"  # what a call takes, in words

    def __init__(self, name: str, skeleton: Skeleton):
        self.name, self.skeleton = name, skeleton

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the joints, in the order of the arrays."""
        return self.skeleton.joints

    @classmethod
    def of_run(cls, name: str, network: TrainedNetwork) -> "Predictor":
        """The predictor of an opened run."""
        raise ValueError(f"{name}: {cls.__name__} takes no run")

    @abc.abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Prediction:
        """The joints of one sample or of several."""

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"{kind}({self.name}; {self.reads} → {len(self.joints)} joints)"

    def named(
        self,
        found: Mapping[str, np.ndarray | None],
        batched: bool,
        frame: str = "camera",
        side: Sequence[str] | None = None,
        pictures: Sequence[np.ndarray] = (),
    ) -> Prediction:
        """A Prediction of the arrays [n, …] that are there; of one sample unless `batched`. `side`
        and `pictures`: of each sample. Without a box it is that of the joints."""
        boxes = {} if found.get("uv") is None or "box" in found else {"box": _box(found["uv"])}
        arrays = {
            name: np.asarray(value, np.float32)
            if batched
            else np.asarray(value, np.float32)[0, ...]
            for name, value in {**found, **boxes}.items()
            if value is not None
        }
        sides = None if side is None else tuple(side) if batched else side[0]
        return Prediction(
            self.joints,
            **arrays,
            frame=frame,
            side=sides,
            pictures=tuple(pictures),
            skeleton=self.skeleton,
            model=self.name,
        )


def _box(uv: Any) -> Float[np.ndarray, "n 4"]:
    """Left, top, width and height of the smallest boxes around joints."""
    low, high = np.min(uv, axis=1), np.max(uv, axis=1)
    return np.concatenate([low, high - low], axis=-1)
