"""What a microphone hears beside the machine: the place, and the way that the sound takes.

A machine hall is never twice the same. Every clip has a **background** of its own: noise whose spectrum has random
hills and valleys, something that swells or rattles, the hum of other machines, something that falls to the floor. And
every clip has a **microphone** at a place of its own: one hears more of the high frequencies than another, a reflection
from a wall comes a little later than the direct sound and strengthens some frequencies while it weakens others (a comb
filter), and the room's echo smears what comes and goes.

All of this varies more from clip to clip than a fault changes the average spectrum, and in more ways than a few train
clips can show. That is what makes the task hard.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from asd.demo.physics import SAMPLE_RATE, Recording, frequencies, rms

HILLS = 16  # and valleys of a background's spectrum
GRID = np.linspace(50, SAMPLE_RATE / 2, 512)  # Hz at which a background's spectrum is drawn: its hills are wide


class Background(NamedTuple):
    """A kind of place."""

    slope: float  # of its noise, dB per octave
    levels: tuple[float, float]  # of the machine above it, dB, from … to
    bangs: float  # per second


class Microphone(NamedTuple):
    """A kind of place for the microphone."""

    slopes: tuple[float, float]  # of the way, dB per octave, from … to
    echoes: tuple[float, float]  # strength of the room's echo beside the direct sound, from … to
    decay: float  # seconds in which the echo fades to a third


BACKGROUNDS = {"hall": Background(-4.0, (-4.0, 8.0), 1.0), "workshop": Background(-2.0, (-8.0, 2.0), 2.0)}
MICROPHONES = {"near": Microphone((-1.0, 1.0), (0.0, 0.2), 0.02), "far": Microphone((-2.5, -0.5), (0.7, 1.2), 0.06)}


@dataclass(frozen=True)
class Setting:
    """Under what conditions a clip was recorded."""

    speed: float  # relative to the product's nominal speed
    load: float  # 0 idle … 1 full
    background: str  # a key of BACKGROUNDS
    microphone: str  # a key of MICROPHONES


def hilly_spectrum(rng: np.random.Generator, n: int, slope: float) -> np.ndarray:
    """Magnitudes of a background: a slope (dB per octave) with hills and valleys of about 6 dB: (n // 2 + 1,)."""
    octaves = np.log2(GRID / 1000)
    level = slope * octaves
    for _ in range(HILLS):
        centre, width = rng.uniform(-4, 3), rng.uniform(0.05, 0.4)
        level += 6 * rng.standard_normal() * np.exp(-0.5 * ((octaves - centre) / width) ** 2)
    return np.interp(frequencies(n), GRID, 10 ** (level / 20)).astype(np.float32)


def background(r: Recording, kind: Background) -> np.ndarray:
    """Noise of the place, of RMS 1: (n,)."""
    rng = r.rng
    sound = r.noise(hilly_spectrum(rng, r.n, kind.slope + rng.uniform(-1.5, 1.5)))
    sound /= rms(sound)
    second = r.noise(hilly_spectrum(rng, r.n, kind.slope))
    if rng.random() < 0.5:  # something swells …
        course = np.abs(r.slowly(0.7, rng.uniform(1, 6)))
    else:  # … or rattles
        course = np.zeros(r.n, np.float32)
        length = round(rng.uniform(0.03, 0.1) * SAMPLE_RATE)
        swell = 1.5 * np.hanning(length)
        for start in (rng.random(rng.integers(3, 30)) * max(1, r.n - length)).astype(int).tolist():
            course[start : start + length] += swell[: r.n - start]
    sound = sound + second / rms(second) * course
    for _ in range(rng.integers(3)):  # other machines hum
        levels = rng.uniform(-20, 0, 12)
        hum = r.partials(r.rotation(rng.uniform(60, 400), 0.01), 10 ** (levels / 20))
        sound = sound + hum * rng.uniform(0.2, 0.6) / rms(hum)
    times = r.n * rng.random(rng.poisson(kind.bangs * r.n / SAMPLE_RATE))
    if len(times):
        sound = sound + r.blows(times, rng.uniform(200, 5000, 6), rng.random(6), rng.uniform(5, 30), rng.uniform(1, 4))
    return sound / rms(sound)


def microphone(rng: np.random.Generator, n: int, kind: Microphone) -> np.ndarray:
    """Complex response of a microphone at a place of this kind: (n // 2 + 1,)."""
    tilt = 10 ** (rng.uniform(*kind.slopes) * np.clip(np.log2(frequencies(n) / 1000), -4, 3) / 20)
    way = np.zeros(n, np.float32)
    way[0] = 1
    # one clear reflection, and the room's echo that dies away
    way[round(rng.uniform(3e-4, 3e-3) * SAMPLE_RATE)] = rng.uniform(0.1, 0.5)
    length = min(n - 1, round(4 * kind.decay * SAMPLE_RATE))
    echo = rng.standard_normal(length) * np.exp(-np.arange(length) / (kind.decay * SAMPLE_RATE))
    way[1 : length + 1] += rng.uniform(*kind.echoes) * echo / np.sqrt(np.square(echo).sum())
    return (tilt * np.fft.rfft(way)).astype(np.complex64)


def heard(r: Recording, machine: np.ndarray, setting: Setting) -> np.ndarray:
    """What the microphone hears of a machine's own sound (n,), background included: (n,) within ±1."""
    place = BACKGROUNDS[setting.background]
    above = 10 ** (r.rng.uniform(*place.levels) / 20)
    spectrum = np.fft.rfft((machine * (above / rms(machine)) + background(r, place)).astype(np.float32))
    sound = np.fft.irfft(spectrum * microphone(r.rng, r.n, MICROPHONES[setting.microphone]), r.n)
    sound *= 10 ** (r.rng.uniform(-28, -20) / 20) / rms(sound)
    return sound * min(1.0, 0.98 / float(np.abs(sound).max()))  # a recordist turns down what would clip
