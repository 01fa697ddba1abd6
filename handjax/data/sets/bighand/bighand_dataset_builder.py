"""BigHand2.2M for TFDS. raw.py describes the files."""

import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder
from handjax.data.sets.bighand import raw
from handjax.data.sets.sr300_features import frame_features


class Builder(RawBuilder):
    """Depth images of hands with magnetic sensors, with 21 joints; a split per person."""

    RAW = raw
    HOMEPAGE = "http://icvl.ee.ic.ac.uk/hands17/challenge/"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}

    def features(self) -> dict[str, Feature]:
        return {
            **frame_features(),
            "viewpoint": tfds.features.Text(doc="folder of the frame, as 1 75 or ego"),
            "id": tfds.features.Text(doc="person, viewpoint and number of the frame"),
        }
