from __future__ import annotations

import numpy as np
import pytest

from ferrylm.compile.quantize import decode
from ferrylm.schedules.cpu.embedding import embed, select_row
from ferrylm.schedules.cpu.layout import WeightFormat, padded
from ferrylm.schedules.cpu.rows import Rows
from tests.schedules.cases import FORMATS
from tests.schedules.kernel_runner import HOST_PROFILES, build, run, skip_unless_host_runs
from tests.schedules.packed_weights import SCHEMES, canonical_weights, pack

VOCABULARY, WIDTH = 1001, 100

pytestmark = pytest.mark.parametrize("profile", HOST_PROFILES)


@pytest.mark.parametrize(("storage", "minimum", "arithmetic"), FORMATS)
def test_embedded_rows_equal_decoded_ones_bit_for_bit(
    profile: str, storage: str, minimum: bool, arithmetic: str
) -> None:
    skip_unless_host_runs(profile)
    fmt = WeightFormat(VOCABULARY, WIDTH, storage, minimum, arithmetic)
    canonical = canonical_weights(storage, minimum, VOCABULARY, WIDTH)
    tables = list(pack(fmt, canonical).values())
    batches = {"prefill": Rows(4), "one": Rows(1, 1), "eight": Rows(4, 8)}
    built = build(profile, {name: embed(rows, fmt) for name, rows in batches.items()})
    ids = np.array([0, 1000, 15, 16, 31, 999, 500, 0, 17, 1000, 1, 2], np.int32)
    wanted = np.zeros((len(ids), padded(WIDTH)), np.float32)
    wanted[:, :WIDTH] = decode(canonical, SCHEMES[storage], WIDTH)[ids]
    for name, shape in (("prefill", (3, 4)), ("one", (1, 1)), ("eight", (2, 4))):
        count = shape[0] * shape[1]
        tokens = ids[:count].reshape(shape)
        found = run(built[name], [tokens, *tables], (count, padded(WIDTH)), "float32")
        np.testing.assert_array_equal(found, wanted[:count])


@pytest.mark.parametrize("width", [16, 100, 576])
def test_the_chosen_row_is_copied(profile: str, width: int) -> None:
    skip_unless_host_runs(profile)
    built = build(profile, {"select": select_row(Rows(4), width)})
    x = np.random.default_rng(0).standard_normal((12, padded(width)), np.float32)
    for row in (0, 5, 11):
        found = run(built["select"], [x, np.array([row], np.int32)], (1, padded(width)), "float32")
        np.testing.assert_array_equal(found[0], x[row])
