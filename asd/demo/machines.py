"""The seven machine types: how each sounds, its six products, and the faults that such machines really have.

The *products* of a machine type, one a section, differ in build: blades, teeth, resonances, speed. ``severity`` 1 is a
clear fault; what is left at 0 is a healthy machine. How severe faults are was tuned per product, so that a small
classifier and an autoencoder find many, but not all, of them; ``benchmarks/mini_difficulty.py`` tells how many.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from asd.demo.physics import SAMPLE_RATE, Recording, Setting


def fan(r: Recording) -> np.ndarray:
    """Blades that chop the air, and its flow noise."""
    p, load = r.product, r.setting.load
    angle = r.rotation(p["rpm"] / 60 * r.setting.speed)
    b = p["blades"]
    tones = r.orders(angle, {1: 0.05, b: 0.5, 2 * b: 0.3, 3 * b: 0.15, 4 * b: 0.08})
    flow = r.noise(p["flow"] * r.setting.speed * (1.2 - 0.4 * load), 4 * p["flow"] * (1.3 - 0.6 * load))
    flow *= r.about(0.6 + 0.3 * load) * r.setting.speed**2 * (1 + 0.25 * r.swing(b * angle))
    sound = tones + flow
    if s := r.has("imbalance"):  # the whole swells once a revolution
        sound = sound * (1 + 0.8 * s * r.swing(angle)) + r.orders(angle, {1: s, 2: 0.7 * s, 3: 0.4 * s})
    if s := r.has("rubbing"):
        sound = sound + 0.5 * s * r.noise(2500, 5000) * r.once_a_turn(angle, 8)
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
        sound = sound + 0.5 * s * r.noise(3000, 6500) * (1 + 0.5 * r.swing(angle))
    if s := r.has("bearing"):
        sound = sound + 0.9 * s * r.knocking(angle, 4200)
    return sound


def pump(r: Recording) -> np.ndarray:
    """Vanes that push water through pipes: pulses, and turbulent flow that is duller against a high pressure."""
    p, load = r.product, r.setting.load
    angle = r.rotation(p["rpm"] / 60 * r.setting.speed)
    v = p["vanes"]
    pulses = r.orders(angle, {1: 0.15, v: 0.5, 2 * v: 0.35, 3 * v: 0.2, 5 * v: 0.1, 7 * v: 0.06})
    clogged = 0.7 * r.has("clogging")
    flow = r.noise(p["flow"] / (1 + clogged), p["flow"] * (5 - 3 * load) / (1 + 0.8 * clogged))
    sound = pulses * (1 + 0.6 * clogged) + r.about(0.7) * r.setting.speed**2 * flow * (1 + r.slowly(0.1, 8))
    if s := r.has("leak"):  # a jet's hiss
        sound = sound + 0.3 * s * r.noise(3500, 7500)
    if s := r.has("cavitation"):  # bubbles that collapse at random
        at = r.n * r.rng.random(r.rng.poisson(150 * r.n / SAMPLE_RATE))
        sound = sound + 1.1 * s * r.blows(at, 2600, 1.5)
    if s := r.has("bearing"):
        sound = sound + 0.9 * s * r.knocking(angle, 3800)
    return sound


def slider(r: Recording) -> np.ndarray:
    """A carriage to and fro on a rail: rolling noise and the balls' tone follow its speed; it bumps where it turns."""
    p, load = r.product, r.setting.load
    stroke = r.rotation(p["strokes"] * r.setting.speed, 0.01)  # one turn is there and back
    pace = np.minimum(1, 1.6 * np.abs(r.swing(stroke)))
    rail = r.noise(p["rail"], 3 * p["rail"]) * r.about(0.7)
    balls = r.orders(r.rotation(p["balls"] * r.setting.speed * pace), {1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1})
    sound = (rail * pace + balls * pace) * (0.7 + 0.6 * load)
    turns = r.passes(stroke - 0.25, 2.0, 0.002)
    sound = sound + r.blows(turns, p["bump"], 12.0, (0.6 + load) * (1 + 1.2 * r.has("loose screw")))
    if s := r.has("loose screw"):  # rattles on after each turn
        after = (turns[:, None] + SAMPLE_RATE * np.cumsum(r.rng.uniform(0.01, 0.03, (len(turns), 6)), 1)).ravel()
        sound = sound + 1.6 * s * r.blows(after, 2.1 * p["bump"], 4.0)
    if s := r.has("rail damage"):  # a dent that the carriage crosses each way
        sound = sound + 4.0 * s * r.blows(r.passes(stroke - 0.1, 2.0), 3000, 8.0)
    if s := r.has("no grease"):
        sound = sound + 0.5 * s * r.noise(2500, 6000) * pace * (1 + r.slowly(0.4, 30))
    if s := r.has("belt slip"):  # squeals where the carriage speeds up
        squeal = r.orders(r.rotation(900 * (1 + 0.2 * pace), 0.02), {1: 0.6, 2: 0.4, 3: 0.3})
        sound = sound + 1.8 * s * squeal * np.maximum(r.swing(2 * stroke - 0.75), 0) ** 2
    return sound


