"""handjax bench: how well a model does on your own frames, and how fast it is.

    handjax bench real FOLDER [FOLDER ...] --output OUT
    handjax bench voxels FILE --camera nyu --hand right --output FOLDER
    handjax bench export MODEL

real    a model on folders of depth images with camera and labels: figures, report, pictures
voxels  an HDF5 file of voxels → such a folder
export  the time of a frame, here and in the runtimes of exported files

docs/real_frames.md has the form of a folder, docs/export.md the last.
"""

from handjax.engine import cli

_COMMANDS = cli.Group(
    "handjax bench",
    __doc__,
    {
        "real": "handjax.realframes.command",
        "voxels": "handjax.realframes.voxel_frames",
        "export": "handjax.exporter.latency_command",
    },
)
parser, main = _COMMANDS.parser, _COMMANDS.main


if __name__ == "__main__":
    cli.run(main)
