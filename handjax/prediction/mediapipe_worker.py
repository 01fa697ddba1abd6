"""A program of its own that finds hands or people by MediaPipe, for the Python of another
environment.

It knows nothing of handjax. For each picture it reads a line of JSON {"height": H, "width": W} and
H x W x 3 bytes, RGB, and writes a line of JSON {"hands": [{"side", "uv"}]} in px, or
{"people": [{"uv", "xyz", "visibility"}]} in px, m from the middle of the hips, and 0 to 1. The
first line that it writes says the version, or the error.
"""

import json
import os
import sys


def main():
    """Arguments: the most hands per picture, "video" or "images", and "hands" or "people"."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints is no answer
    most, still, what = int(sys.argv[1]), sys.argv[2] != "video", sys.argv[3]

    def answer(**values):
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        import mediapipe
        import numpy

        solutions = mediapipe.solutions
        if what == "people":
            finder = solutions.pose.Pose(static_image_mode=still)
        else:
            finder = solutions.hands.Hands(static_image_mode=still, max_num_hands=most)
    except Exception as error:  # whatever an import of another environment raises
        answer(error=" ".join(f"{type(error).__name__}: {error}".split()))
        return
    answer(version=mediapipe.__version__)
    while line := sys.stdin.buffer.readline():
        size = json.loads(line)
        height, width = size["height"], size["width"]
        data = sys.stdin.buffer.read(3 * height * width)
        found = finder.process(numpy.frombuffer(data, numpy.uint8).reshape(height, width, 3))
        if what == "people":
            answer(people=_people(found, height, width))
            continue
        sides = found.multi_handedness or []
        hands = zip(sides, found.multi_hand_landmarks or [], strict=True)
        answer(
            hands=[
                {"side": side.classification[0].label, "uv": _pixels(hand, height, width)}
                for side, hand in hands
            ]
        )


def _people(found, height, width):
    """At most one."""
    if not found.pose_landmarks:
        return []
    one = {
        "uv": _pixels(found.pose_landmarks, height, width),
        "xyz": [[p.x, p.y, p.z] for p in found.pose_world_landmarks.landmark],
        "visibility": [p.visibility for p in found.pose_landmarks.landmark],
    }
    return [one]


def _pixels(found, height, width):
    """Its px begin at the edge of the picture, handjax's at the middle of a pixel."""
    return [[p.x * width - 0.5, p.y * height - 0.5] for p in found.landmark]


if __name__ == "__main__":
    main()
