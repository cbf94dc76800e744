"""A faster matrix product under mlx, for tests alone.

The Linux wheel of mlx carries the reference BLAS: with it the embedded model reads a prompt at 10 tokens/s, with the
product inside ctranslate2's wheel at 110. Whoever runs mlx on Linux in earnest preloads OpenBLAS; the tests take what
is installed already. `python -m tests.support.fast_blas MODULE ARGUMENT...` runs a module so.
"""

import ctypes
import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_SHIM = """
typedef void (*sgemm)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
sgemm parley_test_sgemm;
void cblas_sgemm(int o, int ta, int tb, int m, int n, int k, float x, const float* a, int la, const float* b, int lb,
                 float y, float* c, int lc) { parley_test_sgemm(o, ta, tb, m, n, k, x, a, la, b, lb, y, c, lc); }
"""


def use_fast_blas() -> bool:
    """Put a library before mlx's own in which `cblas_sgemm` alone is another; to be called before mlx is imported.

    Alone, since torch must not find that library's other routines: it has its own versions of them. Returns False where
    a compiler or the library is missing: all works then, ten times slower.
    """
    compiler, spec = shutil.which("cc"), importlib.util.find_spec("ctranslate2")
    if sys.platform != "linux" or "mlx.core" in sys.modules or not compiler or spec is None or spec.origin is None:
        return False
    libraries = list((Path(spec.origin).parent.parent / "ctranslate2.libs").glob("libctranslate2*"))
    if not libraries:
        return False
    with tempfile.TemporaryDirectory() as folder:
        shim = Path(folder) / "shim.so"
        command = (compiler, "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(shim))
        subprocess.run(command, input=_SHIM, text=True, check=True)
        loaded = ctypes.CDLL(str(shim), mode=ctypes.RTLD_GLOBAL)
    # Threads that spin at a barrier starve each other where tests share the cores; read when the library is loaded.
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    routine = ctypes.cast(ctypes.CDLL(str(libraries[0])).cblas_sgemm, ctypes.c_void_p)
    ctypes.c_void_p.in_dll(loaded, "parley_test_sgemm").value = routine.value
    if threads is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = threads
    return True


if __name__ == "__main__":
    use_fast_blas()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
