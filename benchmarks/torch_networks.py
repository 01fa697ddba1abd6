"""The networks' reference implementations in PyTorch (tests/parity), run in other processes."""

import functools
import importlib
import importlib.util
import multiprocessing
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import harness
from benchmarks.harness import Effort
from handjax.engine.runtime import keep_memory

if TYPE_CHECKING:
    from benchmarks.networks import Network

KINDS = ("inference", "training step")
WAYS = ("PyTorch", "PyTorch, channels last")
COMPILED = "PyTorch, compiled, channels last"
COMPILED_HALF = "PyTorch, compiled, bfloat16, channels last"  # on a GPU


def first(outputs: Any) -> Any:
    """The first of several outputs."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def torch_runs(
    net: "Network", options: dict, x: np.ndarray, target: np.ndarray, effort: Effort
) -> dict[str, dict]:
    """Inference and training in both of PyTorch's memory layouts.

    Once in a process with the default memory management, and once in a process that retains freed
    memory, as ours does; with `effort.strongest` there also compiled, channels last.
    """
    if importlib.util.find_spec("torch") is None:
        return dict.fromkeys(KINDS, {"PyTorch": "not installed: pip install torch"})
    arguments = (net.reference, options, x, target, 1 if effort.tiny else harness.cores())
    references = {
        how: RemoteReference(kept, *arguments)
        for how, kept in (("", False), (", memory kept", True))
    }
    ways = [(how, reference, way) for how, reference in references.items() for way in WAYS]
    if effort.strongest:
        compiled = RemoteReference(True, *arguments, "cpu", True, slot="compiled")
        ways.append((", memory kept", compiled, COMPILED))
    return {
        kind: {f"{way}{how}": functools.partial(one.run, kind, way) for how, one, way in ways}
        for kind in KINDS
    }


def torch_gpu_runs(
    net: "Network", options: dict, x: np.ndarray, target: np.ndarray, effort: Effort
) -> dict[str, dict]:
    """Inference and training on the GPU, compiled: PyTorch at its fastest."""
    if importlib.util.find_spec("torch") is None:
        return dict.fromkeys(KINDS, {COMPILED_HALF: "not installed: pip install torch"})
    if not torch_sees_a_gpu():
        return dict.fromkeys(
            KINDS, {COMPILED_HALF: "this PyTorch sees no GPU: install one built for CUDA"}
        )
    reference = RemoteReference(
        False, net.reference, options, x, target, harness.cores(), "cuda", True, True
    )
    return {
        kind: {COMPILED_HALF: functools.partial(reference.run, kind, COMPILED_HALF)}
        for kind in KINDS
    }


@functools.cache
def torch_sees_a_gpu() -> bool:
    """Whether the installed PyTorch finds a GPU; in another process, as JAX holds the GPU here."""
    command = [sys.executable, "-c", "import torch; print(torch.cuda.is_available())"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() == "True"


class TorchReference:
    """A reference implementation ready to run, in both of PyTorch's memory layouts.

    With `compiled` it is compiled, channels last, and with `half` also in bfloat16.
    """

    def __init__(
        self,
        reference: tuple[str, str],
        options: dict,
        x: np.ndarray,
        target: np.ndarray,
        threads: int,
        device: str = "cpu",
        compiled: bool = False,
        half: bool = False,
    ):
        import torch

        sys.path.insert(0, str(harness.ROOT / "tests" / "parity"))
        reference_of = getattr(importlib.import_module(reference[0]), reference[1])
        torch.set_num_threads(threads)  # after the import, which sets one thread for the tests
        last = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
        ways = (
            [(COMPILED_HALF if half else COMPILED, last)]
            if compiled
            else zip(WAYS, (torch.contiguous_format, last), strict=True)
        )
        narrow = functools.partial(torch.autocast, device, torch.bfloat16, enabled=half)
        self._runs = {}
        for name, layout in ways:
            net = reference_of(**options).to(device)
            optimizer = torch.optim.RMSprop(net.parameters(), lr=2.5e-4)
            net = net.to(memory_format=layout)
            if compiled:
                net = torch.compile(net)
            inputs = torch.tensor(np.moveaxis(x, -1, 1).copy(), device=device).contiguous(
                memory_format=layout
            )
            maps = target.ndim >= x.ndim  # other targets have no channels to move
            wanted = torch.tensor(
                np.moveaxis(target, -1, target.ndim - x.ndim + 1).copy() if maps else target,
                device=device,
            )

            def infer(net=net, inputs=inputs):
                net.eval()
                with torch.inference_mode(), narrow():
                    return first(net(inputs)).sum().item()

            def train(net=net, inputs=inputs, wanted=wanted, optimizer=optimizer):
                net.train()
                optimizer.zero_grad()
                with narrow():
                    loss = torch.nn.functional.mse_loss(first(net(inputs)), wanted)
                loss.backward()
                optimizer.step()
                return loss.item()

            self._runs[name] = {"inference": infer, "training step": train}

    def run(self, kind: str, way: str) -> float:
        """One of KINDS in one of the layouts; returns the loss or the sum of the outputs."""
        return self._runs[way][kind]()


class RemoteReference:
    """A TorchReference in another process, shared by all networks, which idles between calls. Its
    memory is `kept` or not; `slot` is for one more such process."""

    def __init__(self, kept: bool, *arguments, slot: str = ""):
        self._pipe = _process(kept, slot)
        self._pipe.send(arguments)

    def run(self, *what: str) -> float:
        """`TorchReference.run` in the other process."""
        self._pipe.send(what)
        return self._pipe.recv()


@functools.cache
def _process(kept: bool, slot: str):
    spawn = multiprocessing.get_context("spawn")
    pipe, other = spawn.Pipe()
    with harness.idle_threads_rest():
        spawn.Process(target=_serve, args=(other, kept), daemon=True).start()
    return pipe


def _serve(pipe, kept: bool) -> None:
    if kept:
        keep_memory()
    reference = None
    while True:
        message = pipe.recv()
        if len(message) == 2:
            pipe.send(reference.run(*message))
        else:
            reference = TorchReference(*message)
