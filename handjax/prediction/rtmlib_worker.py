"""A program of its own that finds people by rtmlib, for the Python of another environment.

It reads pictures and answers as mediapipe_worker.py does: {"boxes": [[left, top, right, bottom]]},
px. Its network is the one that rtmlib downloads for its lightweight Body.
"""

import json
import os
import sys


def main():
    """Answer about one picture after another."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints is no answer

    def answer(**values):
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        import numpy
        import rtmlib

        mode = rtmlib.Body.MODE["lightweight"]
        finder = rtmlib.YOLOX(mode["det"], model_input_size=mode["det_input_size"])
    except Exception as error:  # whatever an import or a download raises
        answer(error=" ".join(f"{type(error).__name__}: {error}".split()))
        return
    answer(version=getattr(rtmlib, "__version__", ""))
    while line := sys.stdin.buffer.readline():
        size = json.loads(line)
        shape = size["height"], size["width"], 3
        data = sys.stdin.buffer.read(shape[0] * shape[1] * 3)
        rgb = numpy.frombuffer(data, numpy.uint8).reshape(shape)
        boxes = numpy.reshape(finder(numpy.ascontiguousarray(rgb[..., ::-1])), (-1, 4))
        answer(boxes=[[float(value) for value in box] for box in boxes])


if __name__ == "__main__":
    main()
