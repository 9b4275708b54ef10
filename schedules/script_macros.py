"""Macros of TVMScript (`T.inline`) that expand in a fraction of the time.

TVM 0.27 looks for its parser through `inspect.getouterframes`, which reads the source of every
frame of the stack, and parses a macro's whole file again, at each expansion. A model's kernels
expand thousands: that was two thirds of the time of a compile. Imported for its effect.
"""

from __future__ import annotations

import sys
from typing import Any

from tvm.script.parser.core.parser import ScriptMacro

_DEFINITION = "_ferrylm_definition"


def _find_parser(macro: Any) -> Any:
    """Return the parser that expands the macro: what TVM does, without reading source."""
    frame = sys._getframe(1)
    while frame is not None:
        parser = frame.f_globals.get(macro.parser_object_name)
        if parser is not None:
            return parser
        frame = frame.f_back  # type: ignore[assignment]
    raise RuntimeError(f"{macro.parser_object_name} not available")


def _definition(macro: Any) -> Any:
    """Return the macro's syntax tree, which no expansion changes."""
    if not hasattr(macro, _DEFINITION):
        setattr(macro, _DEFINITION, _parse_definition(macro))
    return getattr(macro, _DEFINITION)


_parse_definition = ScriptMacro.get_macro_def
ScriptMacro._find_parser_def = _find_parser
ScriptMacro.get_macro_def = _definition
