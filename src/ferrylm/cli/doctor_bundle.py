"""What `ferry doctor` says in a bundle: nothing of compilers, and which of its libraries run."""

from __future__ import annotations

from ferrylm.cli import doctor_checks as checks
from ferrylm.cli.bundle_here import BundleHere
from ferrylm.cli.doctor_checks import FAIL, OK, Line
from ferrylm.cli.doctor_probe import Probe

REPAIR = "unpack the bundle again; ./install.sh --check compares every file"

_NOWHERE = "install a driver for one of the devices above, or make a bundle for this machine"


def check_bundle(bundle: BundleHere) -> list[Line]:
    """Name the bundle, and what must be added before it runs."""
    targets = ", ".join(bundle.targets)
    if not bundle.missing_weights:
        return [Line("bundle", OK, f"{bundle.name}, for {targets}")]
    fix = f"run {bundle.root / 'install.sh'} --weights DIR, DIR being the artifact it was made from"
    return [Line("bundle", FAIL, f"{bundle.name} without {bundle.missing_weights[0]}", fix)]


def check_backends(probe: Probe) -> list[Line]:
    """Report native libraries that TVM could not start; those that it could are not news."""
    return [line for line in checks.check_backends(probe) if line.status != OK]


def check_libraries(probe: Probe) -> list[Line]:
    """Say which libraries run here; if none does, why each does not."""
    runnable = [one for one in probe.verdicts if one.runnable]
    if runnable:
        return [Line(f"runs {one.target}", OK, one.reason) for one in runnable]
    return [Line(f"runs not {one.target}", FAIL, one.reason, _NOWHERE) for one in probe.verdicts]
