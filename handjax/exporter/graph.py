"""An ONNX graph under construction: tensors, nodes that are shared where they are equal, and
values that are transposed and expanded only where a node needs it."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Shaped
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 21
IR_VERSION = 10  # of the file format; read by onnxruntime from 1.18 on
Dim = Any  # an int, or a symbolic dimension of jax.export
Shape = tuple[Dim, ...]
Axes = Sequence[Any]  # JAX has ints and NumPy's


@dataclass(frozen=True, eq=False)
class Value:
    """A constant, or a tensor of the graph, with the shape that it has in JAX.

    In the graph its axes may be in another order: axis i there is axis layout[i] in JAX. Axes in
    `repeated` have size 1 there and stand for their values repeated.
    """

    shape: Shape
    dtype: np.dtype
    layout: tuple[int, ...]
    repeated: frozenset[int] = frozenset()
    array: Shaped[np.ndarray, "..."] | None = None  # of a constant; its layout is that of JAX
    name: str = ""  # of a tensor
    # What this tensor is a reshape of, if the last axis is the same: layers of matrices reshape
    # before and after.
    rows_of: "Value | None" = field(default=None, repr=False)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def plain(self) -> bool:
        """Whether the tensor's axes are in JAX's order."""
        return self.layout == tuple(range(self.rank))


def constant(array: Shaped[np.ndarray, "..."]) -> Value:
    """A constant of this array."""
    array = np.asarray(array)
    return Value(array.shape, array.dtype, tuple(range(array.ndim)), array=array)


class Graph:
    """Nodes and initializers, in the order in which they were made."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, Shaped[np.ndarray, ...]] = {}
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._known: dict[Any, list[str]] = {}
        self._count = itertools.count()  # a name is never used again, even if its node is dropped
        self._sizes: dict[str, tuple[str, int]] = {}  # symbol → an input and its axis

    # ------------------------------------------------------------ tensors

    def input(self, name: str, shape: Shape, dtype: np.dtype) -> Value:
        """Declare an input."""
        self.inputs.append(helper.make_tensor_value_info(name, onnx_type(dtype), _named(shape)))
        for axis, dim in enumerate(shape):
            if not isinstance(dim, int):
                self._sizes.setdefault(str(dim), (name, axis))
        return Value(shape, np.dtype(dtype), tuple(range(len(shape))), name=name)

    def output(self, name: str, value: Value) -> None:
        """Declare an output of this value."""
        self.nodes.append(helper.make_node("Identity", [self.full(value)], [name]))
        info = helper.make_tensor_value_info(name, onnx_type(value.dtype), _named(value.shape))
        self.outputs.append(info)

    def weight(self, array: Shaped[np.ndarray, "..."]) -> str:
        """The name of an initializer of this array; equal ones are stored once."""
        array = np.ascontiguousarray(array).reshape(array.shape)  # a scalar stays one
        key = ("weight", array.shape, array.dtype.str, array.tobytes())
        if key not in self._known:
            name = f"c{next(self._count)}"
            self.initializers[name] = array
            self._known[key] = [name]
        return self._known[key][0]

    def integers(self, values: Iterable[Any]) -> str:
        """An initializer of int64, as shapes and axes are given."""
        return self.weight(np.array([*values], np.int64))

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """The (first) output of a node; equal nodes are made once."""
        return self.node_outputs(op, *inputs, outputs=outputs, **attributes)[0]

    def node_outputs(self, op: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """All outputs of a node."""
        key = (op, inputs, outputs, repr(sorted(attributes.items())))
        if key not in self._known:
            names = [f"t{next(self._count)}" for _ in range(outputs)]
            self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
            self._known[key] = names
        return self._known[key]

    # ------------------------------------------------------------ values as tensors

    def tensor(self, value: Value, layout: Axes | None = None) -> str:
        """The tensor of a value in this order of axes, by default JAX's; repeated axes keep size 1,
        and a constant that is one number throughout has no axes at all."""
        layout = tuple(range(value.rank)) if layout is None else tuple(layout)
        if value.array is not None:
            array = value.array
            array = array.reshape(()) if array.size == 1 else array.transpose(layout)
            return self.weight(array)
        if layout == value.layout:
            return value.name
        order = [value.layout.index(axis) for axis in layout]
        return self.node("Transpose", value.name, perm=order)

    def full(self, value: Value, layout: Axes | None = None) -> str:
        """The tensor with every axis at its full size."""
        layout = tuple(range(value.rank)) if layout is None else tuple(layout)
        if value.array is not None:
            if all(isinstance(dim, int) for dim in value.shape):
                whole = np.broadcast_to(value.array, value.shape)
                return self.weight(whole.transpose(layout))
            name = self.weight(value.array.transpose(layout))
            return self.node("Expand", name, self.shape([value.shape[a] for a in layout]))
        name = self.tensor(value, layout)
        if not value.repeated:
            return name
        return self.node("Expand", name, self.shape([value.shape[axis] for axis in layout]))

    def expanded(self, value: Value) -> Value:
        """The same value with no axis repeated and in JAX's order, as a tensor."""
        return self.made(self.full(value), value.shape, value.dtype)

    def made(
        self,
        name: str,
        shape: Shape,
        dtype: np.dtype,
        layout: Axes | None = None,
        repeated: frozenset[int] = frozenset(),
    ) -> Value:
        """A value of a tensor that a node made."""
        layout = tuple(range(len(shape))) if layout is None else tuple(layout)
        return Value(tuple(shape), np.dtype(dtype), layout, repeated, name=name)

    def moved(self, value: Value, order: Axes) -> Value:
        """The value with its axes in another order, without a node: axis i is order[i] of now."""
        if value.array is not None:
            shape = tuple(value.shape[axis] for axis in order)
            array = value.array.transpose(order)
            return replace(constant(array), shape=shape, repeated=_ones(array.shape, shape))
        place = {old: new for new, old in enumerate(order)}
        return replace(
            value,
            shape=tuple(value.shape[axis] for axis in order),
            layout=tuple(place[axis] for axis in value.layout),
            repeated=frozenset(place[axis] for axis in value.repeated),
            rows_of=None,
        )

    # ------------------------------------------------------------ sizes that the caller chooses

    def size(self, dim: Dim) -> str:
        """A tensor [1] of int64 with this size; ValueError for one it cannot be computed from."""
        if isinstance(dim, int):
            return self.integers([dim])
        # As jax.export writes a size: b, or 3*b.
        factor, star, symbol = str(dim).rpartition("*")
        if not symbol.isidentifier() or (star and not factor.isdecimal()):
            raise ValueError(f"the size {dim}: expected a multiple of the batch")
        if symbol not in self._sizes:
            raise ValueError(f"the size {symbol} is not that of an input's axis")
        source, axis = self._sizes[symbol]
        name = self.node("Shape", source, start=axis, end=axis + 1)
        return self.node("Mul", name, self.integers([int(factor)])) if star else name

    def shape(self, shape: Sequence[Dim]) -> str:
        """A tensor of int64 with this shape."""
        if all(isinstance(dim, int) for dim in shape):
            return self.integers([int(dim) for dim in shape])
        return self.node("Concat", *(self.size(dim) for dim in shape), axis=0)

    def target(self, shape: Sequence[Dim]) -> str:
        """The shape for a Reshape: one unknown size is what remains."""
        open_ = [axis for axis, dim in enumerate(shape) if not isinstance(dim, int)]
        if len(open_) > 1:
            return self.shape(shape)
        return self.integers([-1 if axis in open_ else dim for axis, dim in enumerate(shape)])


def _named(shape: Shape) -> list[int | str]:
    return [dim if isinstance(dim, int) else str(dim) for dim in shape]


def _ones(physical: Axes, shape: Shape) -> frozenset[int]:
    """Axes that are repeated: 1 in the array, another size in JAX."""
    pairs = zip(physical, shape, strict=True)
    return frozenset(
        axis for axis, (one, dim) in enumerate(pairs) if not (isinstance(dim, int) and one == dim)
    )


def repeated_constant(array: Shaped[np.ndarray, "..."], shape: Shape) -> Value:
    """A constant whose axes of size 1 stand for those of `shape`."""
    return replace(constant(array), shape=tuple(shape), repeated=_ones(array.shape, shape))


def onnx_type(dtype: np.dtype) -> int:
    """ONNX's number of a dtype."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def tensor_proto(name: str, array: Shaped[np.ndarray, "..."]) -> TensorProto:
    """An initializer as the file has it."""
    return numpy_helper.from_array(array, name)
