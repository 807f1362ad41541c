"""The clips of the embedded data set, each by itself: under what conditions it is recorded, and how it sounds."""

from dataclasses import dataclass

import numpy as np

from asd.demo.machines import MACHINES, record
from asd.demo.physics import SAMPLE_RATE, Region
from asd.demo.surroundings import Setting

MACHINE_TYPES = tuple(MACHINES)

# What shifts between the domains, per section: as in the challenge, each section has its own kind of shift
SHIFTS = ("speed", "load", "background", "microphone", "speed", "background")
SPEEDS = {"source": (0.98, 1.02), "target": (1.06, 1.10)}  # relative to the product's nominal speed
LOADS = {"source": (0.2, 0.6), "target": (0.8, 1.0)}
BACKGROUNDS = {"source": "hall", "target": "workshop"}
MICROPHONES = {"source": "near", "target": "far"}


@dataclass(frozen=True)
class Clip:
    """What one clip is; together with the seed it determines every sample of it."""

    machine_type: str
    section: int
    domain: str  # "source" or "target"
    split: str  # "train" or "test"
    label: int  # 0 normal, 1 anomalous
    index: int  # among the clips that are alike in all of the above

    @property
    def fault(self) -> str:
        """What is wrong with the machine, "" if nothing: the machine type's faults take turns."""
        faults = MACHINES[self.machine_type].faults
        return faults[self.index % len(faults)] if self.label else ""

    def generator(self, seed: int) -> np.random.Generator:
        """The clip's own random numbers: the same whoever makes it, and whatever else is made."""
        place = (MACHINE_TYPES.index(self.machine_type), self.section, self.domain == "target", self.split == "test")
        return np.random.default_rng([seed, *map(int, place), self.label, self.index])

    def setting(self, rng: np.random.Generator) -> Setting:
        """Draw the clip's conditions: those of its domain in what shifts in its section, of the source in the rest."""
        shift = SHIFTS[self.section]
        domain = {what: self.domain if what == shift else "source" for what in SHIFTS}
        return Setting(
            speed=float(rng.uniform(*SPEEDS[domain["speed"]])),
            load=float(rng.uniform(*LOADS[domain["load"]])),
            background=BACKGROUNDS[domain["background"]],
            microphone=MICROPHONES[domain["microphone"]],
        )

    def attribute(self, setting: Setting) -> str:
        """The conditions as they stand in a train clip's name."""
        text = f"speed_{100 * setting.speed:.0f}_load_{100 * setting.load:.0f}"
        shift = SHIFTS[self.section]
        return text + (f"_{shift}_{getattr(setting, shift)}" if shift in ("background", "microphone") else "")


def sound(clip: Clip, duration: float, seed: int) -> tuple[np.ndarray, str, list[Region]]:
    """The clip's samples, (16 000 · duration,) int16, its attribute, and where a fault is heard."""
    rng = clip.generator(seed)
    setting = clip.setting(rng)
    samples, r = record(rng, clip.machine_type, clip.section, setting, round(duration * SAMPLE_RATE), clip.fault)
    return np.round(samples * 32767).astype(np.int16), clip.attribute(setting), r.regions
