"""ROS 1 bags (.bag) and ROS 2 bags in SQLite (.db3): topics, and their messages as bytes.

A .bag needs rosbags, which unpacks its chunks.
"""

import abc
import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Topic(NamedTuple):
    """A topic of a bag: its number, name, and type as in ROS 1, sensor_msgs/Image."""

    number: int
    name: str
    kind: str


class Bag(abc.ABC):
    """Topics and messages of an open bag; ValueError, without its path, for what is damaged."""

    ros2: bool
    topics: list[Topic]  # one per name

    @abc.abstractmethod
    def messages(self, topic: Topic) -> Iterator[tuple[int, bytes]]:
        """Time in ns and bytes of the messages of a topic."""

    @abc.abstractmethod
    def count(self, topic: Topic) -> int:
        """How many messages a topic has."""

    def first(self, topic: Topic) -> bytes:
        """The bytes of the first message, b"" if there is none."""
        return next(itertools.chain((data for _, data in self.messages(topic)), [b""]))

    def __enter__(self) -> "Bag":
        return self

    @abc.abstractmethod
    def __exit__(self, *error: Any) -> None:
        """Closes the file."""


class _Ros1Bag(Bag):
    ros2 = False

    def __init__(self, path: Path):
        try:
            from rosbags.rosbag1 import Reader, ReaderError
        except ImportError:
            raise ValueError(
                f"{path}: a ROS bag needs rosbags: pip install 'handjax[recordings]'"
            ) from None
        self.reader = Reader(path)
        self.errors = ReaderError, AssertionError  # of a damaged file
        try:
            self.reader.open()
        except self.errors as error:
            reason = " ".join(str(error).split())[:120]
            raise ValueError(f"{path}: {reason or 'a damaged bag; copy it again'}") from None
        # A topic has a connection for each program that wrote to it.
        connections = {one.topic: one for one in reversed(self.reader.connections)}
        self.topics = [
            Topic(one.id, name, one.msgtype.replace("/msg/", "/"))
            for name, one in reversed(connections.items())
        ]

    def messages(self, topic):
        chosen = [one for one in self.reader.connections if one.topic == topic.name]
        try:
            for _, nanoseconds, data in self.reader.messages(connections=chosen):
                yield nanoseconds, bytes(data)
        except self.errors as error:
            raise ValueError(f"damaged ({error}); copy it again") from None

    def count(self, topic):
        return self.reader.topics[topic.name].msgcount

    def __exit__(self, *error):
        self.reader.close()


class _Ros2Bag(Bag):
    ros2 = True

    def __init__(self, path: Path):
        # Read only, and without a journal beside the file.
        self.database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            rows = self.database.execute("select id, name, type from topics").fetchall()
        except sqlite3.DatabaseError as error:
            self.database.close()
            raise ValueError(f"{path}: not a ROS 2 bag ({error})") from None
        self.topics = [Topic(n, name, kind.replace("/msg/", "/")) for n, name, kind in rows]

    def messages(self, topic):
        query = "select timestamp, data from messages where topic_id = ? order by timestamp, id"
        yield from self._rows(query, topic)

    def count(self, topic):
        ((count,),) = self._rows("select count(*) from messages where topic_id = ?", topic)
        return count

    def _rows(self, query: str, topic: Topic) -> Iterator[Any]:
        try:
            # A cursor closes with its generator, which a closed database refuses; map does not.
            yield from map(tuple, self.database.execute(query, (topic.number,)))
        except sqlite3.DatabaseError as error:
            raise ValueError(f"damaged ({error}); copy it again") from None

    def __exit__(self, *error):
        self.database.close()


def open_bag(path: Path) -> Bag:
    """The bag in a file, by its first bytes; ValueError, one line, for anything else."""
    with path.open("rb") as file:
        start = file.read(16)
    if start[:7] == b"#ROSBAG":
        return _Ros1Bag(path)
    if start[:15] == b"SQLite format 3":
        return _Ros2Bag(path)
    raise ValueError(f"{path}: no recording; expected a ROS bag: .bag, or .db3 of SQLite")
