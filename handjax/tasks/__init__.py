"""The systems by name: `TASKS[config.task.name](config, skeleton)` → Task."""

from handjax.tasks.body import body_task
from handjax.tasks.handfinder import handfinder_task
from handjax.tasks.handnet import handnet_task
from handjax.tasks.keypoints2d import keypoints2d_task
from handjax.tasks.spherehand import spherehand_task
from handjax.tasks.v2v import v2v_task

TASKS = {
    "v2v": v2v_task,
    "keypoints2d": keypoints2d_task,
    "body": body_task,
    "spherehand": spherehand_task,
    "handnet": handnet_task,
    "handfinder": handfinder_task,
}
