"""The seven machine types: how each sounds, its six products, and the faults that such machines really have.

The six *products* of a machine type, one per section, combine three **builds** with two **drives**. The build decides
which partials are strong: the voice of the machine. The drive decides how fast things repeat. So whoever tells products
apart must listen to both, and those are what most faults change.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from asd.demo.faults import another_rate, detuned, exchanged, mistimed, rough
from asd.demo.physics import SAMPLE_RATE, Recording, band, rms
from asd.demo.surroundings import Setting, heard

SEVERITIES = (0.4, 1.0)  # of faults: from hard to hear to clear


@dataclass(frozen=True)
class Product:
    """What one product's sound is made of.

    Attributes:
        pitch: of the first partial, Hz.
        voice: amplitude of each partial, (partials,).
        rate: how often per second something repeats: a stroke, a beat; of a valve, one over the seconds it stays open.
    """

    pitch: float
    voice: np.ndarray
    rate: float

    @property
    def span(self) -> tuple[float, float]:
        """From where to where its sound reaches, Hz."""
        return self.pitch, 20 * self.pitch

    @property
    def modes(self) -> np.ndarray:
        """In which frequencies (Hz) its body rings when struck: those of the partials, (partials,)."""
        return self.pitch * np.arange(1, len(self.voice) + 1)


def even(sound: np.ndarray) -> np.ndarray:
    """The sound at RMS 1."""
    return sound / rms(sound)


def wavering(r: Recording, sound: np.ndarray) -> np.ndarray:
    """The sound at RMS 1 as real machines make it: never quite steady, and in some clips less so than in others."""
    return even(sound * np.maximum(0.1, 1 + r.slowly(r.rng.uniform(0.1, 0.6), 4.0)))


def pulsating(r: Recording, sound: np.ndarray, rate: float, depth: float) -> np.ndarray:
    """The sound, louder and softer ``rate`` times a second."""
    return sound * (1 + depth * r.swing(r.rotation(rate, 0.01)))


def fan(r: Recording, p: Product, load: float) -> np.ndarray:
    """Blades that chop the air, a hub that makes it beat, and flow noise."""
    voice = exchanged(r, "bent blade", p.voice, p.pitch)
    tones = wavering(r, detuned(r, "loose hub", r.rotation(p.pitch), voice, p.pitch))
    beat = another_rate(r, "slipping belt", p.rate, *p.span)
    sound = pulsating(r, tones + 0.5 * r.noise(band(r.n, 300, 1500 + 1500 * load)), beat, 0.7)
    knocks = r.passes(r.rotation(7.0 * p.rate, 0.02))
    return sound + rough(r, "rubbing", knocks, 3000, 0.8)


def gearbox(r: Recording, p: Product, load: float) -> np.ndarray:
    """Teeth that mesh, harder under load; a shaft that is never quite straight makes them rough."""
    voice = exchanged(r, "worn teeth", p.voice, p.pitch)
    tones = wavering(r, detuned(r, "slipping clutch", r.rotation(p.pitch), voice, p.pitch))
    shaft = another_rate(r, "bent shaft", p.rate, *p.span)
    sound = pulsating(r, tones, shaft, 0.8) + 0.3 * r.noise(band(r.n, 500, 2500))
    turns = r.passes(r.rotation(0.5 * p.rate, 0.01))
    return sound + rough(r, "broken tooth", turns, 4000, 1.2)


def pump(r: Recording, p: Product, load: float) -> np.ndarray:
    """Vanes that push water in strokes through pipes that sing."""
    rate = another_rate(r, "clogging", p.rate, *p.span, 0.6)  # a change that is plain, as nothing else pulsates
    voice = exchanged(r, "cracked vane", p.voice, p.pitch)
    tones = wavering(r, r.partials(r.rotation(p.pitch), voice))
    strokes = mistimed(r, "sticking valve", r.passes(r.rotation(rate, 0.01)), "late", *p.span)
    gate = np.zeros(r.n, np.float32)
    stroke = np.hanning(round(0.6 * SAMPLE_RATE / p.rate))
    for start in strokes.astype(int).tolist():
        end = min(r.n, start + len(stroke))
        if end > start:
            gate[start:end] += stroke[: end - start]
    sound = (tones + 0.4 * r.noise(band(r.n, 200, 1200 + 800 * load))) * (0.25 + gate)
    bubbles = r.n * r.rng.random(round(20 * r.n / SAMPLE_RATE))
    return even(sound) + rough(r, "cavitation", bubbles, 3500, 0.8)


def slider(r: Recording, p: Product, load: float) -> np.ndarray:
    """A carriage to and fro on a rail, louder while it moves fast; it bumps where it turns."""
    stroke = r.rotation(another_rate(r, "dragging belt", p.rate, *p.span), 0.01)
    pace = np.abs(r.swing(stroke)) + r.rng.uniform(0.0, 0.4)
    voice = exchanged(r, "worn balls", p.voice, p.pitch)
    tones = wavering(r, detuned(r, "loose rail", r.rotation(p.pitch), voice, p.pitch))
    bumps = mistimed(r, "loose screw", r.passes(2 * stroke - 0.5), "doubled", *p.span)
    sound = even((tones + 0.4 * r.noise(band(r.n, 400, 2500))) * pace)
    return sound + (1.0 + 0.4 * load) * even(r.blows(bumps, p.modes, p.voice, 25.0))


def toy_car(r: Recording, p: Product, load: float) -> np.ndarray:
    """A small fast motor, one gear, and wheels that are not quite round."""
    wheel = another_rate(r, "bent axle", p.rate, *p.span)
    voice = exchanged(r, "worn brushes", p.voice, p.pitch)
    tones = wavering(r, detuned(r, "slipping gear", r.rotation(p.pitch, 0.005), voice, p.pitch))
    sound = pulsating(r, tones, wheel, 0.8) + 0.4 * r.noise(band(r.n, 600, 2500 + 1500 * load))
    turns = r.passes(r.rotation(p.rate, 0.01))
    return sound + rough(r, "damaged tyre", turns, 2500, 1.2)


def toy_train(r: Recording, p: Product, load: float) -> np.ndarray:
    """A motor's whine, and two axles that clack over each joint of the track."""
    voice = exchanged(r, "worn motor", p.voice, p.pitch)
    whine = wavering(r, detuned(r, "slipping wheel", r.rotation(p.pitch, 0.005), voice, p.pitch))
    joints = r.passes(r.rotation(p.rate, 0.01))
    clacks = np.concatenate([joints, joints + 0.3 * SAMPLE_RATE / p.rate])  # the second axle follows
    clacks = mistimed(r, "loose axle", clacks, "late", *p.span)
    clacks = mistimed(r, "broken joint", clacks, "doubled", *p.span)
    sound = whine + 0.5 * r.noise(band(r.n, 400, 2000 + 1000 * load))
    return sound + even(r.blows(clacks, p.modes, p.voice, 20.0))


