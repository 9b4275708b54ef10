"""Run the command line with `python -m ferrylm.cli`."""

from __future__ import annotations

from ferrylm.cli.application import main

if __name__ == "__main__":
    main()
