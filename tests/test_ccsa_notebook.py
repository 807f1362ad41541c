"""04_ccsa: which runs it may start from, what it inherits from them, and the terms of its loss."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from conftest import PROJECT, tiny_detector

from asd.data.frames import LabelledFrames
from asd.errors import InputError
from asd.evaluation.score_table import table_path, write_table
from asd.notebook.cells import assignments, validated
from asd.notebook.groups import FittingParameters, TrainingParameters
from asd.notebook.inputs import feature_settings, find_clips
from asd.notebook.parameters import CcsaParameters
from asd.tracking.mlflow_store import Store
from asd.tracking.pretrained import find_pretrained
from asd.training.adaptation import adaptation_clips, adaptation_terms, embeddings, gradient_norms, pair_distances
from asd.training.batches import SectionBatch
from asd.training.ccsa import ccsa
from asd.training.data import TrainingData, training_data
from asd.training.losses import classification, uniform_cross_entropy

FINGERPRINT = "0123456789abcdef"


def score_table(run_id: str, method: str = "aux") -> pd.DataFrame:
    row = {"machine_type": "fan", "section": 0, "domain": "source", "split": "train", "label": 0, "clip": "a.wav"}
    row |= {"score": 1.5, "method": method, "run_name": method, "run_id": run_id, "seed": 0, "held_out": False}
    return pd.DataFrame([row])


class Runs:
    """A separate store with made-up runs."""

    def __init__(self, root: Path):
        self.root, self.store = root, Store(root)

    def add(self, files: bool = True, **tags: str) -> str:
        """Make up a finished 03_aux run of fan; the given tags replace its own, None removes one."""
        usual = {"method": "aux", "machine_type": "fan", "debug": "False", "complete": "true"}
        usual |= {"data": json.dumps({"fan": FINGERPRINT, "valve": "of the proxy outliers"})}
        tags = {name: value for name, value in (usual | tags).items() if value is not None}
        run_id = self.store.create_run("aux fan", {"validation_fraction": 0.25}, tags)
        if files:
            folder = self.root / "made up"
            folder.mkdir(exist_ok=True)
            tiny_detector("classifier").save(folder / "detector.pt")
            write_table(score_table(run_id), folder / "scores.csv")
            self.store.client.log_artifacts(run_id, str(folder))
        return run_id

    def publish(self, table: pd.DataFrame) -> None:
        path = table_path(self.root, "fan", "aux")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(table, path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Runs(tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="module")
def finished(runs: Runs) -> str:
    return runs.add()


def defaults() -> dict:
    cells = json.loads((PROJECT / "notebooks" / "04_ccsa.ipynb").read_text())["cells"]
    (parameters,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return assignments("".join(parameters["source"]))


def test_a_named_run_is_loaded_with_everything_that_it_was_trained_with(runs: Runs, finished: str):
    parent = find_pretrained(runs.root, "fan", finished)
    assert parent.run_id == finished
    assert parent.validation_fraction == 0.25
    assert parent.detector.sections == [0, 3, 7]
    assert parent.scores["run_id"].tolist() == [finished]


def test_without_a_name_it_is_the_run_that_wrote_the_aux_scores_not_the_latest(runs: Runs, finished: str):
    runs.publish(score_table(finished))
    runs.add()
    assert find_pretrained(runs.root, "fan").run_id == finished


def test_without_a_name_and_a_score_table_the_message_says_what_to_run(tmp_path: Path):
    with pytest.raises(InputError, match=r"run_id: is empty, and there is no .*aux\.csv .*run 03_aux first"):
        find_pretrained(tmp_path, "fan")
    assert not list(tmp_path.iterdir())


def test_a_score_table_of_another_method_or_of_several_runs_names_no_run(runs: Runs, finished: str):
    for table in (score_table(finished, "ae"), pd.concat([score_table(finished), score_table("f" * 32)])):
        runs.publish(table)
        with pytest.raises(InputError, match="allowed: one run of 'aux'"):
            find_pretrained(runs.root, "fan")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"complete": None}, "is unfinished"),
        ({"debug": "True"}, "is a debug run"),
        ({"machine_type": "valve"}, "machine_type 'valve'; allowed: 'fan'"),
        ({"method": "maf"}, "method 'maf'; allowed: 'aux'"),
        ({"method": "ccsa"}, "method 'ccsa'; allowed: 'aux'"),
        ({"method": None}, "method None; allowed: 'aux'"),
    ],
    ids=["unfinished", "debug", "other machine type", "other method", "fine-tuned already", "not ours"],
)
def test_a_run_that_is_not_a_suitable_classifier_is_refused(runs: Runs, tags: dict, message: str):
    run_id = runs.add(files=False, **tags)
    with pytest.raises(InputError, match=f"run_id: the run {run_id} .*{message}"):
        find_pretrained(runs.root, "fan", run_id)


def test_an_unknown_and_a_deleted_run_are_refused(runs: Runs):
    deleted = runs.add(files=False)
    runs.store.client.delete_run(deleted)
    for run_id in ("0" * 32, deleted):
        with pytest.raises(InputError, match=f"run_id: there is no run {run_id}"):
            find_pretrained(runs.root, "fan", run_id)


def test_a_run_whose_files_are_gone_is_refused(runs: Runs):
    run_id = runs.add(files=False)
    with pytest.raises(InputError, match=rf"{run_id}: its file detector\.pt is not in the store"):
        find_pretrained(runs.root, "fan", run_id)


def test_clips_other_than_those_trained_on_are_refused(runs: Runs, finished: str):
    parent = find_pretrained(runs.root, "fan", finished)
    parent.check_clips(SimpleNamespace(fingerprint={"fan": FINGERPRINT, "valve": "others than then"}))
    with pytest.raises(InputError, match="trained on other fan clips"):
        parent.check_clips(SimpleNamespace(fingerprint={"fan": "f" * 16}))


@pytest.mark.parametrize(("n_frames", "hop", "rate"), [(20, 10, 16000), (311, 311, 16000), (5, 1, 44100)])
def test_snippets_are_those_of_the_classifier_to_the_frame(
    runs: Runs, finished: str, n_frames: int, hop: int, rate: int
):
    parent = find_pretrained(runs.root, "fan", finished)
    features = type(parent.detector.features)(sample_rate=rate, n_mels=16)
    parent.detector.n_frames, parent.detector.hop, parent.detector.features = n_frames, hop, features
    p = CcsaParameters(**defaults() | {"batch_size": 3})
    whole = parent.completed(p)
    inherited_features = feature_settings(whole)
    assert inherited_features == features
    assert (inherited_features.frames(whole.snippet_length), inherited_features.hops(whole.snippet_hop_size)) == (
        n_frames,
        hop,
    )
    assert (whole.sections, whole.validation_fraction, whole.batch_size) == ([0, 3, 7], 0.25, 3)


def test_the_notebook_has_no_parameter_of_its_own_for_what_the_classifier_decides():
    decided = set(TrainingParameters.model_fields) - set(FittingParameters.model_fields)
    assert {"n_mels", "sections", "validation_fraction", "snippet_length"} <= decided
    assert set(CcsaParameters.model_fields) == set(defaults())
    assert not decided & set(defaults())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"run_id": "latest"}, "run_id: 'latest' is not allowed: allowed: the 32 hexadecimal digits"),
        ({"da_task": "mmd"}, "da_task: 'mmd' is not allowed: input should be 'ccsa' or 'none'"),
        ({"margin": -1.0}, "margin: -1.0 is not allowed"),
        ({"target_clips": "both"}, "target_clips: 'both' is not allowed"),
        ({"n_mels": 64}, "n_mels: there is no such parameter"),
        ({"learning_rate": 1e-6}, "min_learning_rate 1e-05 is larger than learning_rate 1e-06"),
    ],
)
def test_a_wrong_parameter_is_named(given: dict, message: str):
    with pytest.raises(InputError, match=message):
        validated(
            CcsaParameters, defaults() | given | {"In": ["# Parameters\nn_mels = 64"] if "n_mels" in given else []}
        )


@pytest.fixture(scope="module")
def fan(two_machines: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    p = TrainingParameters(
        **{name: value for name, value in defaults().items() if name in FittingParameters.model_fields}
        | {"data_root": str(two_machines), "output_root": str(tmp_path_factory.mktemp("features"))},
        sections=[1, 4], validation_fraction=0.2, snippet_length=None, snippet_hop_size=None, reduction="mean",
        normalize_waveform=False, sample_rate=16000, n_fft=1024, hop_length=512, n_mels=16,
        consistent_with_librosa=False,
    )  # fmt: skip
    return training_data(p, find_clips(p), torch.device("cpu"), other_machines=False)


def test_the_control_takes_as_many_source_clips_of_each_section_and_no_held_out_one(fan: TrainingData):
    target, control = (adaptation_clips(fan, kind, 0) for kind in ("target", "source"))
    assert control.section.tolist() == target.section.tolist() == [0, 0, 1, 1]
    first = {tuple(clip.flatten().tolist()) for clip in whole(control)}
    assert len(first) == 4
    assert first <= {tuple(clip.flatten().tolist()) for clip in whole(fan.source)}
    assert not first & {tuple(clip.flatten().tolist()) for clip in whole(fan.held_out)}
    others = [adaptation_clips(fan, "source", seed) for seed in range(1, 6)]
    assert any({tuple(clip.flatten().tolist()) for clip in whole(other)} != first for other in others)


def whole(clips: LabelledFrames) -> torch.Tensor:
    rows = torch.arange(len(clips))
    return clips.frames.crop(rows, torch.zeros_like(rows), clips.frames.shortest())


def test_without_target_train_clips_there_is_no_adaptation(fan: TrainingData):
    train_target = (fan.clips["split"] == "train") & (fan.clips["domain"] == "target")
    kept = fan.clips[~train_target]
    poor = type(fan)(**vars(fan) | {"clips": kept, "is_held_out": fan.is_held_out[kept.index], "target": None})
    for kind in ("target", "source"):
        with pytest.raises(InputError, match="fan has no target train clips"):
            adaptation_clips(poor, kind, 0)


def batch() -> SectionBatch:
    generator = torch.Generator().manual_seed(0)
    section = torch.eye(3)[torch.tensor([0, 1, 2, 0, 1, 1])]
    return SectionBatch(torch.randn(8, 20, 16, generator=generator), section, n_source=3)


def test_terms_equal_those_computed_by_hand_from_the_batch():
    model, drawn = tiny_detector("classifier").model, batch()
    terms, embedding = adaptation_terms(model, drawn, margin=50.0)
    logits, section = model(drawn.frames), drawn.section.argmax(1)
    semantic, contrastive = ccsa(embedding[:3], embedding[3:6], section[:3], section[3:], 50.0)
    expected = {
        "source": classification(logits[:3], section[:3]).mean(),
        "target": classification(logits[3:6], section[3:]).mean(),
        "semantic": semantic,
        "contrastive": contrastive,
        "outliers": uniform_cross_entropy(logits[6:]).mean(),
    }
    assert contrastive > 0
    torch.testing.assert_close(terms, expected)


def test_terms_are_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        terms, embedding = adaptation_terms(tiny_detector("classifier").model, batch(), margin=2.0)
    assert embedding.dtype == torch.bfloat16
    assert {term.dtype for term in terms.values()} == {torch.float32}
    exact = embedding.double()
    d = (exact[:3, None] - exact[None, 3:6]).square().flatten(2).mean(2)
    same = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 0]])
    assert terms["semantic"].item() == pytest.approx((d * same).mean().item(), rel=1e-5)


def test_gradient_norms_are_taken_at_the_embedding():
    embedding = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    norms = gradient_norms({"a": embedding.square().sum(), "b": 0 * embedding.sum()}, embedding)
    torch.testing.assert_close(norms, {"gradient_a": 2 * embedding.detach().norm(), "gradient_b": torch.zeros(())})


def test_distances_are_root_mean_squares_over_the_whole_embedding(fan: TrainingData):
    model = tiny_detector("classifier").model
    table = pair_distances(model, fan.source, fan.target, n_frames=20)
    (a, of_a), (b, of_b) = (embeddings(model, domain, 20, pooled=False) for domain in (fan.source, fan.target))
    expected = [((x - y) ** 2).mean().sqrt().item() for x in a for y in b]
    assert table["distance"].tolist() == pytest.approx(expected, rel=1e-4)
    same = [bool(s == t) for s in of_a for t in of_b]
    assert (table["pair"] == "same section").tolist() == same
