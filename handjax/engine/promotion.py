"""Dtype promotion."""

import functools
from collections.abc import Callable
from typing import Any

import jax


def any_promotion(function: Callable) -> Callable:
    """`function` under JAX's standard dtype promotion: rates and optax combine integer counts with
    floats, which a caller's strict promotion would refuse."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return function(*args, **kwargs)

    return call
