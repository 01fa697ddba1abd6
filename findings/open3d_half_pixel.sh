#!/usr/bin/env bash
# Open3D renders depth half a pixel beside where it reads depth.
#
# Expected: one convention for K in one library. The depth image that RaycastingScene renders with K
# becomes, by PointCloud.create_from_depth_image with the same K, points of the surface.
# Found (Open3D 0.19.0): rays go through (u + 0.5 - cx) / fx, points lie at (u - cx) / fx, in both
# the classic and the tensor API. Every point of a rendered image is moved by half a pixel, 0.5 z /
# fx: 1.7 mm at 1 m and a focal length of 300 px, which matters for labels of rendered hands.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q open3d==0.19.0
"$folder/env/bin/python" - <<'PYTHON'
import sys

import numpy as np
import open3d as o3d

WIDTH, HEIGHT, FOCAL = 64, 48, 60.0
K = np.array([[FOCAL, 0, 31.5], [0, FOCAL, 23.5], [0, 0, 1]])
wall = o3d.t.geometry.TriangleMesh(
    o3d.core.Tensor(np.float32([[-9, -9, 1], [9, -9, 1], [0, 9, 1]])),
    o3d.core.Tensor(np.uint32([[0, 1, 2]])),
)
slope = np.float32([[1, 0, 0, 0], [0, 1, 0, 0], [0.5, 0, 1, 0], [0, 0, 0, 1]])  # z += x / 2
scene = o3d.t.geometry.RaycastingScene()
scene.add_triangles(wall.transform(o3d.core.Tensor(slope)))
camera = o3d.core.Tensor(K), o3d.core.Tensor(np.eye(4))
rays = scene.create_rays_pinhole(*camera, WIDTH, HEIGHT)
depth = scene.cast_rays(rays)["t_hit"].numpy()  # along z, since the rays have z = 1
print("Open3D", o3d.__version__)
print("ray of pixel (0, 0), x / z:", rays.numpy()[0, 0, 3] / rays.numpy()[0, 0, 5])
off = {}
image = o3d.geometry.Image(np.ascontiguousarray(depth))
lens = o3d.camera.PinholeCameraIntrinsic(WIDTH, HEIGHT, K)
points = o3d.geometry.PointCloud.create_from_depth_image(image, lens, depth_scale=1.0).points
off["classic"] = np.asarray(points)
tensors = o3d.t.geometry.Image(np.ascontiguousarray(depth[..., None])), o3d.core.Tensor(K)
cloud = o3d.t.geometry.PointCloud.create_from_depth_image(*tensors, depth_scale=1.0)
off["tensor"] = cloud.point.positions.numpy()
for name, found in off.items():
    # Of the plane z = 1 + x / 2, in pixels along x.
    away = (found[:, 2] - 1) * 2 - found[:, 0]
    off[name] = np.median(away * FOCAL / found[:, 2])
    print(f"{name} API: points are {off[name]:.2f} px beside the surface")
if any(abs(away - 0.5) > 0.01 for away in off.values()):
    sys.exit("the behaviour has changed")
PYTHON
