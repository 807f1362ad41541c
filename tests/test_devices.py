"""What would go wrong on a GPU, found without one.

Tensors on PyTorch's ``meta`` device have a shape but no numbers. Code that mixes devices raises on them, and so does
code that would make the host wait for a GPU: ``.item()``, ``.cpu()``, a mask as index, ``if tensor:``. It accepts
copies from the host that would wait, so ``Watch`` notices these. Whatever passes both runs on a GPU without a wait.
"""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import PROJECT, tiny_detector
from torch.utils._python_dispatch import TorchDispatchMode

from asd.data import frames as frames_module
from asd.data.features import FeatureSettings
from asd.data.frames import Frames, LabelledFrames, page_locked
from asd.data.store import Shard
from asd.detection.scoring import score_clips
from asd.errors import InputError
from asd.models.angular import AngularNetwork
from asd.models.classifier import SectionClassifier
from asd.models.density import DensityEstimator
from asd.training.adaptation import adaptation_terms, gradient_norms
from asd.training.angular import AngularTraining, SubclusterAdaCos, SubspaceLoss, angular_batches
from asd.training.batches import section_batches, window_batches
from asd.training.devices import find_device, find_precision
from asd.training.loop import Optimisation, fit, train_step
from asd.training.losses import classification, margin_ranking, uniform_cross_entropy

META = torch.device("meta")
CLIPS = [f"{i}.wav" for i in range(6)]
PARAMETERS = SimpleNamespace(margin=0.5, proxy_outlier_lambda=0.5, da_lambda=1.0, da_task="ccsa")
LOSSES = [adaptation_terms, gradient_norms, classification, margin_ranking, uniform_cross_entropy]


class Watch(TorchDispatchMode):
    """Raise where a copy from the host would wait for the device: one not said to be non-blocking, or of an index."""

    def __torch_dispatch__(self, function: Any, types: Any, arguments: tuple = (), options: dict | None = None) -> Any:
        options, name = options or {}, function._schema.name
        given = [x for argument in arguments for x in (argument if isinstance(argument, list | tuple) else [argument])]
        places = {x.device.type for x in given if isinstance(x, torch.Tensor) and x.ndim}
        if name == "aten::_to_copy":
            moved = places == {"cpu"} and torch.device(options.get("device") or "cpu") == META
            assert options.get("non_blocking") or not moved, "a blocking copy from the host"
        if name in ("aten::index", "aten::index_put_", "aten::copy_"):
            assert len(places) < 2, f"{name}: of tensors on {places}"
        return function(*arguments, **options)


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


@pytest.fixture
def watch(monkeypatch) -> Watch:
    """Notices copies that wait for the device, ``torch.tensor`` straight onto it among them."""
    made = torch.tensor

    def tensor(values: Any, **options: Any) -> torch.Tensor:
        assert torch.device(options.get("device") or "cpu") != META, "a blocking copy from the host"
        return made(values, **options)

    monkeypatch.setattr(torch, "tensor", tensor)
    return Watch()


@pytest.fixture(params=["resident", "streamed"])
def placement(request, monkeypatch) -> str:
    """Whether a device has room for all frames, or takes them batch by batch."""
    monkeypatch.setattr(frames_module, "free_memory", lambda device: 10**12 if request.param == "resident" else 0)
    return request.param


@pytest.mark.parametrize(
    ("notebook", "architecture"),
    [("03_aux", ""), ("04_ccsa", ""), ("05_density", "ae"), ("05_density", "made"), ("05_density", "maf")],
)
def test_no_training_step_waits_for_the_device(notebook, architecture, placement, watch):
    model = model_of(notebook, architecture).to(META)
    optimizer = torch.optim.Adam(model.parameters())
    batches_of = batches(notebook, META, n_shards=2)
    with watch:
        drawn = list(batches_of(0))
        assert len(drawn) > 1
        for batch in drawn:
            assert batch.frames.device == batch.section.device == META
            terms = train_step(model, batch, objective(notebook), optimizer, META, torch.float32)
            assert {value.device for value in terms.values()} == {META}
            assert {value.shape for value in terms.values()} == {torch.Size([])}


