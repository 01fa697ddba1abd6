"""How many CPU devices a test's process sees, and how XLA compiles for them."""

import os
from importlib.metadata import version

# The code generator of JAX 0.10 takes three times as long as the one before it. CI's slow tests
# marked `optimized` (HANDJAX_QUICK_XLA=off) and its stage on the newest JAX use the one that users
# have.
_OLD = version("jaxlib").startswith("0.10.") and os.environ.get("HANDJAX_QUICK_XLA") != "off"
_QUICK = " --xla_cpu_use_fusion_emitters=false" if _OLD else ""


def xla_flags(devices: int) -> str:
    """The value of XLA_FLAGS for so many devices."""
    return f"--xla_force_host_platform_device_count={devices}{_QUICK}"
