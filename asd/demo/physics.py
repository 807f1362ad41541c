"""How a recording of a machine comes about, from simple physics: what turns, strikes, rubs, rolls and flows.

- What **turns** repeats once a revolution: blades, gear teeth and imbalance are *orders*, sinusoids at multiples of
  the speed of rotation (:meth:`Recording.orders`), which follow every wander of the speed.
- What **strikes** is a row of blows that make a part ring (:meth:`Recording.blows`): valve clicks, rail joints, or
  a pitted bearing ring, which knocks 3.6 times a revolution (half the balls, less what their slant takes).
- What **rubs, rolls or flows** is noise in a band (:meth:`Recording.noise`), stronger with speed, often pulsating.

The machine's body colours it, the place adds its background, a microphone hears both (:meth:`Recording.heard`).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SAMPLE_RATE = 16_000  # Hz
BEARING_ORDER = 3.58  # knocks a revolution of a pitted outer ring, a common ball bearing

# Noise of the place: its band (Hz, Hz) and its hum (Hz)
BACKGROUNDS = {"hall": (60.0, 700.0, 50.0), "workshop": (250.0, 2500.0, 120.0)}
# Slope (dB per octave) of a microphone at its place, and by how much a reflection from the wall is late (ms; 0: none)
MICROPHONES = {"near": (0.0, 0.0), "far": (-1.2, 1.3)}


@dataclass(frozen=True)
class Setting:
    """Under what conditions a clip was recorded."""

    speed: float  # relative to the product's nominal speed
    load: float  # 0 idle … 1 full
    background: str  # a key of BACKGROUNDS
    background_db: float  # level of the background; the machine itself has about 0 dB
    microphone: str  # a key of MICROPHONES


@lru_cache
def frequencies(n: int) -> np.ndarray:
    """Frequencies (Hz) of the spectrum of n samples, (n // 2 + 1,); the first is 1, as 0 has no logarithm."""
    return np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 1.0)


@lru_cache(maxsize=512)
def band(n: int, low: float, high: float) -> np.ndarray:
    """Spectrum (magnitude) of noise of RMS 1 in a band that falls by 12 dB per octave on both sides: (n // 2 + 1,)."""
    f = frequencies(n)
    shape = 1 / np.sqrt((1 + np.square(np.square(low / f))) * (1 + np.square(np.square(f / high))))
    return (shape * (n / 2 / np.linalg.norm(shape))).astype(np.float32)


@lru_cache
def place(n: int, background: str) -> np.ndarray:
    """Spectrum of the background noise, with a little in all bands as everywhere: (n // 2 + 1,)."""
    low, high, _ = BACKGROUNDS[background]
    return np.hypot(band(n, low, high), 0.08 * band(n, 200.0, 7000.0))


@lru_cache
def body(n: int, resonances: tuple[float, ...]) -> np.ndarray:
    """Response of a machine's body: each resonance (Hz) lifts its surroundings by 12 dB: (n // 2 + 1,)."""
    octaves = np.log2(frequencies(n)[:, None] / np.array(resonances))
    return (1 + (3 * np.exp(-0.5 * (octaves / 0.12) ** 2)).sum(1)).astype(np.float32)


@lru_cache
def microphone(n: int, name: str) -> np.ndarray:
    """Complex response of a microphone at its place: (n // 2 + 1,)."""
    slope, late = MICROPHONES[name]
    f = frequencies(n)
    tilt = 10 ** (slope * np.clip(np.log2(f / 1000), -3, 3) / 20)
    return (tilt * (1 + (0.35 * np.exp(-2j * np.pi * f * late / 1000) if late else 0))).astype(np.complex64)