@pytest.mark.parametrize("loss", ["adacos", "subspace"])
def test_no_step_of_the_angular_training_waits_for_the_device(loss, placement, watch):
    network = AngularNetwork(16, 20, ["frames", "statistics", "modulations"], 4, rho_f=5, rho_t=5, base_channels=2)
    model = AngularTraining(network, loss, 3, 2, with_features=True, with_statistics=True).to(META)
    optimizer, clips = torch.optim.Adam(model.parameters()), clips_on(META, n_shards=2)
    with watch:
        drawn = list(angular_batches(clips, 3, 20, 6, mixup=0.5, seed=0, epoch=0))
        assert len(drawn) == 2 and any(len(batch.statistics_exchanged) for batch in drawn)
        for batch in drawn:
            terms = train_step(model, batch, AngularTraining.terms, optimizer, META, torch.float32)
            assert {value.device for value in terms.values()} == {META}


@pytest.mark.parametrize("loss", [SubclusterAdaCos, SubspaceLoss])
def test_angles_are_computed_in_float32_whatever_the_autocast(loss):
    torch.manual_seed(0)
    centres, embedding = loss(42, 16, 128, trainable=False), torch.randn(8, 128)
    with torch.autocast("cpu", torch.bfloat16):
        found = centres.log_prob(embedding)
    assert torch.equal(found, centres.log_prob(embedding))


def test_a_step_that_reads_a_number_would_be_noticed(placement):
    def curious(model, batch):
        terms = objective("03_aux")(model, batch)
        return terms | {"accuracy": torch.tensor(float(terms["accuracy"]))}

    model = model_of("03_aux").to(META)
    batch = next(iter(batches("03_aux", META)(0)))
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        train_step(model, batch, curious, torch.optim.Adam(model.parameters()), META, torch.float32)


@pytest.mark.parametrize("kind", ["classifier", "density"])
def test_the_host_waits_once_for_all_scores(kind, placement, watch, monkeypatch):
    waits = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: waits.append(1) or torch.zeros(tensor.shape))
    detector = tiny_detector(kind)
    detector.model.to(META)
    clips = pd.DataFrame({"path": CLIPS, "section": [0, 0, 3, 3, 7, 7]})
    monkeypatch.setattr("asd.detection.scoring.FRAMES_AT_ONCE", 30)  # one clip at a time
    frames = clips_on(META).frames  # placing them may wait
    monkeypatch.setattr("asd.detection.scoring.Frames", lambda *_: frames)
    with watch:
        score_clips(detector, shard(), clips)
    assert len(waits) == 1


@pytest.mark.parametrize(("free", "place"), [(4, "cpu"), (4.01, "meta")])
def test_frames_take_at_most_a_quarter_of_the_free_memory(free, place, monkeypatch):
    size = 6 * 30 * 16 * 2  # bytes
    monkeypatch.setattr(frames_module, "free_memory", lambda device: free * size)
    assert clips_on(META).frames.mapped[0].device.type == place


def test_frames_lie_in_the_memory_of_a_device_that_has_room(placement):
    frames = clips_on(META, n_shards=2).frames
    assert frames.mapped[0].device == (META if placement == "resident" else torch.device("cpu"))
    assert frames.crop(torch.tensor([0, 7]), torch.tensor([3, 29]), 5).shape == (2, 5, 16)
    assert clips_on(torch.device("cpu")).frames.mapped[0].device == torch.device("cpu")


def test_frames_for_a_gpu_are_sent_from_page_locked_memory(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    assert page_locked(torch.zeros(1), torch.device("cuda")) == 1
    assert page_locked(torch.zeros(1), torch.device("cpu")) == 0


def test_bfloat16_is_chosen_where_that_gpu_computes_in_it_natively(monkeypatch):
    capabilities = {0: (7, 5), 1: (9, 0)}  # a T4 and an H100 in one machine
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities[device.index])
    assert find_precision("auto", torch.device("cuda:0")) == torch.float32
    assert find_precision("auto", torch.device("cuda:1")) == torch.bfloat16
    assert find_precision("auto", torch.device("cpu")) == torch.float32
    assert find_precision("float32", torch.device("cuda:1")) == torch.float32
    assert find_precision("bfloat16", torch.device("cpu")) == torch.bfloat16


def test_a_number_that_no_device_has_is_named():
    with pytest.raises(InputError, match="device: 'cuda:99999999999' is not available"):
        find_device("cuda:99999999999")


def test_products_of_float32_are_not_rounded_to_tf32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert find_device("auto").type == "cuda"
    assert torch.get_float32_matmul_precision() == "highest"


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
