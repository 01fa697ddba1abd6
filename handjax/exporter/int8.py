"""ONNX files whose convolutions compute in 8 bits.

Static quantization by onnxruntime: scales of weights per output channel, scales of activations from
inputs that the float32 model is run on first. Weights keep to 7 of their 8 bits: CPUs without VNNI
add pairs of 8-bit products in 16 bits, which saturate, and the joints of `hand-depth` were 33 mm
off instead of 6 (onnxruntime 1.32, AVX2).
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from handjax.exporter.contents import Arrays


class _OneByOne(CalibrationDataReader):
    """The samples of a batch, one at a time."""

    def __init__(self, arrays: Arrays) -> None:
        count = len(next(iter(arrays.values())))
        self.samples: Iterator[dict[str, np.ndarray]] = (
            {name: value[i : i + 1] for name, value in arrays.items()} for i in range(count)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.samples, None)


def to_int8(model: onnx.ModelProto, layers: list[str], arrays: Arrays) -> onnx.ModelProto:
    """`model` with the nodes named in `layers` in 8 bits, calibrated on `arrays`, its inputs.

    Everything else, crop and decoding among it, stays in float32. Samples on which a layer's
    activations are not finite do not count; ValueError if there are no others.
    """
    model = _typed(model, layers)
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)  # it recommends a preparation that `simplify` has done
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN")  # the error below says so
            path = Path(folder, "int8.onnx")
            quantize_static(
                model,
                path,
                _OneByOne(arrays),
                quant_format=QuantFormat.QDQ,
                nodes_to_quantize=layers,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            made = onnx.load(path)
    except AssertionError as error:  # of a scale that is not finite
        raise ValueError("8 bits: a layer is finite on none of the inputs; use others") from error
    finally:
        root.setLevel(before)
    del made.metadata_props[:]
    made.metadata_props.extend(model.metadata_props)
    made.producer_name, made.producer_version = model.producer_name, model.producer_version
    onnx.checker.check_model(made, full_check=True)
    return made


def _typed(model: onnx.ModelProto, layers: list[str]) -> onnx.ModelProto:
    """A copy that names the type of what goes into `layers` and comes out: onnx does not infer it
    behind a GroupNormalization, and onnxruntime then has no scale for it."""
    typed = onnx.ModelProto()
    typed.CopyFrom(model)
    known = {one.name for part in ("input", "output") for one in getattr(typed.graph, part)}
    known |= {one.name for one in typed.graph.value_info}
    wanted = set(layers)
    nodes = [node for node in typed.graph.node if node.name in wanted]
    names = dict.fromkeys(name for node in nodes for name in (node.input[0], node.output[0]))
    typed.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in names
        if name not in known
    )
    return typed
