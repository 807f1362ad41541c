"""The sound of seven kinds of machines, from simple physics: what turns, strikes, rubs, rolls and flows.

A recording is a machine's own sound, coloured by its body, with the place's background noise, heard by a microphone.

- What **turns** repeats once a revolution: blades, gear teeth and imbalance are *orders*, sinusoids at multiples of
  the speed of rotation (:meth:`Recording.orders`), which follow every wander of the speed.
- What **strikes** is a row of blows that make a part ring (:meth:`Recording.blows`): valve clicks, rail joints, or
  a pitted bearing ring, which knocks 3.6 times a revolution (half the balls, less what their slant takes).
- What **rubs, rolls or flows** is noise in a band (:meth:`Recording.noise`), stronger with speed, often pulsating.

The six *products* of a machine type, one a section, differ in build: blades, teeth, resonances, speed. Each clip has
its own speed, load and small differences, and a :class:`Setting` for what may shift between the domains. *Faults* are
what machines really have; ``severity`` 1 is a clear one, and the sound of a healthy machine is what is left at 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SAMPLE_RATE = 16_000  # Hz
BEARING_ORDER = 3.58  # knocks a revolution of a pitted outer ring, a common ball bearing


@dataclass(frozen=True)
class Setting:
    """Under what conditions a clip was recorded."""

    speed: float  # relative to the product's nominal speed
    load: float  # 0 idle … 1 full
    background: str  # a key of BACKGROUNDS
    background_db: float  # level of the background beside the machine, which has about 0 dB
    microphone: str  # a key of MICROPHONES


# Band (Hz, Hz) and hum (Hz) of the place's noise
BACKGROUNDS = {"hall": (60.0, 700.0, 50.0), "workshop": (250.0, 2500.0, 120.0)}
# Slope (dB per octave above and below 1 kHz), and distance by which a reflection from the wall is later (ms)
MICROPHONES = {"near": (0.0, 0.0), "far": (-2.0, 1.3)}


@lru_cache(maxsize=8)
def _frequencies(n: int) -> np.ndarray:
    return np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 1.0)  # Hz; no 0, which has no logarithm


@lru_cache(maxsize=512)
def band(n: int, low: float, high: float) -> np.ndarray:
    """Magnitude response of a gentle band-pass, 12 dB per octave, on the frequencies of n samples: (n // 2 + 1,)."""
    f = _frequencies(n)
    return (1 / np.sqrt((1 + (low / f) ** 4) * (1 + (f / high) ** 4))).astype(np.float32)


@lru_cache(maxsize=512)
def body(n: int, resonances: tuple[float, ...]) -> np.ndarray:
    """Magnitude response of a machine's body: each resonance (Hz) lifts its surroundings by 12 dB: (n // 2 + 1,)."""
    octaves = np.log2(_frequencies(n)[:, None] / np.array(resonances))
    return 1 + (3 * np.exp(-0.5 * (octaves / 0.12) ** 2)).sum(1)


@lru_cache(maxsize=64)
def microphone(n: int, name: str) -> np.ndarray:
    """Complex response of a microphone at its place, on the frequencies of n samples: (n // 2 + 1,)."""
    slope, delay = MICROPHONES[name]
    f = _frequencies(n)
    tilt = 10 ** (slope * np.clip(np.log2(f / 1000), -3, 3) / 20)
    return tilt * (1 + (0.6 * np.exp(-2j * np.pi * f * delay / 1000) if delay else 0))


class Recording:
    """One clip in the making: draws its chances from ``rng`` alone and builds sounds of ``n`` samples.

    Args:
        rng: the clip's own generator.
        n: samples.
        product: what this product is, by name (a row of the machine type's table).
        setting: the conditions.
        fault: one of the machine type's faults, or "" for a healthy machine.
        severity: how bad the fault is.
    """

    def __init__(self, rng: np.random.Generator, n: int, product: dict, setting: Setting, fault: str, severity: float):
        self.rng, self.n, self.product, self.setting = rng, n, product, setting
        self.fault, self.severity = fault, severity

    def has(self, fault: str) -> float:
        """Severity of this fault in the clip; 0 where the machine hasn't got it."""
        return self.severity if self.fault == fault else 0.0

    def about(self, value: float, decibel: float = 1.5) -> float:
        """The value, a little louder or softer: no two takes are alike."""
        return value * 10 ** (decibel * float(np.clip(self.rng.standard_normal(), -2, 2)) / 20)

    def slowly(self, width: float, knots_per_second: float = 3.0) -> np.ndarray:
        """A slow random course about 0 with standard deviation ``width``: (n,)."""
        knots = self.rng.standard_normal(max(2, round(knots_per_second * self.n / SAMPLE_RATE)) + 1)
        return width * np.interp(np.linspace(0, len(knots) - 1, self.n), np.arange(len(knots)), knots)

    def rotation(self, hertz: float | np.ndarray, wander: float = 0.002) -> np.ndarray:
        """Angle in revolutions of a part that turns ``hertz`` times a second, not quite evenly: (n,)."""
        return self.rng.random() + np.cumsum(hertz * (1 + self.slowly(wander))) / SAMPLE_RATE

    def orders(self, angle: np.ndarray, amplitudes: dict[int, float]) -> np.ndarray:
        """Sinusoids at whole multiples of the rotation, {order: amplitude}, with random phases: (n,)."""
        size = 8192  # one revolution, then read off at each angle: far cheaper than a sine per order and sample
        highest = 0.47 * SAMPLE_RATE * self.n / SAMPLE_RATE / max(angle[-1] - angle[0], 1e-9)  # below Nyquist
        spectrum = np.zeros(size // 2 + 1, complex)
        for order, amplitude in amplitudes.items():
            phase = np.exp(2j * np.pi * self.rng.random())
            if order < min(highest, size // 16):
                spectrum[order] += self.about(amplitude) * phase * size / 2
        turn = np.fft.irfft(spectrum, size)
        place = (angle - np.floor(angle)) * size
        left = place.astype(np.int64) & (size - 1)
        return turn[left] + (place - left) * (np.roll(turn, -1) - turn)[left]

    def noise_spectrum(self, low: float, high: float) -> np.ndarray:
        """Spectrum of noise of RMS 1 in a band (Hz): (n // 2 + 1,) complex."""
        shape = band(self.n, low, high)
        draw = self.rng.standard_normal(2 * len(shape), dtype=np.float32).view(np.complex64)
        return draw * (shape * np.float32(self.n / 2 / np.linalg.norm(shape)))

    def noise(self, low: float, high: float) -> np.ndarray:
        """Noise of RMS 1 in a band (Hz): (n,)."""
        return np.fft.irfft(self.noise_spectrum(low, high), self.n)

    def blows(self, samples: np.ndarray, hertz: float, milliseconds: float, strength: np.ndarray | float = 1.0):
        """Blows at these samples, each making a part ring at ``hertz`` and die away: (n,)."""
        rows = np.zeros(self.n)
        inside = (samples >= 0) & (samples < self.n)
        strength = np.broadcast_to(strength, samples.shape) * 10 ** (self.rng.standard_normal(len(samples)) * 2 / 20)
        np.add.at(rows, samples[inside].astype(int), strength[inside])
        t = np.arange(min(self.n, int(8 * milliseconds * SAMPLE_RATE / 1000))) / SAMPLE_RATE
        # two modes and the blow's own noise: a single mode rings like a glass
        ring = np.sin(2 * np.pi * hertz * t) + 0.5 * np.sin(2 * np.pi * 1.73 * hertz * t)
        ring = (ring + 0.3 * self.rng.standard_normal(len(t))) * np.exp(-t * 1000 / milliseconds)
        return np.fft.irfft(np.fft.rfft(rows) * np.fft.rfft(ring, self.n), self.n)

    def passes(self, angle: np.ndarray, per_turn: float = 1.0, jitter: float = 0.0) -> np.ndarray:
        """Samples at which a part that turns by ``angle`` passes a point ``per_turn`` times a revolution."""
        samples = np.flatnonzero(np.diff(np.floor(angle * per_turn + self.rng.random()))).astype(float)
        return samples + jitter * SAMPLE_RATE * self.rng.standard_normal(len(samples))

    def knocking(self, angle: np.ndarray, hertz: float) -> np.ndarray:
        """Knocks of a pitted bearing ring, which slip a little and swell once a revolution: (n,)."""
        at = self.passes(angle, BEARING_ORDER, jitter=0.0004)
        swell = 1 + 0.5 * np.cos(2 * np.pi * angle[np.clip(at.astype(int), 0, self.n - 1)])
        return self.blows(at, self.about(hertz, 0.5), 3.0, swell)

    def once_a_turn(self, angle: np.ndarray, sharpness: int = 8) -> np.ndarray:
        """A gate of mean square 1 that opens once a revolution: (n,)."""
        gate = (0.5 + 0.5 * np.cos(2 * np.pi * (angle + self.rng.random()))) ** sharpness
        return gate / np.sqrt(np.mean(gate**2))


def fan(r: Recording) -> np.ndarray:
    """Blades that chop the air, and its flow noise."""
    p, load = r.product, r.setting.load
    angle = r.rotation(p["rpm"] / 60 * r.setting.speed)
    b = p["blades"]
    tones = r.orders(angle, {1: 0.05, b: 0.5, 2 * b: 0.3, 3 * b: 0.15, 4 * b: 0.08})
    flow = r.noise(p["flow"] * r.setting.speed * (1.2 - 0.4 * load), 4 * p["flow"] * (1.3 - 0.6 * load))
    flow *= r.about(0.6 + 0.3 * load) * r.setting.speed**2 * (1 + 0.25 * np.cos(2 * np.pi * b * angle))
    sound = tones + flow
    if s := r.has("imbalance"):  # the whole swells once a revolution
        sound = sound * (1 + 0.8 * s * np.cos(2 * np.pi * angle)) + r.orders(angle, {1: s, 2: 0.7 * s, 3: 0.4 * s})
    if s := r.has("rubbing"):
        sound = sound + 0.5 * s * r.noise(2500, 5000) * r.once_a_turn(angle)
    if s := r.has("bearing"):
        sound = sound + 0.8 * s * r.knocking(angle, 3300)
    return sound


def gearbox(r: Recording) -> np.ndarray:
    """Teeth that mesh, with sidebands of the shaft's speed, and bearings and oil as noise; the load presses harder."""
    p, load = r.product, r.setting.load
    angle = r.rotation(p["rpm"] / 60 * r.setting.speed)
    z, press = p["teeth"], 0.6 + 0.8 * load
    worn = r.has("worn teeth")
    mesh = {k * z: press * a for k, a in ((1, 0.5), (2, 0.3 + 0.5 * worn), (3, 0.15 + 0.3 * worn), (4, 0.07))}
    side = {k * z + d: press * (0.08 + 0.35 * worn) / abs(d) for k in (1, 2, 3) for d in (-2, -1, 1, 2)}
    sound = r.orders(angle, mesh | side | {1: 0.1, 2: 0.06}) + r.about(0.35) * r.noise(p["oil"], 4 * p["oil"])
    if s := r.has("broken tooth"):
        sound = sound + 1.5 * s * press * r.blows(r.passes(angle), p["ring"], 6.0)
    if s := r.has("dry"):
        sound = sound + 0.5 * s * r.noise(3000, 6500) * (1 + 0.5 * np.cos(2 * np.pi * angle))
    if s := r.has("bearing"):
        sound = sound + 0.9 * s * r.knocking(angle, 4200)
    return sound


def pump(r: Recording) -> np.ndarray:
    """Vanes that push water through pipes: pulses, and turbulent flow that is duller against a high pressure."""
    p, load = r.product, r.setting.load
    angle = r.rotation(p["rpm"] / 60 * r.setting.speed)
    v = p["vanes"]
    pulses = r.orders(angle, {1: 0.15, v: 0.5, 2 * v: 0.35, 3 * v: 0.2, 5 * v: 0.1, 7 * v: 0.06})
    clogged = r.has("clogging")
    flow = r.noise(p["flow"] / (1 + clogged), p["flow"] * (5 - 3 * load) / (1 + 0.8 * clogged))
    sound = pulses * (1 + 0.6 * clogged) + r.about(0.7) * r.setting.speed**2 * flow * (1 + r.slowly(0.1, 8))
    if s := r.has("leak"):  # a jet's hiss
        sound = sound + 0.4 * s * r.noise(3500, 7500)
    if s := r.has("cavitation"):  # bubbles that collapse at random
        at = r.n * r.rng.random(r.rng.poisson(150 * r.n / SAMPLE_RATE))
        sound = sound + 0.8 * s * r.blows(at, 2600, 1.5)
    if s := r.has("bearing"):
        sound = sound + 0.9 * s * r.knocking(angle, 3800)
    return sound


def slider(r: Recording) -> np.ndarray:
    """A carriage to and fro on a rail: rolling noise and the balls' tone follow its speed; it bumps where it turns."""
    p, load = r.product, r.setting.load
    stroke = r.rotation(p["strokes"] * r.setting.speed, 0.01)  # one turn is there and back
    pace = np.abs(np.sin(2 * np.pi * stroke))
    rail = r.noise(p["rail"], 3 * p["rail"]) * r.about(0.7)
    balls = r.orders(r.rotation(p["balls"] * r.setting.speed * pace), {1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1})
    sound = (rail * pace + balls * pace) * (0.7 + 0.6 * load)
    turns = r.passes(stroke, 2.0, 0.002)
    sound = sound + r.blows(turns, p["bump"], 12.0, (0.6 + load) * (1 + 1.2 * r.has("loose screw")))
    if s := r.has("loose screw"):  # rattles on after each turn
        after = (turns[:, None] + SAMPLE_RATE * np.cumsum(r.rng.uniform(0.01, 0.03, (len(turns), 6)), 1)).ravel()
        sound = sound + s * r.blows(after, 2.1 * p["bump"], 4.0, 0.8)
    if s := r.has("rail damage"):  # a dent that the carriage crosses each way
        sound = sound + 1.6 * s * r.blows(r.passes(stroke + 0.17, 2.0), 3000, 5.0)
    if s := r.has("no grease"):
        sound = sound + 0.45 * s * r.noise(2500, 6000) * pace * (1 + r.slowly(0.4, 30))
    if s := r.has("belt slip"):  # squeals where the carriage speeds up
        squeal = r.orders(r.rotation(900 * (1 + 0.2 * pace), 0.02), {1: 0.6, 2: 0.4, 3: 0.3})
        sound = sound + 0.7 * s * squeal * np.maximum(np.sin(4 * np.pi * stroke), 0) ** 2
    return sound


def toy_car(r: Recording) -> np.ndarray:
    """A small fast motor with its commutator and one gear, on rollers."""
    p, load = r.product, r.setting.load
    angle = r.rotation(p["rpm"] / 60 * r.setting.speed * (1.08 - 0.16 * load), 0.006)
    z = p["teeth"]
    bent = r.has("bent shaft")
    motor = r.orders(angle, {1: 0.25 + 0.3 * bent, 2: 0.15, 6: 0.25, 12: 0.15, z: 0.5, 2 * z: 0.3, 3 * z: 0.12})
    wheel = angle / p["ratio"]
    rolling = r.noise(p["rolling"], 3 * p["rolling"]) * r.about(0.5 + 0.4 * load)
    sound = motor * (1 + (0.1 + 0.6 * bent) * np.cos(2 * np.pi * wheel)) + rolling
    if s := r.has("damaged gear"):
        sound = sound + 1.2 * s * r.blows(r.passes(wheel, 1.0), 2400, 4.0)
    if s := r.has("tangled wheel"):
        sound = sound + 0.5 * s * r.noise(1500, 4000) * r.once_a_turn(wheel, 4)
    if s := r.has("worn brushes"):
        sound = sound + 0.4 * s * r.noise(4500, 7500) * (1 + r.slowly(0.6, 40))
    return sound


def toy_train(r: Recording) -> np.ndarray:
    """A train round a small track: motor whine, rolling noise, and two axles that clack over each rail joint."""
    p, load = r.product, r.setting.load
    speed = r.setting.speed * (1.05 - 0.1 * load) * (1 + r.slowly(0.02, 2))
    angle = r.rotation(p["rpm"] / 60 * speed, 0.004)
    z = p["teeth"]
    whine = r.orders(angle, {1: 0.2, 2: 0.1, z: 0.4, 2 * z: 0.25, 3 * z: 0.15, z - 1: 0.08, z + 1: 0.08})
    rolling = r.noise(p["rolling"], 4 * p["rolling"]) * r.about(0.6 + 0.3 * load) * (1 + r.slowly(0.15, 5))
    joint = r.rotation(p["joints"] * r.setting.speed, 0.01)
    first = r.passes(joint, 1.0, 0.002)
    clacks = np.concatenate([first, first + SAMPLE_RATE * p["wheelbase"] / p["joints"] / r.setting.speed])
    sound = whine + rolling + r.blows(clacks, p["clack"], 10.0, 1.2 + 0.8 * load)
    wheel = angle / p["ratio"]
    if s := r.has("wheel flat"):
        sound = sound + 1.2 * s * r.blows(r.passes(wheel), 1.6 * p["clack"], 5.0)
    if s := r.has("broken joint"):
        sound = sound + 2.5 * s * r.blows(first + SAMPLE_RATE * 0.03, 2800, 12.0)
    if s := r.has("rubbing"):
        sound = sound + 0.5 * s * r.noise(2500, 6000) * r.once_a_turn(wheel, 3)
    if s := r.has("broken shaft"):
        sound = sound * (1 + 0.7 * s * np.cos(2 * np.pi * wheel)) + r.orders(wheel, {4: 0.5 * s, 8: 0.3 * s})
    return sound


def valve(r: Recording) -> np.ndarray:
    """A solenoid valve that opens and shuts in a rhythm: a click each, and flow while it is open."""
    p, load = r.product, r.setting.load
    cycle = r.rotation(p["cycles"] * r.setting.speed, 0.01)
    open_now = (cycle - np.floor(cycle) < p["open"]).astype(float)
    opening = np.flatnonzero(np.diff(open_now) > 0).astype(float)
    shutting = np.flatnonzero(np.diff(open_now) < 0).astype(float)
    stuck = r.has("stuck")
    force = (0.8 + 0.6 * load) / (1 + 1.5 * stuck)
    sound = r.blows(opening, p["click"] / (1 + 0.3 * stuck), 8.0, 2.0 * force)
    sound = sound + r.blows(shutting + 0.05 * SAMPLE_RATE * min(stuck, 1), 0.75 * p["click"], 10.0, 1.6 * force)
    flow = r.noise(p["flow"], 3 * p["flow"]) * r.about(0.35 + 0.3 * load)
    sound = sound + flow * np.maximum(open_now, min(0.7 * r.has("leak"), 1)) + 0.05 * r.noise(100, 1000)
    if s := r.has("leak"):
        sound = sound + 0.2 * s * r.noise(3500, 7500)
    if s := r.has("contamination"):  # grains that grate as the piston moves
        grate = np.concatenate([opening, shutting])[:, None] + SAMPLE_RATE * r.rng.uniform(0.005, 0.08, (1, 8))
        sound = sound + 1.0 * s * r.blows(grate.ravel(), 3600, 3.0)
    if s := r.has("bounce"):  # a weak spring: the piston strikes twice
        again = np.concatenate([opening, shutting]) + 0.035 * SAMPLE_RATE
        sound = sound + 1.6 * s * r.blows(again, 1.1 * p["click"], 7.0)
    return sound


@dataclass(frozen=True)
class Machine:
    """A machine type: its sound, its faults, and its six products (one row of ``products`` a section)."""

    sound: Callable[[Recording], np.ndarray]
    faults: tuple[str, ...]
    severity: float  # tuned with benchmarks/mini_difficulty.py
    gain: float  # of the whole, so that levels are those of a recording
    fields: tuple[str, ...]
    products: tuple[tuple[float, ...], ...]
    bodies: tuple[tuple[float, ...], ...]  # resonances of each product's body, Hz


BODIES = (
    (320.0, 1100.0, 2700.0), (450.0, 1500.0, 3600.0), (240.0, 900.0, 4300.0),
    (600.0, 1900.0, 3100.0), (380.0, 1300.0, 5200.0), (520.0, 2300.0, 4700.0),
)  # fmt: skip

MACHINES = {
    "fan": Machine(
        fan, ("imbalance", "rubbing", "bearing"), 1.0, 0.05,
        ("rpm", "blades", "flow"),
        ((1380, 5, 260), (1740, 7, 340), (2160, 4, 420), (1530, 9, 300), (2520, 6, 520), (1920, 11, 230)),
        BODIES,
    ),
    "gearbox": Machine(
        gearbox, ("worn teeth", "broken tooth", "dry", "bearing"), 1.0, 0.05,
        ("rpm", "teeth", "oil", "ring"),
        ((900, 23, 500, 1900), (1200, 31, 700, 2400), (1500, 19, 400, 1600), (1080, 41, 900, 2900),
         (1320, 27, 600, 2100), (780, 53, 1100, 3300)),
        BODIES[1:] + BODIES[:1],
    ),
    "pump": Machine(
        pump, ("clogging", "leak", "cavitation", "bearing"), 1.0, 0.05,
        ("rpm", "vanes", "flow"),
        ((2880, 5, 300), (1440, 7, 450), (1740, 6, 220), (2340, 4, 600), (2640, 8, 380), (1980, 9, 520)),
        BODIES[2:] + BODIES[:2],
    ),
    "slider": Machine(
        slider, ("loose screw", "rail damage", "no grease", "belt slip"), 1.0, 0.05,
        ("strokes", "rail", "balls", "bump"),
        ((0.9, 500, 320, 420), (1.3, 800, 450, 560), (1.7, 350, 260, 340), (1.1, 1100, 600, 700),
         (1.5, 650, 380, 480), (0.8, 950, 520, 620)),
        BODIES[3:] + BODIES[:3],
    ),
    "ToyCar": Machine(
        toy_car, ("bent shaft", "damaged gear", "tangled wheel", "worn brushes"), 1.0, 0.05,
        ("rpm", "teeth", "ratio", "rolling"),
        ((5400, 9, 6.0, 350), (6600, 11, 7.5, 500), (4800, 14, 5.0, 280), (7200, 8, 8.0, 650),
         (6000, 12, 6.5, 420), (7800, 10, 9.0, 560)),
        BODIES[4:] + BODIES[:4],
    ),
    "ToyTrain": Machine(
        toy_train, ("wheel flat", "broken joint", "rubbing", "broken shaft"), 1.0, 0.05,
        ("rpm", "teeth", "ratio", "rolling", "joints", "wheelbase", "clack"),
        ((3600, 13, 9.0, 400, 2.2, 0.30, 700), (4500, 16, 11.0, 550, 2.8, 0.22, 950),
         (3000, 19, 7.0, 300, 1.8, 0.38, 560), (5100, 11, 12.0, 700, 3.3, 0.25, 1200),
         (3900, 15, 8.0, 480, 2.5, 0.42, 820), (4800, 21, 10.0, 620, 3.0, 0.33, 1050)),
        BODIES[5:] + BODIES[:5],
    ),
    "valve": Machine(
        valve, ("stuck", "leak", "contamination", "bounce"), 1.0, 0.05,
        ("cycles", "open", "click", "flow"),
        ((1.6, 0.35, 900, 700), (2.2, 0.50, 1300, 1000), (2.8, 0.40, 700, 500), (1.9, 0.60, 1700, 1400),
         (2.5, 0.30, 1100, 850), (3.2, 0.45, 1500, 1200)),
        BODIES,
    ),
}  # fmt: skip


def record(rng: np.random.Generator, machine_type: str, section: int, setting: Setting, n: int, faulty: bool):
    """Record one clip of ``n`` samples at 16 kHz: (n,) floats within ±1, not clipped.

    A faulty machine has one fault of its machine type, of random severity: many are hard to hear.
    """
    machine = MACHINES[machine_type]
    product = dict(zip(machine.fields, machine.products[section], strict=True))
    fault = str(rng.choice(machine.faults)) if faulty else ""
    severity = machine.severity * 10 ** (rng.uniform(-10, 4) / 20)
    recording = Recording(rng, n, product, setting, fault, severity)
    spectrum = np.fft.rfft(machine.sound(recording)) * body(n, machine.bodies[section])
    low, high, hum = BACKGROUNDS[setting.background]
    place = recording.noise_spectrum(low, high)
    for order, amplitude in ((1, 0.2), (2, 0.1), (3, 0.05)):
        place[round(order * hum * n / SAMPLE_RATE)] += amplitude * n / 2
    spectrum += place * recording.about(10 ** (setting.background_db / 20))
    sound = np.fft.irfft(spectrum * microphone(n, setting.microphone), n) * recording.about(machine.gain)
    return sound * min(1.0, 0.98 / np.abs(sound).max())  # a recordist turns down what would clip
