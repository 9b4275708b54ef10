"""Search the tiles of products on a device, and put the best into schedules/gpu/matvec_tuned.py.

usage: python scripts/tune.py build FOLDER ARTIFACT... --target cuda-sm90 [--batches 1,2]
           [--most N] [--seed N] [--arch 90a]
       python scripts/tune.py run FOLDER results.json --device cuda|vulkan[:N] [--repetitions N]
       python scripts/tune.py apply results.json

Three steps, because the machine with the device may have no compiler. `build` compiles candidates
for every product of integers in the artifacts' decode steps (an artifact with random weights will
do) and drops those that spill registers; shared memory is checked before. `run` compares each
candidate with float64, then times it on weights that no cache holds. `apply` keeps the fastest tile
of each product where it beats the present one by more than a hundredth. docs/tuning.md says more.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ferrylm.errors import FerryError, UsageError
from scripts.cold_launches import COLD_BYTES
from scripts.tune_run import RESULTS, run

TABLE = Path(__file__).resolve().parent.parent / "schedules" / "gpu" / "matvec_tuned.py"
LEAST_GAIN = 0.01
_MARK = "TUNED: dict[str, dict[str, MatvecTile]] = "

Fields = dict[str, Any]  # of a MatvecTile
Tiles = dict[str, dict[str, Fields]]  # target -> product -> tile


def best_tiles(results: dict[str, Any]) -> dict[str, Fields]:
    """Return the tiles that beat the present ones, by product. Raises UsageError."""
    if results.get("format") != RESULTS or results.get("version") != 1:
        raise UsageError(
            "a file that holds no results", wanted="what tune.py run wrote", fix="name that file"
        )
    found = {}
    for product in results["products"]:
        timed = [one for one in product["candidates"] if "us" in one]
        if not timed:
            continue
        best, today = min(timed, key=lambda one: float(one["us"])), product["candidates"][0]
        if best["us"] < (1 - LEAST_GAIN) * today.get("us", float("inf")):
            found[product["name"]] = best["tile"]
    return found


def rewritten(text: str, tiles: Tiles) -> str:
    """Return the table's file with these tiles. Raises UsageError for another file."""
    head, mark, _ = text.partition(_MARK)
    if not mark:
        raise UsageError("a file without the table", wanted=_MARK, fix="take matvec_tuned.py")
    lines = []
    for target, products in sorted(tiles.items()):
        lines.append(f'    "{target}": {{')
        for name, fields in sorted(products.items()):
            lines.append(f'        "{name}": MatvecTile({_arguments(fields)}),')
        lines.append("    },")
    table = "{\n" + "\n".join(lines) + "\n}" if lines else "{}"
    return f"{head}{_MARK}{table}\n"


def _arguments(tile: Fields) -> str:
    """Return what makes a tile, without what is 1, 0 or False unless it says otherwise."""
    shape = f"{tile['subgroups']}, {tile['rows']}"
    plain = {"split": 1, "unroll": 1, "ahead": False}
    others = {name: value for name, value in tile.items() if name not in ("subgroups", "rows")}
    named = [f"{name}={v!r}" for name, v in others.items() if v != plain.get(name, 0)]
    return ", ".join([shape, *named])


def apply(path: Path, table: Path) -> None:
    """Add the best tiles of some results to the table."""
    from dataclasses import asdict

    from ferrylm.schedules.gpu.matvec_tuned import TUNED

    results = json.loads(path.read_text())
    best = best_tiles(results)
    tiles = {target: {n: asdict(t) for n, t in found.items()} for target, found in TUNED.items()}
    tiles[results["target"]] = {**tiles.get(results["target"], {}), **best}
    table.write_text(
        rewritten(table.read_text(), {t: found for t, found in tiles.items() if found})
    )
    for name, fields in best.items():
        print(f"{results['target']} {name}: MatvecTile({_arguments(fields)})")
    print(f"{len(best)} of {len(results['products'])} products got another tile")


def _build(options: argparse.Namespace) -> None:
    from scripts.tune_candidates import build, products_of, profile_of

    batches = [int(number) for number in options.batches.split(",")]
    profile = profile_of(options.target)
    products = [p for a in options.artifacts for p in products_of(a, batches, profile)]
    build(options.folder, options.target, products, options.most, options.seed, options.arch)


def main() -> int:
    """Do one of the steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    builder, runner, applier = (verbs.add_parser(name) for name in ("build", "run", "apply"))
    builder.add_argument("folder", type=Path)
    builder.add_argument("artifacts", type=Path, nargs="+")
    builder.add_argument("--target", required=True)
    builder.add_argument("--batches", default="1", help="sequences of a decode step")
    builder.add_argument("--most", type=int, default=48, help="candidates of a product")
    builder.add_argument("--seed", type=int, default=0)
    builder.add_argument("--arch", default="90a", help="of CUDA")
    runner.add_argument("folder", type=Path)
    runner.add_argument("results", type=Path)
    runner.add_argument("--device", required=True)
    runner.add_argument("--repetitions", type=int, default=5)
    runner.add_argument("--cold-bytes", type=int, default=COLD_BYTES)
    applier.add_argument("results", type=Path)
    applier.add_argument("--table", type=Path, default=TABLE)
    options = parser.parse_args()
    try:
        if options.verb == "build":
            _build(options)
        elif options.verb == "run":
            found = run(options.folder, options.device, options.repetitions, options.cold_bytes)
            options.results.write_text(json.dumps(found, indent=1))
        else:
            apply(options.results, options.table)
    except FerryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
