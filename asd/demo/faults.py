"""What goes wrong in machines, and how that changes their sound: little on average, much in its order.

A fault that made a machine louder or duller would be found by anyone with a level meter. Those of this data set leave
the average spectrum nearly as it is. They change relations (which partials are strong, where they lie), rates (how fast
a sound pulsates), and timing (a stroke that is late, missing or doubled), or add rough bursts of little energy.

Each function takes the name of a fault and does nothing where the machine does not have it.
"""

import numpy as np

from asd.demo.physics import SAMPLE_RATE, Recording, band


def note_partials(r: Recording, numbers: np.ndarray, pitch: float) -> None:
    """Note that the partials of these numbers (1 is the pitch itself, in Hz) are wrong, all the time."""
    for number in sorted(numbers.tolist()):
        r.note((number - 0.5) * pitch, (number + 0.5) * pitch)


def exchanged(r: Recording, fault: str, amplitudes: np.ndarray, pitch: float) -> np.ndarray:
    """Neighbouring partials exchange their amplitudes, (partials,): another voice of nearly the same colour."""
    severity = r.has(fault)
    if not severity:
        return amplitudes
    left = np.arange(r.fault_rng.integers(2), len(amplitudes) - 1, 2)  # each with its right neighbour
    contrast = np.abs(np.log(amplitudes[left] / amplitudes[left + 1]))
    worst = np.argsort(contrast)[::-1][: len(left) * 2 // 3]  # pairs that are alike anyway do not matter
    chosen = left[r.fault_rng.permutation(worst)[: max(2, round(severity * len(worst)))]]
    changed = amplitudes.copy()
    changed[chosen], changed[chosen + 1] = amplitudes[chosen + 1], amplitudes[chosen]
    note_partials(r, np.concatenate([chosen, chosen + 1]) + 1, pitch)
    return changed


def detuned(r: Recording, fault: str, angle: np.ndarray, amplitudes: np.ndarray, pitch: float) -> np.ndarray:
    """The sound of partials of which some leave their place by a few per cent, as a part slips or loosens: (n,)."""
    severity, turns = r.has(fault), r.rng.random(len(amplitudes))
    if not severity:
        return r.partials(angle, amplitudes, turns)
    strongest = np.argsort(amplitudes)[::-1][: len(amplitudes) // 2]
    moved = r.fault_rng.permutation(strongest)[: max(2, round(severity * len(strongest)))]
    left, by = amplitudes.copy(), 1 + r.fault_rng.choice([-1, 1]) * r.fault_rng.uniform(0.03, 0.05)
    left[moved] = 0
    note_partials(r, moved + 1, pitch * by)
    return r.partials(angle, left, turns) + r.partials(angle * by, amplitudes - left, turns)


def another_rate(r: Recording, fault: str, hertz: float, low: float, high: float, octaves: float = 1.0) -> float:
    """Something that repeats ``hertz`` times a second does so faster or slower, heard from ``low`` to ``high`` Hz.

    By 0.43 (least severe) to 0.7 (most severe) of ``octaves``.
    """
    severity = r.has(fault)
    if severity:
        r.note(low, high)
        hertz *= 2 ** (r.fault_rng.choice([-1, 1]) * octaves * (0.25 + 0.45 * severity))
    return hertz


def mistimed(r: Recording, fault: str, times: np.ndarray, kind: str, low: float, high: float) -> np.ndarray:
    """Strokes (samples) of which every other one, or any at random, is ``late``, ``missing`` or ``doubled``."""
    severity = r.has(fault)
    if not severity:
        return times
    times = times[times < r.n]  # one that falls behind the clip's end would not be heard
    if len(times) < 2:
        return times
    wrong = r.fault_rng.random(len(times)) < 0.3 + 0.5 * severity
    wrong[r.fault_rng.integers(len(times))] = True
    gap = float(np.median(np.diff(np.sort(times))))
    reach = 0.06 * SAMPLE_RATE
    for time in times[wrong]:
        r.note(low, high, time - reach / 2, time + max(reach, 0.5 * gap))
    if kind == "missing":
        return times[~wrong]
    shift = np.where(wrong, (0.25 + 0.15 * severity) * gap, 0)
    if kind == "late":
        return times + shift
    return np.concatenate([times, times[wrong] + shift[wrong]])


def rough(r: Recording, fault: str, times: np.ndarray, hertz: float, strength: float) -> np.ndarray:
    """Short bursts of noise about ``hertz`` after some of these times (samples), as of grit or a crack: (n,)."""
    severity = r.has(fault)
    sound = np.zeros(r.n, np.float32)
    if severity:
        hiss, length = r.noise(band(r.n, 0.8 * hertz, 1.25 * hertz), r.fault_rng), round(0.03 * SAMPLE_RATE)
        for time in times[r.fault_rng.random(len(times)) < 0.7].astype(int).tolist():
            end = min(r.n, time + length)
            if 0 <= time < end:
                sound[time:end] += hiss[time:end] * np.hanning(length)[: end - time]
                r.note(0.5 * hertz, 2.0 * hertz, time, end)
    return (0.5 + severity) * strength * sound
