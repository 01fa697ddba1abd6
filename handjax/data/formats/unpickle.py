"""The project's only unpickling: plain containers, numbers, strings and NumPy arrays of them.

A pickle is a program that calls whatever it names. Here only a dozen names resolve, matched as a
whole, and they resolve to our own functions. Not even NumPy's constructors receive the content of
the file, because a dtype's pickled state may claim that raw bytes are pointers.

Arrays come as a subclass of `np.ndarray`, so that their content is checked as they are filled; use
`np.asarray`. Arrays of objects, records, dates and masked arrays are rejected, and so is every
class.
"""

import os
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np

# Opcodes that reach outside the file: extension codes may skip `find_class`; persistent ids and
# buffers belong to the caller.
_OUTSIDE = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"}


def read(path: str | os.PathLike) -> object:
    """Content of a pickle file of any protocol; strings of Python 2 are read as latin-1.

    ValueError, one line, for anything but containers, numbers, strings and arrays of numbers or
    strings, before it is called; also for a truncated file and for one that is not a pickle.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a pickle")
    try:
        with path.open("rb") as file:
            for opcode, argument, at in pickletools.genops(file):
                if opcode.name in _OUTSIDE:
                    raise pickle.UnpicklingError(
                        f"refers to something outside the file ({opcode.name} at byte {at})"
                    )
                # The memo is an array: a large index would fill the memory.
                if opcode.name.endswith("PUT") and cast(int, argument) > cast(int, at):
                    raise pickle.UnpicklingError(
                        f"memorizes more objects than it holds ({opcode.name} at byte {at})"
                    )
            file.seek(0)
            return _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # a hostile or damaged file may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path}: {reason}; expected a complete pickle of containers, numbers, strings and "
            "NumPy arrays"
        ) from None


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        # The whole name is looked up, never its parts: "_reconstruct.__globals__" is not an entry.
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"names {module}.{name}, which is not admitted") from None


class _Function:
    """Calls one function. It takes no state, so a pickle cannot change what the next one calls."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]):
        self._function = function

    def __call__(self, *args: object) -> object:
        return self._function(*args)

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("sets the state of a function")


class _DType:
    """A dtype of numbers or strings, from its code and byte order alone."""

    __slots__ = ("dtype",)
    dtype: np.dtype

    def __init__(self, code: object, *_: object):
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?([biufcSU]\d{1,9}|\?)", code):
            raise pickle.UnpicklingError(
                f"holds an array of dtype {code!r}, which is neither numbers nor strings"
            )
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, subdtype, names, fields = state[:5]
        if order not in ("<", ">", "|", "=") or (subdtype, names, fields) != (None, None, None):
            raise pickle.UnpicklingError("holds an array of a structured dtype")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        checked_shape, checked_dtype, checked_raw = _checked(shape, dtype, _to_bytes(raw))
        # NumPy's stubs are narrower than its C code, which takes any integer and a bytearray.
        order, data = cast(np.bool_, bool(fortran)), cast(bytes, checked_raw)
        super().__setstate__((1, checked_shape, checked_dtype, order, data))


def _to_bytes(raw: object) -> object:
    """Bytes of Python 2 have become a str."""
    return raw.encode("latin1") if isinstance(raw, str) else raw


def _checked(
    shape: object, dtype: object, raw: object
) -> tuple[tuple[int, ...], np.dtype, bytes | bytearray]:
    """The arguments with their types, if they describe an array."""
    if (
        not isinstance(dtype, _DType)
        or not isinstance(shape, tuple)
        or not isinstance(raw, bytes | bytearray)
    ):
        raise pickle.UnpicklingError("holds an array that lacks a shape, a dtype and bytes")
    whole = all(type(n) is int and n >= 0 for n in shape)
    if not whole or len(raw) != dtype.dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise pickle.UnpicklingError(
            f"holds an array of shape {shape} and {dtype.dtype} in {len(raw)} bytes"
        )
    return shape, dtype.dtype, raw


def _reconstruct(subtype: object, *_: object) -> _Array:
    if subtype is not _NDARRAY:
        raise pickle.UnpicklingError("makes an array of a class that is not numpy.ndarray")
    return np.ndarray.__new__(_Array, (0,))  # its state sets the shape


def _scalar(dtype: object, raw: object) -> np.generic:
    _, kind, data = _checked((), dtype, _to_bytes(raw))
    return np.frombuffer(data, kind)[0]


def _frombuffer(
    raw: object, dtype: object, shape: object, order: object, axes: object = None
) -> np.ndarray:
    checked_shape, kind, data = _checked(shape, dtype, raw)
    if axes is not None or order not in ("C", "F"):
        raise pickle.UnpicklingError(
            f"holds an array in order {order!r}; pickle it again as a contiguous one"
        )
    return np.frombuffer(data, kind).reshape(checked_shape, order=order)


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"holds bytes encoded as {encoding!r}")
    if not isinstance(text, str):
        raise pickle.UnpicklingError("encodes something that is not text")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """The oldest protocols write b"" as a call of `bytes` without arguments."""
    return b""


def _not_called(*_: object) -> NoReturn:
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
        (f"numpy.{core}.{part}", name): function
        for core in ("core", "_core")
        for part, functions in _NUMPY.items()
        for name, function in functions.items()
    },
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Function(_DType),
    ("_codecs", "encode"): _Function(_encode),
    **{
        (module, name): function
        for module in ("builtins", "__builtin__")
        for name, function in _BUILTINS.items()
    },
}
