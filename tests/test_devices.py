"""What would go wrong on a GPU, found without one.

Tensors on PyTorch's ``meta`` device have a shape but no numbers. Code that mixes devices raises on them, and so does
code that would make the host wait for a GPU: ``.item()``, ``.cpu()``, a mask as index, ``if tensor:``. So whatever
runs on ``meta`` runs on a GPU without a single wait.
"""

import json
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import PROJECT, tiny_detector

from asd.data import frames as frames_module
from asd.data.features import FeatureSettings
from asd.data.frames import Frames, LabelledFrames, page_locked
from asd.data.store import Shard
from asd.detection.scoring import score_clips
from asd.models.classifier import SectionClassifier
from asd.models.density import DensityEstimator
from asd.training.adaptation import adaptation_terms, gradient_norms
from asd.training.batches import section_batches, window_batches
from asd.training.devices import find_device, find_precision
from asd.training.loop import Optimisation, fit, train_step
from asd.training.losses import classification, margin_ranking, uniform_cross_entropy

META = torch.device("meta")
CLIPS = [f"{i}.wav" for i in range(6)]
PARAMETERS = SimpleNamespace(margin=0.5, proxy_outlier_lambda=0.5, da_lambda=1.0, da_task="ccsa")
LOSSES = [adaptation_terms, gradient_norms, classification, margin_ranking, uniform_cross_entropy]


def shard(machine_type: str = "fan") -> Shard:
    """Six clips of 30 frames of 16 mel bands."""
    frames = np.random.default_rng(0).integers(-9000, -3000, (180, 16)).astype(np.int16)
    table = pd.DataFrame({"start": np.arange(6) * 30, "length": 30, "rms": 0.1, "samples": 15872}, index=CLIPS)
    return Shard(machine_type, FeatureSettings(n_mels=16), frames, table, np.zeros((6, 2, 16)))


def clips_on(device: torch.device, n_shards: int = 1) -> LabelledFrames:
    frames = Frames([(shard(), pd.Series(CLIPS))] * n_shards, device)
    return LabelledFrames(frames, torch.arange(len(frames)) % 3)


def objective(notebook: str) -> Callable:
    """The objective that the notebook defines."""
    cells = json.loads((PROJECT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]
    (source,) = [text for cell in cells if (text := "".join(cell["source"])).startswith("def objective")]
    namespace = {function.__name__: function for function in LOSSES} | {"p": PARAMETERS}
    exec(source, namespace)
    return namespace["objective"]


def model_of(notebook: str, architecture: str = "ae") -> torch.nn.Module:
    if notebook == "05_density":
        sizes = {"hidden_size": 32, "hidden_dims": 1}
        return DensityEstimator(architecture=architecture, n_sections=3, n_mels=16, n_frames=5, sizes=sizes)
    return SectionClassifier(n_sections=3, n_mels=16, normalize="batchnorm", rho_f=5, rho_t=5, base_channels=2)


def batches(notebook: str, device: torch.device, n_shards: int = 1) -> Callable:
    """Batches as the notebook draws them, with proxy outliers of other machine types."""
    source, others = clips_on(device), clips_on(device, n_shards).frames
    if notebook == "05_density":
        return lambda epoch: window_batches(
            source, 3, 5, 32, other_sections=True, other_machines=others, seed=0, epoch=epoch
        )
    target = {"target": clips_on(device)} if notebook == "04_ccsa" else {"pairwise_mixing": True}
    return lambda epoch: section_batches(source, 3, 20, 4, seed=0, epoch=epoch, outliers=others, **target)


@pytest.fixture(params=["resident", "streamed"])
def placement(request, monkeypatch) -> str:
    """Whether a device has room for all frames, or takes them batch by batch."""
    monkeypatch.setattr(frames_module, "free_memory", lambda device: 10**12 if request.param == "resident" else 0)
    return request.param


@pytest.mark.parametrize(
    ("notebook", "architecture"),
    [("03_aux", ""), ("04_ccsa", ""), ("05_density", "ae"), ("05_density", "made"), ("05_density", "maf")],
)
def test_no_training_step_waits_for_the_device(notebook, architecture, placement):
    model = model_of(notebook, architecture).to(META)
    optimizer = torch.optim.Adam(model.parameters())
    drawn = list(batches(notebook, META, n_shards=2)(0))
    assert len(drawn) > 1
    for batch in drawn:
        assert batch.frames.device == batch.section.device == META
        terms = train_step(model, batch, objective(notebook), optimizer, META, torch.float32)
        assert {value.device for value in terms.values()} == {META}
        assert {value.shape for value in terms.values()} == {torch.Size([])}


def test_a_step_that_reads_a_number_would_be_noticed(placement):
    def curious(model, batch):
        terms = objective("03_aux")(model, batch)
        return terms | {"accuracy": torch.tensor(float(terms["accuracy"]))}

    model = model_of("03_aux").to(META)
    batch = next(iter(batches("03_aux", META)(0)))
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        train_step(model, batch, curious, torch.optim.Adam(model.parameters()), META, torch.float32)


@pytest.mark.parametrize("kind", ["classifier", "density"])
def test_the_host_waits_once_for_all_scores(kind, placement, monkeypatch):
    waits = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: waits.append(1) or torch.zeros(tensor.shape))
    detector = tiny_detector(kind)
    detector.model.to(META)
    clips = pd.DataFrame({"path": CLIPS, "section": [0, 0, 3, 3, 7, 7]})
    monkeypatch.setattr("asd.detection.scoring.FRAMES_AT_ONCE", 30)  # one clip at a time
    score_clips(detector, shard(), clips)
    assert len(waits) == 1


