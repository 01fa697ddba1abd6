import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose import crop2d, geometry, pinhole
from handjax.pose.skeleton import SKELETONS
from handjax.pose.warp import warp_affine
from handjax.targets import body

SKELETON = SKELETONS["body18"]
SIZE = (384, 288)  # height and width, deliberately different
BOX = (1485.0, 1980.0)


def scene(batch=4, seed=0):
    """People in front of cameras with different focal lengths in x and y."""
    rng = np.random.default_rng(seed)
    root = rng.uniform((-500, -300, 3000), (500, 300, 6000), (batch, 3))
    xyz = root[:, None] + rng.uniform(-700, 700, (batch, 18, 3))
    xyz[:, 0] = root
    k = np.zeros((batch, 3, 3))
    k[:, 0, 0], k[:, 1, 1], k[:, :2, 2], k[:, 2, 2] = 1145, 1143, (512, 515), 1
    return (jnp.asarray(a, jnp.float32) for a in (xyz, root, k))


def patch_of(root, k, scale=1.0, angle=0.0, flip=False):
    center = pinhole.xyz_to_uvd(root[:, None], k)[:, 0, :2]
    return body.patch_from_image(center, body.box_px(root[:, 2], k, BOX), SIZE, scale, angle, flip)


@pytest.mark.slow
def test_the_box_fills_the_patch_with_the_pelvis_in_the_middle():
    xyz, root, k = scene()
    sides = body.box_px(root[:, 2], k, BOX)
    np.testing.assert_allclose(body.depth_from_box(sides, k, BOX), root[:, 2], rtol=1e-6)
    corners = (
        root[:, None]
        + jnp.array([[-1.0, -1, 0], [1, 1, 0], [0, 0, 0]])[None]
        * jnp.array([*BOX, 0.0])[None, None]
        / 2
    )
    labels = body.encode(
        corners, root[:, 2], body.patch_camera(k, patch_of(root, k)), SIZE, jnp.full(4, BOX[0])
    )
    np.testing.assert_allclose(
        labels, np.broadcast_to([[-0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 0]], (4, 3, 3)), atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("flip", [False, True])
def test_labels_decode_under_every_augmentation(flip):
    xyz, root, k = scene()
    scale, angle = jnp.array([0.75, 1.0, 1.1, 1.25]), jnp.array([-1.0, 0.0, 0.4, 1.0])
    patch, depth = patch_of(root, k, scale, angle, flip), BOX[0] * scale
    labels = body.encode(xyz, root[:, 2], body.patch_camera(k, patch), SIZE, depth)
    np.testing.assert_allclose(labels[:, 0], np.zeros((4, 3)), atol=1e-5)
    np.testing.assert_allclose(
        labels[..., 2] * depth[:, None], xyz[..., 2] - root[:, None, 2], atol=1e-2
    )
    back = body.decode(labels, root[:, 2], k, patch, SIZE, depth)
    np.testing.assert_allclose(back, xyz, atol=0.05)
    np.testing.assert_allclose(
        body.decode_uv(labels, patch, SIZE), pinhole.xyz_to_uvd(xyz, k)[..., :2], atol=0.01
    )
    # A rig posed in the rotated axes has the same labels.
    axes = body.rotated_axes(angle, flip, (4,))
    rotated = geometry.matmul(xyz, jnp.swapaxes(axes, -1, -2))
    other = body.encode(rotated, root[:, 2], body.patch_camera(k, patch, axes), SIZE, depth)
    np.testing.assert_allclose(other, labels, atol=1e-5)


def test_the_patch_is_the_originals_by_opencv():
    """From three points of the box, after mirroring about the middle column of the image, as in the
    original's patch generator."""
    width, center, sides, angle = 1000, np.array([420.0, 510.0]), np.array([300.0, 400.0]), 0.5
    right, down = (
        np.array([np.cos(angle), np.sin(angle)]),
        np.array([-np.sin(angle), np.cos(angle)]),
    )
    mirrored = np.array([width - 1 - center[0], center[1]])
    source = np.float32(
        [mirrored, mirrored + down * sides[1] * 1.2 / 2, mirrored + right * sides[0] * 1.2 / 2]
    )
    target = np.float32([[144, 192], [144, 384], [288, 192]])
    theirs = cv2.getAffineTransform(source, target)
    theirs = crop2d.compose(theirs, np.array([[-1.0, 0, width - 1], [0, 1, 0]]))
    ours = body.patch_from_image(jnp.asarray(center), jnp.asarray(sides), SIZE, 1.2, angle, True)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_reversed_columns_give_mirrored_labels():
    labels = jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0.5, (3, 18, 3)), jnp.float32)
    other = body.mirror_labels(labels, SKELETON.flip, 288)
    column = (labels[:, 1, 0] + 0.5) * 288  # right hip
    np.testing.assert_allclose((other[:, 4, 0] + 0.5) * 288, 287 - column, atol=1e-3)
    np.testing.assert_array_equal(other[:, 4, 1:], labels[:, 1, 1:])
    np.testing.assert_allclose(body.mirror_labels(other, SKELETON.flip, 288), labels, atol=1e-6)


