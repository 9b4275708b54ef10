from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ferrylm.schedules.cpu.layout import WeightFormat
from ferrylm.schedules.cpu.pack import transform, transform_name
from tests.schedules.cases import FORMATS
from tests.schedules.kernel_runner import HOST_PROFILES, build, run, skip_unless_host_runs
from tests.schedules.packed_weights import canonical_weights, pack

SHAPES = ((1001, 100, False), (16, 32, False), (400, 100, True), (32, 33, True))


@pytest.mark.parametrize("profile", HOST_PROFILES)
def test_every_packing_equals_numpys(profile: str) -> None:
    skip_unless_host_runs(profile)
    built: dict[str, Any] = {}
    for storage, minimum, arithmetic in FORMATS:
        for rows, columns, pairs in SHAPES:
            canonical = canonical_weights(storage, minimum, rows, columns)
            # A pair's halves are padded each.
            wide = rows + (2 * (-(rows // 2) % 16) if pairs else 0)
            fmt = WeightFormat(wide, columns, storage, minimum, arithmetic, pairs)
            wanted = pack(fmt, canonical)
            for suffix, (dtype, shape) in fmt.tensors().items():
                name = transform_name(fmt, suffix)
                if name not in built:
                    built[name] = build(profile, {name: transform(name)})[name]
                found = run(built[name], [canonical[suffix]], shape, dtype)
                np.testing.assert_array_equal(found, wanted[suffix], err_msg=f"{fmt} {suffix}")
    assert len(built) == 14