def toy_car(r: Recording) -> np.ndarray:
    """A small fast motor with its commutator and one gear, on rollers."""
    p, load = r.product, r.setting.load
    angle = r.rotation(p["rpm"] / 60 * r.setting.speed * (1.08 - 0.16 * load), 0.006)
    z = p["teeth"]
    bent = r.has("bent shaft")
    motor = r.orders(angle, {1: 0.25 + 0.5 * bent, 2: 0.15, 6: 0.25, 12: 0.15, z: 0.5, 2 * z: 0.3, 3 * z: 0.12})
    wheel = angle / p["ratio"] + r.rng.random()
    rolling = r.noise(p["rolling"], 3 * p["rolling"]) * r.about(0.5 + 0.4 * load)
    sound = motor * (1 + (0.1 + 0.8 * bent) * r.swing(wheel)) + rolling
    if s := r.has("damaged gear"):
        sound = sound + 2.0 * s * r.blows(r.passes(wheel), 2400, 4.0)
    if s := r.has("tangled wheel"):
        sound = sound + 0.5 * s * r.noise(1500, 4000) * r.once_a_turn(wheel, 4)
    if s := r.has("worn brushes"):
        sound = sound + 0.25 * s * r.noise(4500, 7500) * (1 + r.slowly(0.6, 40))
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
    wheel = angle / p["ratio"] + r.rng.random()
    if s := r.has("wheel flat"):
        sound = sound + 3.2 * s * r.blows(r.passes(wheel), 1.6 * p["clack"], 5.0)
    if s := r.has("broken joint"):
        sound = sound + 4.0 * s * r.blows(first + SAMPLE_RATE * 0.03, 2800, 12.0)
    if s := r.has("rubbing"):
        sound = sound + 0.5 * s * r.noise(2500, 6000) * r.once_a_turn(wheel, 3)
    if s := r.has("broken shaft"):
        sound = sound * (1 + 0.5 * s * r.swing(wheel)) + r.orders(wheel, {4: 0.25 * s, 8: 0.15 * s})
    return sound


def valve(r: Recording) -> np.ndarray:
    """A solenoid valve that opens and shuts in a rhythm: a click each, and flow while it is open."""
    p, load = r.product, r.setting.load
    cycle = r.rotation(p["cycles"] * r.setting.speed, 0.01)
    open_now = (cycle - np.floor(cycle) < p["open"]).astype(np.float32)
    opening = np.flatnonzero(np.diff(open_now) > 0).astype(float)
    shutting = np.flatnonzero(np.diff(open_now) < 0).astype(float)
    stuck = r.has("stuck")
    force = (0.8 + 0.6 * load) / (1 + stuck)
    sound = r.blows(opening, p["click"], 8.0, 2.0 * force)
    sound = sound + r.blows(shutting, 0.75 * p["click"], 10.0, 1.6 * force)
    pitch = p["flow"] * r.setting.speed**2  # what drives the cycles faster drives the flow too
    flow = r.noise(pitch, 3 * pitch) * r.about(0.35 + 0.3 * load)
    sound = sound + flow * np.maximum(open_now, min(0.5 * r.has("leak"), 1)) + 0.12 * r.noise(150, 2500)
    if stuck:  # the solenoid pulls in vain and buzzes at twice the mains frequency
        sound = sound + 0.3 * stuck * r.orders(r.rotation(100.0, 0), {k: 1 / k**0.5 for k in range(1, 20)}) * open_now
    if s := r.has("leak"):
        sound = sound + 0.5 * s * r.noise(4500, 7500)
    if s := r.has("contamination"):  # grains that grate as the piston moves
        grate = np.concatenate([opening, shutting])[:, None] + SAMPLE_RATE * r.rng.uniform(0.005, 0.12, (1, 16))
        sound = sound + 1.8 * s * r.blows(grate.ravel(), 2500, 3.0)
    if s := r.has("bounce"):  # a weak spring: the piston strikes twice
        again = np.concatenate([opening, shutting]) + 0.035 * SAMPLE_RATE
        sound = sound + 3.0 * s * r.blows(again, 0.65 * p["click"], 7.0)
    return 2.0 * sound


