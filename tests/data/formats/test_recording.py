"""Depth recordings of ROS: what librealsense and ROS write is read to the last mm."""

import sqlite3
import struct

import cv2
import numpy as np
import pytest

from handjax.data.formats.recording import open_recording

K = (240.0, 0.0, 31.5, 0.0, 241.0, 23.5, 0.0, 0.0, 1.0)
FRAMES = np.random.default_rng(0).integers(0, 9000, (3, 48, 64)).astype(np.uint16)
DEPTH = "/device_0/sensor_0/Depth_0/image"


class Cdr:
    """A little-endian CDR message, each number at a multiple of its size."""

    def __init__(self):
        self.data = b"\0\1\0\0"

    def add(self, kind, *values):
        self.data += bytes(-(len(self.data) - 4) % struct.calcsize(kind))
        self.data += struct.pack(f"<{len(values)}{kind}", *values)
        return self

    def text(self, text):
        self.add("I", len(text) + 1)
        self.data += text.encode() + b"\0"
        return self

    def block(self, data):
        self.add("I", len(data))
        self.data += data
        return self

    def header(self):
        return self.add("I", 1, 2).text("Depth")


def png(frame):
    return cv2.imencode(".png", frame)[1].tobytes()


def compressed(frame):
    form = "16UC1; compressedDepth png"
    return Cdr().header().text(form).block(bytes(12) + png(frame)).data


def raw(frame, encoding="16UC1"):
    height, width = frame.shape
    message = Cdr().header().add("I", height, width).text(encoding).add("B", 0)
    return message.add("I", width * frame.itemsize).block(frame.tobytes()).data


def camera_info(coefficients=(0.0,) * 5, model="plumb_bob"):
    message = Cdr().header().add("I", 48, 64).text(model)
    return message.add("I", len(coefficients)).add("d", *coefficients).add("d", *K).data


def write_db3(path, topics):
    """`topics`: name → (type, messages)."""
    database = sqlite3.connect(path)
    database.execute("create table topics(id integer primary key, name text, type text)")
    database.execute(
        "create table messages(id integer primary key, topic_id int, timestamp int, data blob)"
    )
    for number, (name, (kind, messages)) in enumerate(topics.items(), 1):
        database.execute("insert into topics values (?, ?, ?)", (number, name, kind))
        for index, data in enumerate(messages):
            row = (number, 5_000_000_000 + 40_000_000 * index, data)
            database.execute(
                "insert into messages(topic_id, timestamp, data) values (?, ?, ?)", row
            )
    database.commit()
    database.close()
    return path


def realsense():
    images = [compressed(frame) for frame in FRAMES]
    unit = "/device_0/sensor_0/option/Depth_Units/value"
    return {
        unit: ("std_msgs/msg/String", [Cdr().text("0.000125").data]),
        f"{DEPTH}/data/compressedDepth": ("sensor_msgs/msg/CompressedImage", images),
        f"{DEPTH}/camera_info": ("sensor_msgs/msg/CameraInfo", [camera_info()] * 3),
    }


def test_a_recording_of_librealsense(tmp_path):
    found = open_recording(write_db3(tmp_path / "r.db3", realsense()))
    assert found.count == 3 and found.unit_mm == 0.125 and found.camera.lens is None
    np.testing.assert_allclose(found.camera.k, np.reshape(K, (3, 3)))
    frames = list(found)
    np.testing.assert_array_equal([one.depth for one in frames], FRAMES * np.float32(0.125))
    assert [one.seconds for one in frames] == pytest.approx([0, 0.04, 0.08])
    assert len(list(found)) == 3  # from the start again
    assert [path.name for path in tmp_path.iterdir()] == ["r.db3"]


def test_images_of_ros_in_mm_and_in_metres(tmp_path):
    lens = (-0.2, 0.05, 0.0, 0.001, 0.0)
    topics = {
        "/rgb/image": ("sensor_msgs/msg/Image", [raw(FRAMES[0], "rgb8")]),
        "/depth/image": ("sensor_msgs/msg/Image", [raw(frame) for frame in FRAMES]),
        "/depth/camera_info": ("sensor_msgs/msg/CameraInfo", [camera_info(lens)]),
    }
    found = open_recording(write_db3(tmp_path / "mm.db3", topics))
    assert found.topic == "/depth/image" and found.unit_mm == 1
    assert found.camera.lens.coefficients == pytest.approx(lens)
    np.testing.assert_array_equal(next(iter(found)).depth, FRAMES[0])
    metres = (FRAMES[0] / 1000).astype(np.float32)
    metres[0, :2] = np.nan, np.inf
    topics = {"/depth": ("sensor_msgs/msg/Image", [raw(metres, "32FC1")])}
    found = open_recording(write_db3(tmp_path / "m.db3", topics))
    depth = next(iter(found)).depth
    assert found.camera is None and not depth[0, :2].any()
    np.testing.assert_allclose(depth[1:], FRAMES[0][1:], rtol=1e-6)


