"""A program of its own that finds hands by MediaPipe, for the Python of another environment.

It knows nothing of handjax. For each picture it reads a line of JSON {"height": H, "width": W} and
H x W x 3 bytes, RGB, and writes a line of JSON {"hands": [{"side", "uv"}]}, px. The first
line that it writes says the version, or the error.
"""

import json
import os
import sys


def main():
    """Arguments: the most hands per picture, and "video" or "images"."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints is no answer

    def answer(**values):
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        import mediapipe
        import numpy

        finder = mediapipe.solutions.hands.Hands(
            static_image_mode=sys.argv[2] != "video", max_num_hands=int(sys.argv[1])
        )
    except Exception as error:  # whatever an import of another environment raises
        answer(error=f"{type(error).__name__}: {error}")
        return
    answer(version=mediapipe.__version__)
    while line := sys.stdin.buffer.readline():
        size = json.loads(line)
        height, width = size["height"], size["width"]
        data = sys.stdin.buffer.read(3 * height * width)
        found = finder.process(numpy.frombuffer(data, numpy.uint8).reshape(height, width, 3))
        sides = found.multi_handedness or []
        hands = zip(sides, found.multi_hand_landmarks or [], strict=True)
        answer(
            hands=[
                {
                    "side": side.classification[0].label,
                    # Its px begin at the edge of the picture, ours at the middle of a pixel.
                    "uv": [[p.x * width - 0.5, p.y * height - 0.5] for p in hand.landmark],
                }
                for side, hand in hands
            ]
        )


if __name__ == "__main__":
    main()
