"""A ROS 2 node: depth in, the joints of the hand and the pose of its wrist out.

    ros2 run …, or after sourcing ROS 2:
    python examples/ros2_node.py --ros-args -r depth:=/camera/depth/image_rect_raw \\
        -r camera_info:=/camera/depth/camera_info

Publishes hand/joints (geometry_msgs/PoseArray, 21 joints in the order of hand21, turned as the
wrist) and hand/wrist (geometry_msgs/PoseStamped), in m and in the frame of the depth image: ROS's
optical frames have handjax's axes, x right, y down, z forward. No hand, no message.
"""

from typing import Any

import numpy as np

import handjax
from handjax.prediction.base import Prediction

PRESENCE = 0.5  # below it there may be no hand


def depth_mm(image: Any) -> np.ndarray:
    """Depth in mm, 0 = missing, of a sensor_msgs/Image: 16UC1 in mm or 32FC1 in m."""
    kinds = {"16UC1": ("u2", 1.0), "mono16": ("u2", 1.0), "32FC1": ("f4", 1000.0)}
    if image.encoding not in kinds:
        raise ValueError(f"encoding {image.encoding}: expected depth as {', '.join(kinds)}")
    kind, scale = kinds[image.encoding]
    order = ">" if image.is_bigendian else "<"
    size = np.dtype(kind).itemsize
    rows = np.frombuffer(bytes(image.data), np.uint8).reshape(image.height, image.step)
    pixels = rows[:, : image.width * size].copy().view(order + kind)
    return np.nan_to_num(pixels.astype(np.float32) * scale, posinf=0.0, neginf=0.0)


def camera_of(info: Any) -> tuple[np.ndarray, list[float]]:
    """K and the lens of a sensor_msgs/CameraInfo, as handjax takes a camera."""
    lens = [float(value) for value in info.d]
    return np.array(info.k, float).reshape(3, 3), lens or [0.0] * 4


def messages(types: Any, hand: Prediction, header: Any) -> tuple[Any, Any]:
    """PoseArray and PoseStamped of a single hand. `types("geometry_msgs/msg/Pose")` is the class of
    a message: ROS's own, or that of another library."""
    turn = quaternion(hand.wrist_pose()[:3, :3])

    def pose(point: np.ndarray) -> Any:
        x, y, z = (float(value) for value in point / 1000.0)
        return types("geometry_msgs/msg/Pose")(
            position=types("geometry_msgs/msg/Point")(x=x, y=y, z=z),
            orientation=types("geometry_msgs/msg/Quaternion")(**turn),
        )

    poses = [pose(point) for point in hand.xyz]
    joints = types("geometry_msgs/msg/PoseArray")(header=header, poses=poses)
    return joints, types("geometry_msgs/msg/PoseStamped")(header=header, pose=poses[0])


def quaternion(rotation: np.ndarray) -> dict[str, float]:
    """The quaternion of a rotation matrix, by name."""
    from scipy.spatial.transform import Rotation

    values = Rotation.from_matrix(rotation).as_quat()
    return {name: float(value) for name, value in zip("xyzw", values, strict=True)}


def main() -> None:
    """Run the node until it is interrupted."""
    import importlib

    import rclpy
    from rclpy.node import Node
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CameraInfo, Image

    def types(name: str) -> Any:
        package, _, kind = name.split("/")
        return getattr(importlib.import_module(f"{package}.msg"), kind)

    class HandNode(Node):
        def __init__(self) -> None:
            super().__init__("handjax")
            self.predictor, self.camera = handjax.load("hand-depth"), None
            joints, wrist = (types(f"geometry_msgs/msg/{n}") for n in ("PoseArray", "PoseStamped"))
            self.joints = self.create_publisher(joints, "hand/joints", 1)
            self.wrist = self.create_publisher(wrist, "hand/wrist", 1)
            self.create_subscription(CameraInfo, "camera_info", self.on_camera, 1)
            self.create_subscription(Image, "depth", self.on_depth, qos_profile_sensor_data)

        def on_camera(self, info: CameraInfo) -> None:
            self.camera = camera_of(info)

        def on_depth(self, image: Image) -> None:
            if self.camera is None:
                return
            try:
                hand = self.predictor(depth_mm(image), self.camera)
            except ValueError as error:  # nothing within reach
                self.get_logger().debug(str(error))
                return
            if float(hand.presence) >= PRESENCE:
                joints, wrist = messages(types, hand, image.header)
                self.joints.publish(joints)
                self.wrist.publish(wrist)

    rclpy.init()
    node = HandNode()
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