@pytest.mark.parametrize(
    ("model", "lens", "ours"),
    [
        ("Brown Conrady", (-0.2, 0.05, 0.0, 0.001, 0.0), "opencv"),
        ("Inverse Brown Conrady", (0.14, 0.1, 0.004, 0.006, -0.04), "inverse"),  # of an SR300
        ("Inverse Brown Conrady", (0.0,) * 5, None),
        ("equidistant", (0.0,) * 4, "fisheye"),
        ("Modified Brown Conrady", (0.14, 0.1, 0.004, 0.006, -0.04), "not supported"),
        ("Inverse Brown Conrady", (0.14, 0.1), "2 coefficients, expected 5"),
    ],
)
def test_lenses_are_read_by_their_model(tmp_path, recwarn, model, lens, ours):
    topics = realsense()
    topics[f"{DEPTH}/camera_info"] = ("sensor_msgs/msg/CameraInfo", [camera_info(lens, model)])
    found = open_recording(write_db3(tmp_path / "r.db3", topics)).camera.lens
    if ours in ("opencv", "fisheye", "inverse"):
        assert found.model == ours and found.coefficients == pytest.approx(lens)
    else:
        assert found is None
    if ours is None or found:
        assert not recwarn
    else:
        (warning,) = recwarn
        said = f"r.db3: a lens of the model '{model}': {ours}"
        assert said in str(warning.message)


def test_a_bag_of_ros_1_as_librealsense_wrote_it(tmp_path):
    rosbag1 = pytest.importorskip("rosbags.rosbag1")

    def head():
        return struct.pack("<III", 1, 0, 0) + struct.pack("<I", 1) + b"1"

    def image(frame):
        # Four bytes too many, which rosbags' own decoder refuses.
        start = head() + struct.pack("<III", 48, 64, 6) + b"mono16" + struct.pack("<BI", 0, 128)
        return start + struct.pack("<I", frame.nbytes) + frame.tobytes() + bytes(4)

    start = head() + struct.pack("<III", 48, 64, 13) + b"Brown Conrady"
    info = start + struct.pack("<I5d9d", 5, *(0.0,) * 5, *K)
    topics = {
        "/device_0/sensor_0/option/Depth_Units/value": ("std_msgs/msg/Float32", [b"o\x12\x039"]),
        f"{DEPTH}/data": ("sensor_msgs/msg/Image", [image(frame) for frame in FRAMES]),
        "/device_0/sensor_0/Depth_0/info/camera_info": ("sensor_msgs/msg/CameraInfo", [info]),
    }
    with rosbag1.Writer(tmp_path / "r.bag") as bag:
        for name, (kind, messages) in topics.items():
            connection = bag.add_connection(name, kind, msgdef="x", md5sum="0" * 32)
            for index, data in enumerate(messages):
                bag.write(connection, 10**9 + 40_000_000 * index, data)
    found = open_recording(tmp_path / "r.bag")
    assert found.count == 3 and found.unit_mm == pytest.approx(0.125)
    np.testing.assert_allclose(found.camera.k, np.reshape(K, (3, 3)))
    np.testing.assert_allclose([one.depth for one in found], FRAMES * 0.125, rtol=1e-6)


