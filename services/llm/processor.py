"""What this machine's processor is good at; read without loading a tensor library."""

from pathlib import Path

_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""AVX512-BF16, AMX and (on ARM) the BF16 extension, as /proc/cpuinfo spells them."""
_VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni"})


def prefers_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether bfloat16 is faster than float32 here: it doubles it where the processor has it, and is slow elsewhere."""
    return not _BFLOAT16_FLAGS.isdisjoint(_flags(cpuinfo))


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether bytes are multiplied into 32 bits at once; without it sums of two products may not fit into 16 bits."""
    return not _VNNI_FLAGS.isdisjoint(_flags(cpuinfo))


def _flags(cpuinfo: Path) -> list[str]:
    try:
        text = cpuinfo.read_text("utf-8", errors="replace")
    except OSError:
        return []
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return value.split()
    return []
