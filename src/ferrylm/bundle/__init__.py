"""Puts an artifact and all that runs it into one archive, for machines without pip or root.

Reads installed packages and wheels; imports neither TVM nor the compiler.
"""

from __future__ import annotations

from ferrylm.bundle.bundler import Bundle, make_bundle
from ferrylm.bundle.options import BundleOptions

__all__ = ["Bundle", "BundleOptions", "make_bundle"]