def valve(r: Recording, p: Product, load: float) -> np.ndarray:
    """A solenoid valve that opens and shuts in a rhythm, with a click each, and whistles while it is open."""
    cycle = r.rotation(2.5, 0.01)
    opening = r.passes(cycle)
    shutting = opening + SAMPLE_RATE / p.rate
    opening = mistimed(r, "bounce", opening, "doubled", *p.span)
    shutting = mistimed(r, "sluggish spring", shutting, "late", *p.span)
    shutting = mistimed(r, "dirt in the seat", shutting, "missing", *p.span)
    voice = exchanged(r, "cracked body", p.voice, p.pitch)
    sound = r.blows(opening, p.modes, voice, 25.0) + r.blows(shutting, p.modes, voice, 15.0, 0.8)
    return even(sound) + 0.3 * r.noise(band(r.n, 400, 1500 + 1500 * load))


@dataclass(frozen=True)
class Machine:
    """A machine type: its sound, its faults, and what its products are made of."""

    sound: Callable[[Recording, Product, float], np.ndarray]  # given a product and the load
    faults: tuple[str, ...]
    pitch: float  # Hz
    partials: int
    rates: tuple[float, float]  # of the two drives, per second

    def product(self, section: int) -> Product:
        """The product of a section: one of three builds with one of two drives."""
        build, drive = section % 3, section % 2
        rng = np.random.default_rng([build, round(self.pitch)])
        levels = 8.0 * rng.standard_normal(self.partials) - 3.0 * np.log2(np.arange(1, self.partials + 1))
        return Product(self.pitch, 10 ** (levels / 20), self.rates[drive])


MACHINES = {
    "fan": Machine(fan, ("bent blade", "loose hub", "slipping belt", "rubbing"), 98.0, 24, (4.0, 7.5)),
    "gearbox": Machine(
        gearbox, ("worn teeth", "slipping clutch", "bent shaft", "broken tooth"), 170.0, 20, (9.0, 16.0)
    ),
    "pump": Machine(pump, ("clogging", "cracked vane", "sticking valve", "cavitation"), 84.0, 24, (3.0, 5.0)),
    "slider": Machine(slider, ("worn balls", "loose rail", "loose screw", "dragging belt"), 140.0, 24, (1.4, 2.4)),
    "ToyCar": Machine(toy_car, ("bent axle", "worn brushes", "slipping gear", "damaged tyre"), 200.0, 18, (6.0, 11.0)),
    "ToyTrain": Machine(
        toy_train, ("worn motor", "slipping wheel", "loose axle", "broken joint"), 120.0, 24, (1.9, 3.3)
    ),
    "valve": Machine(valve, ("bounce", "sluggish spring", "dirt in the seat", "cracked body"), 230.0, 16, (7.0, 4.0)),
}


def record(
    rng: np.random.Generator,
    machine_type: str,
    section: int,
    setting: Setting,
    n: int,
    fault: str,
    severity: float | None = None,
) -> tuple[np.ndarray, Recording]:
    """Record one clip of ``n`` samples at 16 kHz, (n,) within ±1, and return with it how it was made.

    ``fault`` is one of the machine type's, or "" for a healthy machine. Where no ``severity`` is given, it is random.
    With severity 0 the clip sounds as it would if nothing were broken, alike in all else.
    """
    machine, load = MACHINES[machine_type], setting.load
    product = machine.product(section)
    numbers = np.arange(1, len(product.voice) + 1)
    take = 10 ** (rng.standard_normal(len(numbers)) / 20)  # no two takes are alike, by about 1 dB
    voice = product.voice * numbers ** (0.8 * (load - 0.5)) * take  # the higher the load, the brighter
    product = Product(product.pitch * setting.speed, voice, product.rate * setting.speed)
    drawn = rng.uniform(*SEVERITIES) if fault else 0.0
    r = Recording(rng, n, fault, drawn if severity is None else severity)
    return heard(r, machine.sound(r, product, load), setting), r