@dataclass(frozen=True)
class Machine:
    """A machine type: its sound, its faults, and its six products (one row of ``products`` a section)."""

    sound: Callable[[Recording], np.ndarray]
    faults: tuple[str, ...]
    severities: tuple[float, ...]  # of the faults, per product; tuned with benchmarks/mini_difficulty.py
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
        fan, ("imbalance", "rubbing", "bearing"), (0.45, 0.5, 0.5, 0.45, 0.5, 0.35), 0.05,
        ("rpm", "blades", "flow"),
        ((1380, 5, 260), (1740, 7, 340), (2160, 4, 420), (1530, 9, 300), (2520, 6, 520), (1920, 11, 230)),
        BODIES,
    ),
    "gearbox": Machine(
        gearbox, ("worn teeth", "broken tooth", "dry", "bearing"), (0.8, 0.85, 0.65, 1.0, 0.85, 0.85), 0.05,
        ("rpm", "teeth", "oil", "ring"),
        ((900, 23, 500, 1900), (1200, 31, 700, 2400), (1500, 19, 400, 1600), (1080, 41, 900, 2900),
         (1320, 27, 600, 2100), (780, 53, 1100, 3300)),
        BODIES[1:] + BODIES[:1],
    ),
    "pump": Machine(
        pump, ("clogging", "leak", "cavitation", "bearing"), (0.6, 0.75, 0.6, 0.9, 0.65, 0.9), 0.05,
        ("rpm", "vanes", "flow"),
        ((2880, 5, 300), (1440, 7, 450), (1740, 6, 220), (2340, 4, 600), (2640, 8, 380), (1980, 9, 520)),
        BODIES[2:] + BODIES[:2],
    ),
    "slider": Machine(
        slider, ("loose screw", "rail damage", "no grease", "belt slip"), (1.3, 1.6, 1.0, 2.0, 1.7, 2.1), 0.04,
        ("strokes", "rail", "balls", "bump"),
        ((0.9, 400, 320, 420), (1.3, 900, 520, 700), (1.7, 330, 210, 300), (1.1, 1250, 900, 1300),
         (1.5, 600, 410, 540), (0.8, 1000, 680, 950)),
        BODIES[3:] + BODIES[:3],
    ),
    "ToyCar": Machine(
        toy_car, ("bent shaft", "damaged gear", "tangled wheel", "worn brushes"), (0.85, 0.9, 0.9, 1.0, 0.9, 1.2), 0.05,
        ("rpm", "teeth", "ratio", "rolling"),
        ((5400, 9, 6.0, 350), (6600, 11, 7.5, 500), (4800, 14, 5.0, 280), (7200, 8, 8.0, 650),
         (6000, 12, 6.5, 420), (7800, 10, 9.0, 560)),
        BODIES[4:] + BODIES[:4],
    ),
    "ToyTrain": Machine(
        toy_train, ("wheel flat", "broken joint", "rubbing", "broken shaft"), (1.0, 1.1, 0.8, 1.0, 0.9, 1.3), 0.042,
        ("rpm", "teeth", "ratio", "rolling", "joints", "wheelbase", "clack"),
        ((3600, 13, 9.0, 400, 2.2, 0.30, 700), (4500, 16, 11.0, 550, 2.8, 0.22, 950),
         (3000, 19, 7.0, 300, 1.8, 0.38, 560), (5100, 11, 12.0, 700, 3.3, 0.25, 1200),
         (3900, 15, 8.0, 480, 2.5, 0.42, 820), (4800, 21, 10.0, 620, 3.0, 0.33, 1050)),
        BODIES[5:] + BODIES[:5],
    ),
    "valve": Machine(
        valve, ("stuck", "leak", "contamination", "bounce"), (0.9, 0.9, 0.9, 1.1, 0.9, 0.9), 0.028,
        ("cycles", "open", "click", "flow"),
        ((1.6, 0.35, 800, 600), (2.2, 0.50, 1400, 1100), (2.8, 0.40, 550, 350), (1.9, 0.60, 2300, 1900),
         (2.5, 0.30, 1050, 800), (3.2, 0.45, 1800, 1400)),
        BODIES,
    ),
}  # fmt: skip


def record(
    rng: np.random.Generator, machine_type: str, section: int, setting: Setting, n: int, fault: str
) -> np.ndarray:
    """Record one clip of ``n`` samples at 16 kHz: (n,) within ±1.

    ``fault`` is one of the machine type's, or "" for a healthy machine. How bad it is is random: many are hard to hear.
    """
    machine = MACHINES[machine_type]
    product = dict(zip(machine.fields, machine.products[section], strict=True))
    severity = machine.severities[section] * 10 ** (rng.uniform(-10, 4) / 20)
    recording = Recording(rng, n, product, setting, fault, severity)
    return recording.heard(machine.sound(recording), machine.bodies[section], machine.gain)
