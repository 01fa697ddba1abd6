"""The systems by name: `TASKS[config.task.name](config, skeleton)` → Task."""

from handjax.tasks.voxel import voxel_task

TASKS = {"voxel": voxel_task}
