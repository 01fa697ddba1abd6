import copyreg
import functools
import os
import pickle
import struct

import numpy as np
import pytest

from handjax.data.formats import unpickle

PLAIN = {
    "none": None,
    "numbers": [True, -3, 10**30, 2.5, 1 + 2j],
    "text": ("", "ü", b"", b"\xff\x00"),
    "sets": ({1, 2}, frozenset({"a"})),
    "nested": {"a": [{"b": (1, [2])}]},
}
ARRAYS = {
    "f8": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
    "sliced": np.arange(10, dtype=np.uint8)[::3],
    "big_endian": np.arange(3, dtype=">i4"),
    "half": np.ones(2, np.float16),
    "complex": np.ones(2, np.complex64),
    "bool": np.array([True, False]),
    "unicode": np.array(["ab", "cü"]),
    "bytes": np.array([b"ab", b"c"]),
    "none": np.zeros((0, 3)),
    "one": np.array(3.0),
    "float32": np.float32(2.5),
    "int64": np.int64(-1),
    "truth": np.bool_(True),
}
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture
def load(tmp_path):
    def load_bytes(data):
        (tmp_path / "some.pkl").write_bytes(data)
        return unpickle.read(tmp_path / "some.pkl")

    return load_bytes


@pytest.fixture
def refused(load):
    """Loads, and returns the one line of the error."""

    def line(data):
        with pytest.raises(ValueError) as error:
            load(data)
        text = str(error.value)
        assert "\n" not in text and "some.pkl: " in text and "expected" in text
        return text

    return line


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_round_trip(load, protocol):
    assert load(pickle.dumps(PLAIN, protocol)) == PLAIN
    shared = [1]
    a, b = load(pickle.dumps([shared, shared], protocol))
    assert a is b


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_round_trip(load, protocol):
    for name, back in load(pickle.dumps(ARRAYS, protocol)).items():
        expected = pickle.loads(pickle.dumps(ARRAYS[name], protocol))
        assert np.asarray(back).dtype == np.asarray(expected).dtype, name
        assert isinstance(back, np.ndarray) == isinstance(expected, np.ndarray)
        np.testing.assert_array_equal(back, expected)


def test_python_2_and_old_numpy(load):
    """numpy.core, not numpy._core, and str for bytes: an array and a scalar of Python 2."""
    raw = np.array([1.5, -2.0]).tobytes()

    def text(b):
        return b"T" + struct.pack("<I", len(b)) + b

    dtype = b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR"
    dtype += b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"
    array += b"(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x02t"
    np.testing.assert_array_equal(load(array + dtype + b"\x89" + text(raw) + b"tb."), [1.5, -2.0])
    assert (
        load(b"\x80\x02cnumpy.core.multiarray\nscalar\n(" + dtype + text(raw[:8]) + b"tR.") == 1.5
    )


def test_real_file(real_data):
    tree = unpickle.read(real_data / "hand" / "preprocessed_hand.pkl")
    assert sorted(tree) == ["bones", "faces", "vertices"] and len(tree["bones"]) == 17
    assert tree["vertices"].shape == (10144, 4) and tree["faces"].shape == (3382, 3)
    assert tree["bones"][0]["name"] == "metacarpals" and tree["bones"][0]["keypoint"][0][1] == 20.0


class Calls:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


ran = []


