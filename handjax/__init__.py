"""Hand and body pose networks in JAX.

    predictor = handjax.load("hand-depth")    # or the folder of a trained run
    result = predictor(depth, camera=(fx, fy, cx, cy))
    result["index_tip"]                       # camera mm

Importing handjax is free: JAX and NumPy are loaded when `load` or `list_models` is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handjax.prediction.predictor import list_models, load

__version__ = "0.1.0"
__all__ = ["__version__", "list_models", "load"]


def __getattr__(name: str) -> Any:
    if name in ("list_models", "load"):
        return getattr(importlib.import_module("handjax.prediction.predictor"), name)
    raise AttributeError(f"module 'handjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "list_models", "load"]
