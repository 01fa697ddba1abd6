"""The systems by name: `TASKS[config.task.name](config, skeleton)` → Task."""

from handjax.tasks.body3d import body3d_task
from handjax.tasks.fit import fit_task
from handjax.tasks.keypoints2d import keypoints2d_task
from handjax.tasks.voxel import voxel_task

TASKS = {"voxel": voxel_task, "keypoints2d": keypoints2d_task, "fit": fit_task, "body3d": body3d_task}