def test_frames_lie_in_the_memory_of_a_device_that_has_room(placement):
    frames = clips_on(META, n_shards=2).frames
    assert frames.mapped[0].device == (META if placement == "resident" else torch.device("cpu"))
    assert frames.crop(torch.tensor([0, 7]), torch.tensor([3, 29]), 5).shape == (2, 5, 16)
    assert clips_on(torch.device("cpu")).frames.mapped[0].device == torch.device("cpu")


def test_frames_for_a_gpu_are_sent_from_page_locked_memory(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    assert page_locked(torch.zeros(1), torch.device("cuda")) == 1
    assert page_locked(torch.zeros(1), torch.device("cpu")) == 0


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_is_chosen_where_a_gpu_computes_in_it_natively(native, expected, monkeypatch):
    def supported(including_emulation=True):
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert find_precision("auto", torch.device("cuda")) == expected
    assert find_precision("auto", torch.device("cpu")) == torch.float32
    assert find_precision("float32", torch.device("cuda")) == torch.float32
    assert find_precision("bfloat16", torch.device("cpu")) == torch.bfloat16


def test_float32_products_use_tf32_on_a_gpu_only(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    before = torch.get_float32_matmul_precision()
    try:
        find_device("cpu")
        assert torch.get_float32_matmul_precision() == before
        find_device("auto")
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("notebook", ["03_aux", "04_ccsa", "05_density"])
def test_bfloat16_changes_a_training_little(notebook):
    courses = {}
    for precision in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        optimisation = Optimisation(2, 1e-3, 1e-3, 1, 1, weight_decay=0)
        cpu = torch.device("cpu")
        history = list(
            fit(
                model_of(notebook),
                batches(notebook, cpu),
                objective(notebook),
                optimisation,
                steps=2,
                precision=precision,
            )
        )
        courses[precision] = [epoch.means["loss"] for epoch in history]
    assert courses[torch.bfloat16] != courses[torch.float32]
    assert courses[torch.bfloat16] == pytest.approx(courses[torch.float32], rel=0.03)


def test_a_compiled_objective_is_what_trains(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
    optimisation = Optimisation(1, 1e-3, 1e-3, 1, 1, weight_decay=0)
    for compile in (False, True):
        task = objective("03_aux")
        list(fit(model_of("03_aux"), batches("03_aux", "cpu"), task, optimisation, steps=2, compile=compile))
        assert compiled == ([task] if compile else [])
