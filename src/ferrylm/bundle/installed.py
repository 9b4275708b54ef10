"""Parts of a bundle that come from the packages installed beside this one: ferrylm and TVM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import ferrylm
from ferrylm.bundle.distributions import Distribution
from ferrylm.bundle.tree import BundleTree, Member
from ferrylm.errors import BundleError

TVM = "apache-tvm"

# What `import tvm` reads when TVM_USE_RUNTIME_LIB is set, and no more.
_TVM_FOLDERS = (
    "driver", "ir", "rpc", "runtime", "script", "support", "sym", "target", "te", "tirx",
)  # fmt: skip
_TVM_LIBRARIES = ("libtvm_runtime.so", "libtvm_runtime_extra.so")
_TVM_CUDA_LIBRARY = "libtvm_runtime_cuda.so"

_COMPILER_FOLDERS = ("bundle", "compile", "relax_models", "schedules")


def installed_files(item: Distribution) -> Iterator[tuple[str, Path]]:
    """Yield the files of an installed distribution that belong into a bundle.

    Raises BundleError if it is not installed.
    """
    for path, file in _files(item.name):
        if item.keeps(path):
            yield path, file


def installed_version(name: str) -> str:
    """Return the version of an installed distribution. Raises BundleError."""
    return _distribution(name).version


def add_tvm(tree: BundleTree, folder: str, kinds: frozenset[str]) -> None:
    """Add TVM without its compiler. Raises BundleError if a library of it is missing."""
    libraries = (*_TVM_LIBRARIES, *((_TVM_CUDA_LIBRARY,) if "cuda" in kinds else ()))
    rules = Distribution(TVM, "")
    found = set()
    for path, file in _files(TVM):
        if not rules.keeps(path):
            continue
        top, _, rest = path.partition("/")
        if top != "tvm" or _is_tvm_runtime(rest) or rest in {f"lib/{name}" for name in libraries}:
            tree.add(f"{folder}/{path}", Member(file))
            found.add(path)
    for name in libraries:
        if f"tvm/lib/{name}" not in found:
            raise BundleError(
                f"no tvm/lib/{name} in the installed {TVM} {installed_version(TVM)}",
                wanted="the libraries of TVM's wheel",
                fix="install apache-tvm 0.27 again, from its wheel",
            )


def add_ferrylm(tree: BundleTree, folder: str, kinds: frozenset[str]) -> None:
    """Add this package without its compiler, with the native libraries of these kinds.

    Raises BundleError if one of those was not built.
    """
    root = Path(ferrylm.__file__).resolve().parent
    for file in sorted((*root.rglob("*.py"), root / "py.typed")):
        path = file.relative_to(root)
        if path.parts[0] not in _COMPILER_FOLDERS:
            tree.add(f"{folder}/ferrylm/{path.as_posix()}", Member(file))
    for library in _native_libraries(kinds):
        tree.add(f"{folder}/ferrylm/native/{library.name}", Member(library))
    # The entry points in it let TVM find the native libraries.
    rules = Distribution("ferrylm", "")
    for name, source in _files("ferrylm"):
        if ".dist-info/" in name and rules.keeps(name):
            tree.add(f"{folder}/{name}", Member(source))


def _native_libraries(kinds: frozenset[str]) -> Iterator[Path]:
    from ferrylm.runtime import hip_backend, vulkan_backend

    for kind, name, path in (
        ("vulkan", vulkan_backend.LIBRARY_NAME, vulkan_backend.library_path()),
        ("rocm", hip_backend.LIBRARY_NAME, hip_backend.library_path()),
    ):
        if kind not in kinds:
            continue
        if path is None:
            raise BundleError(
                f"{name} was not built with this installation of ferrylm",
                wanted=f"it, for the target {kind}",
                fix="install ferrylm again where a C++ compiler is, or leave the target out",
            )
        yield path


def _is_tvm_runtime(path: str) -> bool:
    parts = path.split("/")
    if parts[0] == "licenses" or path in ("LICENSE", "NOTICE"):
        return True
    if not path.endswith(".py"):
        return False
    if len(parts) == 1 or parts[0] in _TVM_FOLDERS:
        return True
    return parts[0] == "backend" and len(parts) == 2


def _files(name: str) -> Sequence[tuple[str, Path]]:
    found = _distribution(name)
    files = sorted(found.files or (), key=str)
    paths = [(file.as_posix(), Path(str(file.locate()))) for file in files]
    return [(path, file) for path, file in paths if file.is_file()]


def _distribution(name: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise BundleError(
            f"{name} is not installed here",
            wanted="ferrylm and what it needs, installed as packages",
            fix="run `pip install 'ferrylm[bundle]'`",
        ) from None
