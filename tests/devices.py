"""How many CPU devices a test's process sees, and how XLA compiles for them."""

from importlib.metadata import version

# The code generator of JAX 0.10 takes three times as long as the one before it, half of the whole
# suite. CI's stage on the newest JAX, which has no choice, tests what users have.
_QUICK = " --xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else ""


def xla_flags(devices: int) -> str:
    """The value of XLA_FLAGS for so many devices."""
    return f"--xla_force_host_platform_device_count={devices}{_QUICK}"
