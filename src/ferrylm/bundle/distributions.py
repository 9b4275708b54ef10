"""The packages that a bundle carries beside ferrylm and TVM, and what of them it leaves out."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

# Needed by installers, tests or compilers only.
_NEVER = (
    "*/__pycache__/*", "*/tests/*", "*.pyi", "*.pyx", "*.pxd", "*.a", "*.h",
    "*.dist-info/RECORD", "*.dist-info/WHEEL", "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED", "*.dist-info/direct_url.json", "*.data/*", "../*",
)  # fmt: skip


@dataclass(frozen=True)
class Distribution:
    """A package of an index.

    `drop` are patterns of files to leave out; `may_differ` those in which the wheels of one
    version differ without harm, so that any of them will do.
    """

    name: str
    version: str
    versions: dict[str, str] = field(default_factory=dict, hash=False)  # by Python, if another
    drop: tuple[str, ...] = ()
    may_differ: tuple[str, ...] = ()

    def version_for(self, python: str) -> str:
        """Return the version that a Python gets."""
        return self.versions.get(python, self.version)

    def keeps(self, path: str) -> bool:
        """Tell whether a file of the package belongs into a bundle."""
        return not any(fnmatchcase(path, pattern) for pattern in (*_NEVER, *self.drop))


TVM_FFI = "apache-tvm-ffi"
_TVM_FFI_DROP = tuple(
    f"tvm_ffi/{name}/*"
    for name in ("3rdparty", "include", "src", "share", "stub", "testing", "cython")
)
_NUMPY_DROP = (
    "numpy/f2py/*", "numpy/*/include/*", "numpy/_core/_simd.*", "numpy/_core/*_tests.*",
    "numpy/_pyinstaller/*", "numpy/random/_examples/*",
)  # fmt: skip

# No release of numpy serves both 3.10 and 3.14.
NUMPY = Distribution(
    "numpy", "2.3.5", {"3.10": "2.2.6"}, _NUMPY_DROP, may_differ=("numpy/__config__.py",)
)

CUDA_RUNTIME = Distribution(
    "nvidia-cuda-runtime", "13.0.96", drop=("nvidia/*/include/*", "nvidia/*/bin/*")
)


def distributions(tvm_ffi_version: str, kinds: frozenset[str]) -> tuple[Distribution, ...]:
    """Return what a bundle for these kinds of devices needs.

    tvm_ffi is that of the native libraries, the others are releases that were tried together.
    """
    always = (
        Distribution(TVM_FFI, tvm_ffi_version, drop=(*_TVM_FFI_DROP, "tvm_ffi/CMakeLists.txt")),
        NUMPY,
        Distribution("click", "8.1.8"),
        Distribution("jinja2", "3.1.6"),
        Distribution("markdown-it-py", "3.0.0"),
        Distribution("markupsafe", "3.0.3", drop=("markupsafe/*.c",)),
        Distribution("mdurl", "0.1.2"),
        Distribution("platformdirs", "4.3.8"),
        Distribution("psutil", "7.1.3"),
        Distribution("pygments", "2.19.2"),
        Distribution("rich", "14.1.0"),
        Distribution("tokenizers", "0.22.1"),
        Distribution("typing-extensions", "4.15.0"),
    )
    return (*always, CUDA_RUNTIME) if "cuda" in kinds else always
