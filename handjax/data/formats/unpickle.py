"""The only unpickling of the project: plain containers, numbers, strings and NumPy arrays of them, and nothing else.

A pickle is a program that calls whatever it names. Here a dozen names lead anywhere, matched whole, and what they
lead to is ours: not even NumPy's own constructors see what is in the file, because a dtype's pickled state may claim
that raw bytes are pointers. Arrays come as a subclass of `np.ndarray`, so that filling one checks what goes in; use
`np.asarray`. Arrays of objects, records, dates and masked arrays are refused, and so is every class.
"""

import os
import pickle
import pickletools
import re
from pathlib import Path

import numpy as np

# Opcodes that reach outside the file: extension codes may skip `find_class`, persistent ids and buffers are someone's.
_OUTSIDE = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"}


def read(path: str | os.PathLike) -> object:
    """What the pickle file holds; any protocol, also of Python 2, whose strings are read as latin-1.

    Anything else than containers, numbers, strings and arrays of numbers or strings raises a ValueError of one line
    before it is called, and so does a file that is cut short or no pickle.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a pickle")
    try:
        with path.open("rb") as file:
            for opcode, argument, at in pickletools.genops(file):
                if opcode.name in _OUTSIDE:
                    raise pickle.UnpicklingError(
                        f"asks for what is outside of the file ({opcode.name} at byte {at})"
                    )
                if (
                    opcode.name.endswith("PUT") and argument > at
                ):  # the memo is an array: it would fill the memory
                    raise pickle.UnpicklingError(
                        f"remembers more things than it holds ({opcode.name} at byte {at})"
                    )
            file.seek(0)
            return _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # a hostile or broken file may raise anything
        what = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path}: {what}; expected a whole pickle of containers, numbers, strings and NumPy arrays"
        ) from None


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        # The whole name is looked up, never its parts: "_reconstruct.__globals__" is no entry.
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"names {module}.{name}, which is not admitted") from None


class _Function:
    """Calls one function. It takes no state, so that a pickle cannot change what the next one will call."""

    __slots__ = ("_function",)

    def __init__(self, function):
        self._function = function

    def __call__(self, *args):
        return self._function(*args)

    def __setstate__(self, state):
        raise pickle.UnpicklingError("sets the state of a function")


class _DType:
    """A dtype of numbers or strings, from its code and byte order alone."""

    __slots__ = ("dtype",)

    def __init__(self, code: object, *_: object):
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?([biufcSU]\d{1,9}|\?)", code):
            raise pickle.UnpicklingError(
                f"holds an array of dtype {code!r}, which is neither numbers nor strings"
            )
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple):
        _, order, subdtype, names, fields = state[:5]
        if order not in ("<", ">", "|", "=") or (subdtype, names, fields) != (None, None, None):
            raise pickle.UnpicklingError("holds an array of a structured dtype")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    def __setstate__(self, state: tuple):
        _, shape, dtype, fortran, raw = state
        _check(shape, dtype, raw := _raw(raw))
        super().__setstate__((1, shape, dtype.dtype, bool(fortran), raw))


def _raw(raw: object) -> object:
    return (
        raw.encode("latin1") if isinstance(raw, str) else raw
    )  # Python 2's bytes have become a str


def _check(shape: object, dtype: object, raw: object) -> None:
    if (
        not isinstance(dtype, _DType)
        or not isinstance(shape, tuple)
        or not isinstance(raw, bytes | bytearray)
    ):
        raise pickle.UnpicklingError(
            "holds an array that is not made of a shape, a dtype and bytes"
        )
    if not all(type(n) is int and n >= 0 for n in shape) or len(raw) != dtype.dtype.itemsize * int(
        np.prod(shape, dtype=object)
    ):
        raise pickle.UnpicklingError(
            f"holds an array of shape {shape} and {dtype.dtype} in {len(raw)} bytes"
        )


def _reconstruct(subtype: object, *_: object) -> _Array:
    if subtype is not _NDARRAY:
        raise pickle.UnpicklingError("makes an array of a class that is not numpy.ndarray")
    return np.ndarray.__new__(_Array, (0,))  # its state will say the shape


def _scalar(dtype: object, raw: object) -> np.generic:
    _check((), dtype, raw := _raw(raw))
    return np.frombuffer(raw, dtype.dtype)[0]


def _frombuffer(
    raw: object, dtype: object, shape: object, order: object, axes: object = None
) -> np.ndarray:
    _check(shape, dtype, raw)
    if axes is not None or order not in ("C", "F"):
        raise pickle.UnpicklingError(
            f"holds an array in order {order!r}; pickle it anew as a contiguous one"
        )
    return np.frombuffer(raw, dtype.dtype).reshape(shape, order=order)


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"holds bytes encoded as {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How the oldest protocols write b"": a call of `bytes` with nothing."""
    return b""


def _not_called(*_: object):
    raise pickle.UnpicklingError("calls numpy.ndarray")


_NDARRAY = _Function(_not_called)
_NUMPY = {
    "multiarray": {"_reconstruct": _Function(_reconstruct), "scalar": _Function(_scalar)},
    "numeric": {"_frombuffer": _Function(_frombuffer)},
}
_BUILTINS = {
    "set": _Function(set),
    "frozenset": _Function(frozenset),
    "complex": _Function(complex),
    "bytes": _Function(_no_bytes),
}
_ADMITTED = {
    **{
        (f"numpy.{core}.{part}", name): f
        for core in ("core", "_core")
        for part in _NUMPY
        for name, f in _NUMPY[part].items()
    },
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Function(_DType),
    ("_codecs", "encode"): _Function(_encode),
    **{
        (module, name): f for module in ("builtins", "__builtin__") for name, f in _BUILTINS.items()
    },
}
