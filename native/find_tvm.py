"""Print the folders of the packages tvm and tvm_ffi, separated by a semicolon, for CMake."""

from importlib.util import find_spec
from pathlib import Path


def package_folder(name: str) -> Path:
    """Return the folder of an installed package without importing it."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"the package {name} is not installed")
    return Path(spec.origin).parent


print(f"{package_folder('tvm')};{package_folder('tvm_ffi')}")
