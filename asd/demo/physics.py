"""How a machine makes sound, from simple physics: what turns, strikes and flows.

- What **turns** repeats once per revolution: gear teeth, blades and vanes are *partials*, sinusoids at multiples of one
  pitch (:meth:`Recording.partials`), which follow every wander of the speed.
- What **strikes** is a row of blows, each of which makes a part ring (:meth:`Recording.blows`).
- What **rubs or flows** is noise in a band (:meth:`Recording.noise`), often pulsating.

A fault is noted where it is made (:meth:`Recording.note`), so that a table can say when and at which frequencies the
machine sounded wrong. What the place and the microphone add is in :mod:`asd.demo.surroundings`.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

SAMPLE_RATE = 16_000  # Hz
TABLE = 8192  # samples of one period in a wave table


@dataclass(frozen=True)
class Region:
    """Where in a clip a fault is heard: seconds and Hz."""

    start: float
    end: float
    low: float
    high: float


@lru_cache
def frequencies(n: int) -> np.ndarray:
    """Frequencies (Hz) of the spectrum of n samples, (n // 2 + 1,); the first is 1, as 0 has no logarithm."""
    return np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 1.0)


@lru_cache(maxsize=128)
def band(n: int, low: float, high: float) -> np.ndarray:
    """Spectrum (magnitude) of noise of RMS 1 in a band that falls by 12 dB per octave on both sides: (n // 2 + 1,)."""
    f = frequencies(n)
    shape = 1 / np.sqrt((1 + np.square(np.square(low / f))) * (1 + np.square(np.square(f / high))))
    return (shape * (n / 2 / np.sqrt(np.square(shape).sum()))).astype(np.float32)


@lru_cache(maxsize=32)
def evenly(n: int, knots: int) -> np.ndarray:
    """Places of n samples on a course of so many knots, (n,): 0 is the first knot, knots - 1 the last."""
    return np.linspace(0, knots - 1, n)


def rms(sound: np.ndarray) -> float:
    """Root mean square of a sound."""
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) + 1e-12


@dataclass
class Recording:
    """One clip in the making: sounds of ``n`` samples, with all chances from ``rng``.

    A fault has random numbers of its own. So the same clip can be made with and without it, alike in all else.

    Attributes:
        rng: the clip's own generator.
        n: samples.
        fault: what is wrong with the machine, "" for a healthy one.
        severity: how bad the fault is, from 0 (healthy) to 1.
        fault_rng: the fault's own generator.
        regions: where the fault is heard, filled while the sound is made.
    """

    rng: np.random.Generator
    n: int
    fault: str = ""
    severity: float = 0.0
    fault_rng: np.random.Generator = field(init=False)
    regions: list[Region] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.fault_rng,) = self.rng.spawn(1)

    def has(self, fault: str) -> float:
        """Severity of this fault; 0 where the machine does not have it."""
        return self.severity if self.fault == fault else 0.0

    def note(self, low: float, high: float, start: float = 0.0, end: float | None = None) -> None:
        """Note that the fault is heard between two frequencies (Hz) and two samples; left out: in the whole clip."""
        start, end = max(0.0, start / SAMPLE_RATE), min(self.n, self.n if end is None else end) / SAMPLE_RATE
        if start < end:
            self.regions.append(Region(start, end, max(0.0, low), min(high, SAMPLE_RATE / 2)))

    def slowly(self, width: float, per_second: float = 3.0) -> np.ndarray:
        """A random course about 0 with standard deviation ``width``, straight from knot to knot: (n,)."""
        knots = self.rng.standard_normal(max(2, round(per_second * self.n / SAMPLE_RATE)) + 1)
        return width * np.interp(evenly(self.n, len(knots)), np.arange(len(knots)), knots)

    def rotation(self, hertz: float | np.ndarray, wander: float = 0.003) -> np.ndarray:
        """Angle in revolutions of a part that turns ``hertz`` times a second, not quite evenly: (n,)."""
        return self.rng.random() + np.cumsum(hertz * (1 + self.slowly(wander))) / SAMPLE_RATE

    def swing(self, angle: np.ndarray) -> np.ndarray:
        """A cosine of the angle (in revolutions): (n,)."""
        return np.cos((2 * np.pi * (angle - np.floor(angle))).astype(np.float32))

    def partials(self, angle: np.ndarray, amplitudes: np.ndarray, turns: np.ndarray | None = None) -> np.ndarray:
        """Sinusoids at 1, 2, 3 … times the rotation with these amplitudes; phases in turns, or random: (n,)."""
        turns = self.rng.random(len(amplitudes)) if turns is None else turns
        highest = 0.47 * self.n / max(angle[-1] - angle[0], 1e-9)  # leave out what would pass the Nyquist frequency
        spectrum = np.zeros(TABLE // 2 + 1, np.complex64)
        rotated = amplitudes * np.exp(2j * np.pi * turns)
        spectrum[1 : len(amplitudes) + 1] = rotated * (np.arange(1, len(amplitudes) + 1) < highest)
        wave = np.fft.irfft(spectrum, TABLE) * (TABLE / 2)  # one revolution, read off at each angle
        point = (angle - np.floor(angle)) * TABLE
        left = point.astype(np.int32)
        part = (point - left).astype(np.float32)
        left &= TABLE - 1
        return wave.take(left) + part * (np.roll(wave, -1) - wave).take(left)  # take is three times as fast as [left]

    def noise(self, shape: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Gaussian noise whose spectrum has this mean magnitude, (n // 2 + 1,), such as of a :func:`band`: (n,)."""
        white = (rng or self.rng).standard_normal(2 * len(shape), dtype=np.float32).view(np.complex64)
        return np.fft.irfft(white * shape, self.n)

    def passes(self, angle: np.ndarray) -> np.ndarray:
        """Times (samples) at which the angle passes a whole revolution."""
        return np.flatnonzero(np.diff(np.floor(angle))).astype(float)

    def blows(
        self, times: np.ndarray, modes: np.ndarray, amplitudes: np.ndarray, milliseconds: float, strength: float = 1.0
    ) -> np.ndarray:
        """Blows at these times (samples), each making a part ring in its modes (Hz) and die away: (n,)."""
        (rng,) = self.rng.spawn(1)  # its own, as a fault may change the number of blows
        t = np.arange(min(self.n, round(6e-3 * milliseconds * SAMPLE_RATE))) / SAMPLE_RATE
        turns = modes[:, None] * t + rng.random((len(modes), 1))
        ring = (amplitudes[:, None] * np.sin((2 * np.pi * turns).astype(np.float32))).sum(0)
        ring = (ring * np.exp(-1000 * t / milliseconds)).astype(np.float32)
        sound = np.zeros(self.n, np.float32)
        strengths = strength * 10 ** (rng.standard_normal(len(times)) * 1.5 / 20)
        for start, amplitude in zip(times.astype(int).tolist(), strengths.tolist(), strict=True):
            if 0 <= start < self.n:
                sound[start : start + len(ring)] += amplitude * ring[: self.n - start]
        return sound