def test_a_topic_that_two_programs_wrote_to(tmp_path):
    rosbag1 = pytest.importorskip("rosbags.rosbag1")
    head = struct.pack("<III", 1, 0, 0) + struct.pack("<I", 1) + b"1"
    head += struct.pack("<III", 48, 64, 5) + b"16UC1" + struct.pack("<BI", 0, 128)
    with rosbag1.Writer(tmp_path / "r.bag") as bag:
        connections = [
            bag.add_connection(
                "/depth", "sensor_msgs/msg/Image", msgdef="x", md5sum="0" * 32, callerid=program
            )
            for program in ("/before", "/after")
        ]
        for index, frame in enumerate(FRAMES):
            data = head + struct.pack("<I", frame.nbytes) + frame.tobytes()
            bag.write(connections[index // 2], 10**9 + 40_000_000 * index, data)
    found = open_recording(tmp_path / "r.bag")
    assert found.count == 3
    np.testing.assert_array_equal([one.depth for one in found], FRAMES)


@pytest.mark.parametrize(
    ("topics", "message"),
    [
        ({}, "no depth images in it .no images."),
        (
            {"/rgb": ("sensor_msgs/msg/Image", [raw(FRAMES[0], "rgb8")])},
            r"no depth images in it ./rgb .rgb8..; expected 16UC1 or 32FC1",
        ),
    ],
)
def test_a_recording_without_depth_is_one_line(tmp_path, topics, message):
    with pytest.raises(ValueError, match=message):
        open_recording(write_db3(tmp_path / "r.db3", topics))


def test_damage_is_named(tmp_path):
    topics = realsense()
    name = f"{DEPTH}/data/compressedDepth"
    topics[name] = (topics[name][0], [compressed(FRAMES[0]), compressed(FRAMES[1])[:-900]])
    found = open_recording(write_db3(tmp_path / "r.db3", topics))
    with pytest.raises(ValueError, match=r"r.db3: frame 1: a message of .* bytes that claims"):
        list(found)
    topics[name] = (topics[name][0], [Cdr().header().text("compressedDepth").block(b"").data])
    with pytest.raises(ValueError, match="e.db3: no depth images in it"):
        open_recording(write_db3(tmp_path / "e.db3", topics))
    empty = Cdr().header().text("16UC1; compressedDepth png").block(bytes(12)).data
    topics[name] = (topics[name][0], [empty])
    with pytest.raises(ValueError, match="f.db3: frame 0: compressed depth that is no 16-bit PNG"):
        list(open_recording(write_db3(tmp_path / "f.db3", topics)))
    info = f"{DEPTH}/camera_info"
    cut = realsense() | {info: ("sensor_msgs/msg/CameraInfo", [camera_info()[:60]])}
    with pytest.raises(ValueError, match=r"c.db3: unpack_from requires a buffer of"):
        open_recording(write_db3(tmp_path / "c.db3", cut))
    (tmp_path / "x.db3").write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(ValueError, match="x.db3: not a ROS 2 bag"):
        open_recording(tmp_path / "x.db3")
    (tmp_path / "x.bag").write_bytes(b"#ROSBAG V2.0\n" + bytes(100))
    with pytest.raises(ValueError, match="x.bag: "):
        open_recording(tmp_path / "x.bag")
    (tmp_path / "y.bag").write_text("none")
    with pytest.raises(ValueError, match="y.bag: no recording; expected a ROS bag"):
        open_recording(tmp_path / "y.bag")


@pytest.mark.slow
def test_a_recording_made_by_librealsense(tmp_path):
    """Its software device is given frames as a camera would take them."""
    rs = pytest.importorskip("pyrealsense2", exc_type=ImportError)
    device = rs.software_device()
    sensor = device.add_sensor("Depth")
    stream = rs.video_stream()
    stream.type, stream.fmt, stream.index, stream.uid = rs.stream.depth, rs.format.z16, 0, 0
    stream.width, stream.height, stream.fps, stream.bpp = 64, 48, 30, 2
    lens = rs.intrinsics()
    lens.width, lens.height, lens.fx, lens.fy, lens.ppx, lens.ppy = 64, 48, 240, 241, 31.5, 23.5
    lens.model, lens.coeffs = rs.distortion.brown_conrady, [0.0] * 5
    stream.intrinsics = lens
    profile = sensor.add_video_stream(stream)
    sensor.add_read_only_option(rs.option.depth_units, 0.000125)
    recorder = rs.recorder(str(tmp_path / "r.db3"), device)
    recorded, queue = recorder.query_sensors()[0], rs.frame_queue(50)
    recorded.open(recorded.get_stream_profiles()[0])
    recorded.start(queue)
    for number, pixels in enumerate(FRAMES):
        frame = rs.software_video_frame()
        frame.pixels, frame.stride, frame.bpp = pixels, 128, 2
        frame.timestamp, frame.frame_number = 33.3 * number, number + 1
        frame.profile, frame.depth_units = profile.as_video_stream_profile(), 0.000125
        sensor.on_video_frame(frame)
        queue.wait_for_frame(2000)
    recorded.stop()
    recorded.close()
    del recorder, recorded
    found = open_recording(tmp_path / "r.db3")
    np.testing.assert_array_equal([one.depth for one in found], FRAMES * np.float32(0.125))
    np.testing.assert_allclose(found.camera.k, np.reshape(K, (3, 3)))