@pytest.mark.slow
def test_without_a_camera_the_bones_set_the_scale():
    labels = jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0.5, (2, 18, 3)), jnp.float32)
    for scale in (1.0, 0.3):
        found = np.asarray(body.decode_by_length(scale * labels + 0.1, SKELETON.parents, SIZE))
        total = sum(np.linalg.norm(found[:, a] - found[:, b], axis=-1) for a, b in SKELETON.bones)
        np.testing.assert_allclose(total, 4502.881, rtol=1e-5)
        ratio = (
            found[:, 5] / (np.asarray(labels)[:, 5] - np.asarray(labels)[:, 0]) / (288, 384, 288)
        )
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], (2, 3)), rtol=1e-3)
    assert np.isfinite(
        jax.grad(lambda x: body.decode_by_length(x, SKELETON.parents, SIZE).sum())(0 * labels + 0.1)
    ).all()


@pytest.mark.slow
def test_weak_perspective_is_exact_at_a_distance():
    xyz, root, k = scene()
    far = root.at[:, 2].multiply(1000)
    patch = patch_of(far, k)
    exact = body.encode(
        xyz - root[:, None] + far[:, None],
        far[:, 2],
        body.patch_camera(k, patch),
        SIZE,
        jnp.full(4, BOX[0]),
    )
    np.testing.assert_allclose(body.encode_weakly(xyz - root[:, None], BOX), exact, atol=2e-3)


warp = jax.jit(warp_affine, static_argnames="size")
REAL = ("S1_Directions_1.54138969_000001", "S5_SittingDown.54138969_002061")


@pytest.mark.slow
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("name", REAL)
def test_real_people_are_encoded_and_decoded(real_data, name, flip):
    """Within 1 mm and half a pixel; the pixels of the patch agree."""
    folder = real_data / "rgb" / "h36m"
    truth = json.loads((folder / "annotations.json").read_text())
    number = next(image["id"] for image in truth["images"] if image["file_name"] == f"{name}.jpg")
    labels = next(row for row in truth["annotations"] if row["image_id"] == number)
    uv = jnp.asarray(np.reshape(labels["keypoints"], (17, 3))[:, :2], jnp.float32)
    world = 1000 * np.reshape(labels["keypoints_3d"], (17, 4))[:, :3]
    given = json.loads((folder / "cameras.json").read_text())[f"('{name[:2]}', '54138969')"]
    xyz = jnp.asarray((world - 1000 * np.ravel(given["T"])) @ np.asarray(given["R"]), jnp.float32)
    (fx, fy), (cx, cy) = np.ravel(given["f"]), np.ravel(given["c"])
    k = jnp.asarray([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], jnp.float32)

    root_z, size, box = xyz[0, 2], (256, 256), jnp.float32(2000)
    assert 3000 < root_z < 7000
    center = pinhole.xyz_to_uvd(xyz[:1], k)[0, :2]
    patch = body.patch_from_image(center, body.box_px(root_z, k), size, 1.1, 0.3, flip)
    found = body.encode(xyz, root_z, body.patch_camera(k, patch), size, 1.1 * box)
    assert jnp.abs(found).max() < 0.5  # the whole person is in the box
    np.testing.assert_allclose(body.decode(found, root_z, k, patch, size, 1.1 * box), xyz, atol=0.1)
    expected = pinhole.xyz_to_uvd(xyz, k)[:, :2]
    np.testing.assert_allclose(body.decode_uv(found, patch, size), expected, atol=0.01)
    assert jnp.linalg.norm(body.decode_uv(found, patch, size) - uv, axis=-1).max() < 2
    there = body.encode_uv(crop2d.apply(patch, uv), size)
    np.testing.assert_allclose(body.decode_uv(there, patch, size), uv, atol=0.01)

    # Image and patch agree at the joints.
    picture = cv2.GaussianBlur(cv2.imread(str(folder / f"{name}.jpg")), (0, 0), 4)
    shown = np.asarray(warp(jnp.asarray(picture, jnp.float32), crop2d.inverse(patch), size))
    at, before = (
        np.rint(np.asarray(a)).astype(int) for a in ((found[:, :2] + 0.5) * 256, expected)
    )
    difference = shown[at[:, 1], at[:, 0]] - picture[before[:, 1], before[:, 0]]
    assert np.abs(difference).mean() < 6
    # Warped back, the patch is where it was, within a tenth of a pixel of the image.
    back = cv2.warpAffine(
        shown, np.asarray(crop2d.inverse(patch), np.float64), picture.shape[1::-1]
    )
    left, top = np.asarray(center, int) - 128
    window = (slice(top, top + 256), slice(left, left + 256))
    shift, _ = cv2.phaseCorrelate(
        *(np.float32(a[window]).mean(-1) for a in (picture, back)),
        cv2.createHanningWindow((256, 256), 5),
    )
    assert np.abs(shift).max() < 0.1
