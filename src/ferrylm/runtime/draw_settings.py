"""What a device must know of an answer before it draws tokens for it; see draw_layout.py."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ferrylm.runtime.draw_layout import REPEATS, SETTINGS, SHIFTS, Setting
from ferrylm.runtime.penalties import Penalties
from ferrylm.runtime.sampling_options import SamplingSettings

LOWEST_TEMPERATURE = 1e-30  # a float32 divisor above 0; any gap between logits is final here
_FRACTION = 2.0**24  # of a float32 below 1


def settings_row(settings: SamplingSettings, penalties: Penalties) -> npt.NDArray[np.int32]:
    """Return int32 [SETTINGS]."""
    temperature = settings.temperature
    if temperature > 0:
        temperature = max(temperature, LOWEST_TEMPERATURE)
    numbers = {
        Setting.TEMPERATURE: temperature,
        Setting.TOP_P: settings.top_p,
        Setting.MIN_P: settings.min_p,
        Setting.REPETITION: penalties.factor,
        Setting.REPETITION_INVERSE: penalties.inverse,
        Setting.PRESENCE: settings.presence_penalty,
        Setting.FREQUENCY: settings.frequency_penalty,
    }
    row = np.zeros(SETTINGS, np.int32)
    with np.errstate(over="ignore", under="ignore"):
        for column, number in numbers.items():
            row[column] = np.float32(number).view(np.int32)
    row[Setting.TOP_K] = settings.top_k
    row[Setting.MARKS] = REPEATS * penalties.repeats + SHIFTS * penalties.shifts
    return row


def uniform_numbers(random: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    """Return the next `count` numbers of a stream, cut to 24 bits so that none becomes 1."""
    cut: npt.NDArray[np.float64] = np.floor(random.random(count) * _FRACTION) / _FRACTION
    return cut.astype(np.float32)
