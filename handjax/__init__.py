"""Hand and body pose networks in JAX.

    predictor = handjax.load("hand-depth")    # or the folder of a trained run
    result = predictor(depth, camera=(fx, fy, cx, cy))
    result["index_tip"]                       # camera mm

`handjax.keep_programs()` before that keeps compiled programs on disk, as the commands do.
Importing handjax is free: JAX and NumPy are loaded when one of these functions is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handjax.engine.runtime import use_compile_cache as keep_programs
    from handjax.prediction.predictor import list_models, load

__version__ = "0.1.0"
__all__ = ["__version__", "keep_programs", "list_models", "load"]
_FROM = {  # name here → module, and the name there
    "keep_programs": ("handjax.engine.runtime", "use_compile_cache"),
    "list_models": ("handjax.prediction.predictor", "list_models"),
    "load": ("handjax.prediction.predictor", "load"),
}


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 'handjax' has no attribute {name!r}")
    module, there = _FROM[name]
    return getattr(importlib.import_module(module), there)


def __dir__() -> list[str]:
    return [*globals(), *_FROM]
