"""handjax bench: how well a model does on your own labelled depth frames.

    handjax bench real FOLDER [FOLDER ...] --output OUT
    handjax bench voxels FILE --camera nyu --hand right --output FOLDER

real    a model on folders of depth images with camera and labels: figures, report, pictures
voxels  an HDF5 file of voxels → such a folder

docs/real_frames.md has the form of a folder.
"""

from handjax.engine import cli

_COMMANDS = cli.Group(
    "handjax bench",
    __doc__,
    {"real": "handjax.realframes.command", "voxels": "handjax.realframes.voxel_frames"},
)
parser, main = _COMMANDS.parser, _COMMANDS.main


if __name__ == "__main__":
    cli.run(main)