class Recording:
    """One clip in the making: sounds of ``n`` samples, with all chances from ``rng``.

    Args:
        rng: the clip's own generator.
        n: samples.
        product: numbers of the product, by name.
        setting: the conditions.
        fault: one of the machine type's faults, or "" for a healthy machine.
        severity: how bad the fault is.
    """

    def __init__(
        self, rng: np.random.Generator, n: int, product: dict[str, float], setting: Setting, fault: str, severity: float
    ):
        self.rng, self.n, self.product, self.setting = rng, n, product, setting
        self.fault, self.severity = fault, severity

    def has(self, fault: str) -> float:
        """Severity of this fault; 0 where the machine hasn't got it."""
        return self.severity if self.fault == fault else 0.0

    def about(self, value: float, decibel: float = 1.5) -> float:
        """The value, a little louder or softer: no two takes are alike."""
        return value * 10 ** (decibel * min(max(self.rng.standard_normal(), -2.0), 2.0) / 20)

    def slowly(self, width: float, per_second: float = 3.0) -> np.ndarray:
        """A random course about 0 with standard deviation ``width``, straight from knot to knot: (n,)."""
        knots = self.rng.standard_normal(max(2, round(per_second * self.n / SAMPLE_RATE)) + 1)
        return width * np.interp(np.linspace(0, len(knots) - 1, self.n), np.arange(len(knots)), knots)

    def rotation(self, hertz: float | np.ndarray, wander: float = 0.002) -> np.ndarray:
        """Angle in revolutions of a part that turns ``hertz`` times a second, not quite evenly: (n,)."""
        return self.rng.random() + np.cumsum(hertz * (1 + self.slowly(wander))) / SAMPLE_RATE

    def orders(self, angle: np.ndarray, amplitudes: dict[int, float]) -> np.ndarray:
        """Sinusoids at whole multiples of the rotation, {order: amplitude}, with random phases: (n,)."""
        size = 8192  # one revolution is computed, then read off at each angle: far cheaper than a sine for every order
        highest = 0.47 * self.n / max(angle[-1] - angle[0], 1e-9)  # leave out what would pass the Nyquist frequency
        spectrum = np.zeros(size // 2 + 1, np.complex64)
        for order, amplitude in amplitudes.items():
            phase = np.exp(2j * np.pi * self.rng.random())
            if order < min(highest, size // 16):
                spectrum[order] += self.about(amplitude) * phase * size / 2
        turn = np.fft.irfft(spectrum, size)
        point = (angle - np.floor(angle)) * size
        left = point.astype(np.int32)
        part = (point - left).astype(np.float32)
        left &= size - 1
        return turn[left] + part * (np.roll(turn, -1) - turn)[left]

    def swing(self, angle: np.ndarray) -> np.ndarray:
        """A cosine of the angle (in revolutions): (n,)."""
        return np.cos((2 * np.pi * (angle - np.floor(angle))).astype(np.float32))

    def once_a_turn(self, angle: np.ndarray, sharpness: int) -> np.ndarray:
        """A gate of mean square 1 that opens once a revolution, the shorter the sharper: (n,)."""
        gate = (0.5 + 0.5 * self.swing(angle + self.rng.random())) ** sharpness
        return gate / np.sqrt(np.mean(gate**2))

    def random_spectrum(self, shape: np.ndarray) -> np.ndarray:
        """A spectrum of Gaussian noise of this mean shape: (n // 2 + 1,)."""
        return self.rng.standard_normal(2 * len(shape), dtype=np.float32).view(np.complex64) * shape

    def noise(self, low: float, high: float) -> np.ndarray:
        """Noise of RMS 1 in a band (Hz): (n,)."""
        return np.fft.irfft(self.random_spectrum(band(self.n, low, high)), self.n)

    def passes(self, angle: np.ndarray, per_turn: float = 1.0, jitter: float = 0.0) -> np.ndarray:
        """Times (samples) at which a part passes a point, ``per_turn`` times a revolution, ± ``jitter`` seconds."""
        times = np.flatnonzero(np.diff(np.floor(angle * per_turn)))
        return times + jitter * SAMPLE_RATE * self.rng.standard_normal(len(times))

    def blows(self, times: np.ndarray, hertz: float, milliseconds: float, strength: float | np.ndarray = 1.0):
        """Blows at these times (samples), each making a part ring at ``hertz`` and die away: (n,)."""
        t = np.arange(min(self.n, round(8e-3 * milliseconds * SAMPLE_RATE))) / SAMPLE_RATE
        # two modes and the noise of the blow: a single mode rings like a glass
        ring = np.sin(2 * np.pi * hertz * t) + 0.5 * np.sin(2 * np.pi * 1.73 * hertz * t)
        ring = (ring + 0.3 * self.rng.standard_normal(len(t))) * np.exp(-1000 * t / milliseconds)
        ring = ring.astype(np.float32)
        strengths = strength * 10 ** (self.rng.standard_normal(len(times)) * 2 / 20)
        sound = np.zeros(self.n, np.float32)
        for start, amplitude in zip(times.astype(int).tolist(), strengths.tolist(), strict=True):
            if 0 <= start < self.n:
                sound[start : start + len(ring)] += amplitude * ring[: self.n - start]
        return sound

    def knocking(self, angle: np.ndarray, hertz: float) -> np.ndarray:
        """Knocks of a pitted bearing ring, which slip a little and swell once a revolution: (n,)."""
        times = self.passes(angle, BEARING_ORDER, jitter=0.0004)
        swell = 1 + 0.5 * np.cos(2 * np.pi * angle[np.clip(times.astype(int), 0, self.n - 1)])
        return self.blows(times, self.about(hertz, 0.5), 3.0, swell)

    def heard(self, sound: np.ndarray, resonances: tuple[float, ...], gain: float) -> np.ndarray:
        """What the microphone hears of a machine's own sound (n,), background included: (n,) within ±1."""
        spectrum = np.fft.rfft(sound) * body(self.n, resonances)
        background = self.random_spectrum(place(self.n, self.setting.background))
        hum = BACKGROUNDS[self.setting.background][2]
        for order, amplitude in ((1, 0.2), (2, 0.1), (3, 0.05)):
            background[round(order * hum * self.n / SAMPLE_RATE)] += amplitude * self.n / 2
        spectrum += background * self.about(10 ** (self.setting.background_db / 20))
        heard = np.fft.irfft(spectrum * microphone(self.n, self.setting.microphone), self.n) * self.about(gain)
        return heard * min(1.0, 0.98 / float(np.abs(heard).max()))  # a recordist turns down what would clip
