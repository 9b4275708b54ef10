"""Say whether this Python, on this machine, can run the bundle; the reason against it on stdout.

Any Python 3 may be asked, so this is written for all of them.
"""

import json
import os
import sys

FACTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bundle.json")


def reason_against():
    # type: () -> str
    """Return why this Python does not fit, or nothing."""
    with open(FACTS) as file:
        facts = json.load(file)
    version = "%d.%d" % sys.version_info[:2]  # noqa: UP031
    if sys.implementation.name != "cpython" or sys.maxsize < 2**32:
        return "is no 64-bit CPython"
    if version not in facts["packages"]:
        return "is Python " + str(version)
    if getattr(sys, "abiflags", ""):
        return "is a free-threaded or debug build"
    machine = os.uname().machine
    if machine != facts["machine"]:
        return "runs on %s, not %s" % (machine, facts["machine"])  # noqa: UP031
    return _reason_against_libc(str(facts["glibc"]))


def _reason_against_libc(wanted):
    # type: (str) -> str
    try:
        found = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        found = ""
    name, _, version = found.partition(" ")
    if name != "glibc":
        return "uses another C library than glibc"
    if [int(part) for part in version.split(".")] < [int(part) for part in wanted.split(".")]:
        return "uses " + found + ", older than " + wanted
    return ""


if __name__ == "__main__":
    REASON = reason_against()
    if REASON:
        print(REASON)
        sys.exit(1)