def run():
    """The function that a hostile pickle would call."""
    ran.append(1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "function, args",
    [
        (os.system, ("exit 1",)),
        (eval, ("ran.append(1)",)),
        (exec, ("ran.append(1)",)),
        (getattr, ("", "join")),
        (__import__, ("os",)),
        (open, ("/etc/passwd",)),
        (run, ()),
        (functools.partial, (run,)),
        (copyreg._reconstructor, (list, list, [])),
        (np.load, ("x.npy",)),
        (np.memmap, ("x",)),
        (np.fromfile, ("x",)),
        (np.testing.assert_equal, (1, 1)),
        (np.recarray, ((1,), "f8")),
        (bytearray, (10,)),
        (range, (3,)),
        (pickle.loads, (b"N.",)),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_calls_are_rejected_before_they_run(refused, tmp_path, protocol, function, args):
    hostile = Calls(function, *args)
    for data in (hostile, [1, {"a": (hostile,)}], {"array": np.ones(2), "after": hostile}):
        line = refused(pickle.dumps(data, protocol))
        assert function.__name__ in line and "not admitted" in line
    assert not ran


def test_plain_pickle_would_have_run_it():
    pickle.loads(pickle.dumps(Calls(run)))
    assert ran.pop() and not ran


class Thing:
    pass


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_classes_are_rejected(refused, protocol):
    assert "admitted" in refused(pickle.dumps(Thing(), protocol))
    assert "Thing" in refused(pickle.dumps([Thing], protocol))


def short(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


def named(module, name):
    """A global by STACK_GLOBAL, which splits a dotted name."""
    return short(module) + short(name) + b"\x93"


@pytest.mark.parametrize(
    "module, name",
    [
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy._core.multiarray", "_reconstruct.__call__"),
        ("numpy", "ndarray.tofile"),
        ("numpy", "dtype.__init__.__globals__"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.core", "multiarray._reconstruct"),
        ("_codecs", "decode"),
        ("_codecs", "encode.__self__"),
        ("builtins", "set.__class__"),
        ("builtins", ""),
        ("handjax.data.formats.unpickle", "read"),
    ],
)
def test_names_are_matched_whole(refused, module, name):
    assert "not admitted" in refused(b"\x80\x04" + named(module, name) + b".")


RECONSTRUCT = named("numpy._core.multiarray", "_reconstruct")
EMPTY = RECONSTRUCT + named("numpy", "ndarray") + b"K\x00\x85" + b"C\x01b\x87R"


LITTLE_ENDIAN = b"(K\x03" + short("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def dtype(code, state=LITTLE_ENDIAN):
    return named("numpy", "dtype") + short(code) + b"\x89\x88\x87R" + state


def array(shape, kind, raw):
    return (
        b"\x80\x04"
        + EMPTY
        + b"(K\x01"
        + shape
        + kind
        + b"\x89"
        + b"C"
        + bytes([len(raw)])
        + raw
        + b"tb."
    )


def test_handmade_array(load):
    np.testing.assert_array_equal(
        load(array(b"K\x02\x85", dtype("f8"), np.ones(2).tobytes())), [1, 1]
    )


@pytest.mark.parametrize(
    "data, what",
    [
        # Raw bytes that NumPy would take for pointers: objects, or a record of objects whose flags
        # deny it.
        (array(b"K\x01\x85", dtype("O8"), b"\x00" * 8), "neither numbers nor strings"),
        (array(b"K\x01\x85", dtype("V8"), b"\x00" * 8), "neither numbers nor strings"),
        (array(b"K\x01\x85", dtype("M8[ns]"), b"\x00" * 8), "neither numbers nor strings"),
        (array(b"K\x01\x85", dtype("f8,O"), b"\x00" * 8), "neither numbers nor strings"),
        (
            array(
                b"K\x01\x85",
                dtype("f8", b"(K\x03" + short("<") + b"N" + short("a") + b"\x85}K\x08K\x01K\x00tb"),
                b"\x00" * 8,
            ),
            "structured",
        ),
        (array(b"K\x01\x85", dtype("f8", b"(K\x03K\x01NNNtb"), b"\x00" * 8), "structured"),
        # Shapes that do not match the bytes.
        (array(b"K\x02\x85", dtype("f8"), b"\x00" * 8), "in 8 bytes"),
        (array(b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86", dtype("f8"), b"\x00" * 8), "in 8 bytes"),
        (array(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", dtype("f8"), b"\x00" * 8), "in 8 bytes"),
        (array(b"G?\xf0\x00\x00\x00\x00\x00\x00\x85", dtype("f8"), b"\x00" * 8), "in 8 bytes"),
        (array(b"N", dtype("f8"), b"\x00" * 8), "a shape, a dtype and bytes"),
        (array(b"K\x01\x85", b"N", b"\x00" * 8), "a shape, a dtype and bytes"),
        # Calls of names that may only be referred to, and states of objects without one.
        (b"\x80\x04" + named("numpy", "ndarray") + b"K\x01\x85\x85R.", "calls numpy.ndarray"),
        (b"\x80\x04" + named("numpy", "ndarray") + b")\x81.", "NEWOBJ"),
        (
            b"\x80\x04" + RECONSTRUCT + named("builtins", "set") + b"K\x00\x85C\x01b\x87R.",
            "not numpy.ndarray",
        ),
        (b"\x80\x04" + RECONSTRUCT + b"}" + short("__defaults__") + b"Nsb.", "state of a function"),
        (
            b"\x80\x04" + RECONSTRUCT + b"N}" + short("_function") + b"Ns\x86b.",
            "state of a function",
        ),
        (
            b"\x80\x04" + named("builtins", "complex") + b"N}" + short("real") + b"Ns\x86b.",
            "state of a function",
        ),
        (b"\x80\x04]N}" + short("append") + b"Ns\x86b.", "append"),
        (
            b"\x80\x04" + named("_codecs", "encode") + short("a") + short("rot13") + b"\x86R.",
            "rot13",
        ),
        (b"\x80\x04" + named("builtins", "bytes") + b"J\xff\xff\xff\x7f\x85R.", "argument"),
        # References to something outside the file.
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02\x83\x01\x00.", "EXT2"),
        (b"\x80\x02\x84\x01\x00\x00\x00.", "EXT4"),
        (b"Psomeone\n.", "PERSID"),
        (b"\x80\x02K\x01Q.", "BINPERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x02Nr\xff\xff\xff\xff.", "LONG_BINPUT"),
        # Not a pickle, or a truncated one.
        (b"", "pickle"),
        (b"hello world", "pickle"),
        (b"\x89PNG\r\n\x1a\n", "pickle"),
        (b"\x80\x63N.", "protocol"),
        (pickle.dumps(PLAIN)[:-1], "pickle"),
        (pickle.dumps(np.arange(100.0))[:-50], "pickle"),
        (b"\x80\x02R.", "pickle"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_hostile_and_broken_pickles(refused, data, what):
    assert what in refused(data)


def test_cached_extension_is_rejected(refused):
    copyreg.add_extension("os", "system", 250)
    try:
        data = b"\x80\x02\x82\xfa."
        assert pickle.loads(data) is os.system  # cached, so that no name is looked up again
        assert "EXT1" in refused(data)
    finally:
        copyreg.remove_extension("os", "system", 250)


def test_rejections_leave_no_state(load, refused):
    refused(b"\x80\x04" + RECONSTRUCT + b"}" + short("_function") + b"Nsb.")
    np.testing.assert_array_equal(load(pickle.dumps(np.ones(2))), [1, 1])


def test_objects_in_arrays_are_rejected(refused):
    assert "neither numbers nor strings" in refused(pickle.dumps(np.array([{}, None], object)))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pkl: no such file; expected a pickle"):
        unpickle.read(tmp_path / "none.pkl")
