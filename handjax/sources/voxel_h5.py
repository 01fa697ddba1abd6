"""HDF5 files of voxels, as mhruz/hpoes_pytorch reads them."""

from ml_collections import ConfigDict

from handjax.pose.skeleton import SKELETONS, Skeleton, unnamed
from handjax.sources.base import Source, required_path, unchanged


def voxel_h5(config: ConfigDict, train: bool = True) -> Source:
    """Voxels and joints from `config.data.path`; evaluated on `val_path` if there is one, otherwise
    on the training file."""
    from handjax.data.formats.voxel_h5 import VoxelH5  # only this source needs h5py

    data = config.data
    path = required_path(config, "HDF5 file of voxels", "FILE")
    options = {
        name: data[name]
        for name in ("voxels_key", "labels_key", "cube_key", "max_label", "in_memory")
    }
    eval_file = VoxelH5(data.val_path or path, **options)
    train_file = VoxelH5(path, **options) if train and data.val_path else eval_file
    if (eval_file.joints, eval_file.size) != (train_file.joints, train_file.size):
        raise ValueError(
            f"{data.val_path} has {eval_file.joints} joints and {eval_file.size}³ voxels, {path} "
            f"{train_file.joints} and {train_file.size}³: expected the same"
        )
    name = data.val_path or f"{path} (the training file: no val_path)"
    return Source(
        skeleton=file_skeleton(train_file.joints, data.joints),
        train_size=len(train_file),
        eval_size=len(eval_file),
        train_rows=train_file.rows,
        eval_rows=eval_file.rows,
        materialize=unchanged,
        names=eval_file.names,
        description=f"{len(eval_file)} frames of {name}; crop center from the file "
        f"({eval_file.center_from})",
    )


def file_skeleton(joints: int, name: str) -> Skeleton:
    """The skeleton of that name. Without a name: NYU's for 14 joints, otherwise joints without
    names, since data sets of 16 or 21 joints differ in their orders."""
    if name:
        if name not in SKELETONS or len(SKELETONS[name].joints) != joints:
            fits = [n for n, s in SKELETONS.items() if len(s.joints) == joints] or ["nothing"]
            raise ValueError(
                f"config.data.joints={name} does not fit labels of {joints} joints; use "
                f"{' or '.join(fits)}"
            )
        return SKELETONS[name]
    if joints == 14:
        return SKELETONS["nyu14"]
    return unnamed(tuple(f"joint_{i}" for i in range(joints)))
