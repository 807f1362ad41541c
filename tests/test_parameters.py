"""A mistake in a parameter ends the notebook at once, with a message that names it and says what is allowed."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from conftest import PROJECT
from papermill.translators import PythonTranslator
from test_params import parameter_cell

from asd.errors import InputError
from asd.notebook.cells import assignments, command, display_path, settings_name, validated
from asd.notebook.parameters import AuxParameters, DensityParameters

NOTEBOOK = PROJECT / "notebooks" / "03_aux.ipynb"
CELL = parameter_cell("03_aux")


def session(*cells: str) -> dict:
    """The variables of a notebook in which these cells were executed one after the other."""
    namespace: dict = {"In": [""]}
    for cell in cells:
        namespace["In"].append(cell)
        exec(cell, namespace)
    return namespace


def injected(**parameters) -> str:
    """The cell that papermill writes."""
    return PythonTranslator.codify(parameters)


def test_the_defaults_are_valid_and_called_demo():
    namespace = session(CELL)
    p = validated(AuxParameters, namespace)
    assert p.machine_type == "fan"
    assert settings_name(p, "03_aux", namespace) == "demo"
    assert command("03_aux", p, namespace) == "papermill notebooks/03_aux.ipynb out.ipynb -p machine_type fan"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"epochs": 3},
            r"epochs: there is no such parameter; did you mean max_epochs\?\n  allowed: machine_type, .*max_epochs",
        ),
        ({"debug": "maybe"}, r"debug: 'maybe' is not allowed: .*True and False"),
        ({"debug": "false"}, r"debug: 'false' is not allowed: .*True and False"),
        ({"debug": 1}, r"debug: 1 is not allowed"),
        ({"proxy_outlier_lambda": -0.5}, r"proxy_outlier_lambda: -0.5 is not allowed: .*greater than or equal to 0"),
        ({"proxy_outlier_lambda": float("nan")}, r"proxy_outlier_lambda: nan is not allowed"),
        ({"proxy_outliers": "other_sections"}, r"proxy_outliers: .* 'none' or 'other_machines'"),
        ({"max_epochs": 2.5}, r"max_epochs: 2.5 is not allowed: .*integer"),
        ({"max_epochs": True}, r"max_epochs: True is not allowed"),
        ({"batch_size": 0}, r"batch_size: 0 is not allowed: .*1"),
        ({"min_learning_rate": 0.1}, r"min_learning_rate 0.1 is larger than learning_rate 0.001"),
        ({"hop_length": 2048}, r"hop_length 2048 leaves gaps between windows of n_fft 1024"),
        ({"sections": [0, 0]}, r"sections: \[0, 0\] is not allowed: a section is listed twice"),
        ({"sections": "0"}, r"sections: '0' is not allowed: .*list"),
        ({"device": "gpu"}, r"device: 'gpu' is not allowed: .*'auto', 'cpu', 'cuda'"),
        ({"run_name": "../aux"}, r"run_name: '../aux' is not allowed"),
        ({"machine_type": ""}, r"machine_type: '' is not allowed"),
        ({"snippet_length": 0.0}, r"snippet_length: 0.0 is not allowed: .*greater than 0"),
        ({"validation_fraction": 1.0}, r"validation_fraction: 1.0 is not allowed: .*less than 1"),
    ],
)
def test_a_mistake_is_reported_with_what_is_allowed(given, message):
    with pytest.raises(InputError, match=message):
        validated(AuxParameters, session(CELL, injected(**given)))


def test_batches_that_a_batchnorm_cannot_train_on_are_refused():
    cell = parameter_cell("05_density")
    with pytest.raises(InputError, match=r"batch_size 2: .*BatchNorm"):
        validated(DensityParameters, session(cell, injected(architecture="AE", batch_size=2)))
    assert validated(DensityParameters, session(cell, injected(architecture="MADE", batch_size=2))).batch_size == 2


def test_a_machine_type_that_looks_like_a_number_stays_a_text_in_the_command():
    namespace = session(CELL, injected(machine_type="6205"))
    assert "-r machine_type 6205" in command("03_aux", validated(AuxParameters, namespace), namespace)


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(InputError) as error:
        validated(AuxParameters, session(CELL, injected(epochs=3, debug="x", batch_size=0)))
    lines = [line for line in str(error.value).splitlines() if not line.startswith("  allowed")]
    assert sorted(line.split(":")[0] for line in lines) == ["batch_size", "debug", "epochs"]


def test_a_whole_number_is_a_valid_rate():
    assert validated(AuxParameters, session(CELL, injected(learning_rate=1))).learning_rate == 1.0


def test_later_variables_of_a_notebook_do_not_matter_when_the_cell_is_run_again():
    later = "model = history = epoch = 3\nscores = None\ndevice = seed = object()"
    assert validated(AuxParameters, session(CELL, later)).device == "auto"


def test_a_value_that_is_computed_in_the_parameter_cell_counts():
    assert validated(AuxParameters, session(CELL.replace("seed: int = 0", "seed: int = 3 + 4"))).seed == 7


def test_a_misspelt_name_in_the_notebooks_own_cell_is_found_and_forgotten_once_corrected():
    misspelt = CELL + "\nmax_epoch: int = 3"
    with pytest.raises(InputError) as caught:
        validated(AuxParameters, session(misspelt))
    first, *_, last = str(caught.value).splitlines()
    assert first == "max_epoch: there is no such parameter; did you mean max_epochs?"
    assert last.startswith("  allowed: machine_type, data_root")
    assert validated(AuxParameters, session(misspelt, CELL)).max_epochs > 3


def test_only_the_latest_parameter_cells_count():
    namespace = session(CELL, injected(old=1), "x = 1", CELL, injected(seed=3), "y = 2")
    assert validated(AuxParameters, namespace).seed == 3


def test_other_values_are_custom_settings_and_appear_in_the_command():
    namespace = session(CELL, injected(machine_type="valve", max_epochs=3, sections=[1, 0], data_root="/a b", seed=2))
    p = validated(AuxParameters, namespace)
    assert settings_name(p, "03_aux", namespace) == "custom"
    words = shlex.split(command("03_aux", p, namespace))
    assert words[3:6] == ["-p", "machine_type", "valve"]
    assert words[words.index("-r") : words.index("-r") + 3] == ["-r", "data_root", "/a b"]
    assert json.loads(words[words.index("-y") + 1]) == {"sections": [0, 1]}


def test_paths_are_displayed_where_nobody_knows_of_a_home_folder(monkeypatch):
    def unknown(user: int):
        raise KeyError(user)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert display_path(Path("/somewhere/else")) == "/somewhere/else"


def test_another_seed_or_output_root_is_still_the_demo():
    namespace = session(CELL, injected(seed=2, output_root="/somewhere", run_name="aux-2", machine_type="pump"))
    assert settings_name(validated(AuxParameters, namespace), "03_aux", namespace) == "demo"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"no_such_thing": 3}, "no_such_thing: there is no such parameter"),
        ({"debug": "maybe"}, "debug: 'maybe' is not allowed"),
        ({"proxy_outlier_lambda": -1.0}, "proxy_outlier_lambda: -1.0 is not allowed"),
        ({"machine_type": "toaster"}, "machine_type: 'toaster' is unknown; allowed here: ['fan', 'valve']"),
    ],
)
def test_a_mistake_stops_papermill_at_once(two_machines, tmp_path, given, message):
    parameters = {"data_root": str(two_machines), "output_root": str(tmp_path / "outputs")} | given
    with pytest.raises(papermill.PapermillExecutionError, match=re.escape(message)) as error:
        papermill.execute_notebook(NOTEBOOK, tmp_path / "out.ipynb", parameters, progress_bar=False)
    assert error.value.ename == "InputError"
    assert not (tmp_path / "outputs" / "mlflow.db").exists()


def test_validation_comes_before_anything_heavy_is_imported():
    """So that a mistake costs a second, not ten."""
    code = "import asd.notebook.cells, sys; print({'torch', 'mlflow', 'pandas'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


@pytest.mark.parametrize("path", sorted((PROJECT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_parameter_has_a_type_and_an_explanation(path):
    from papermill.inspection import _infer_parameters

    notebook = papermill.iorw.load_notebook_node(str(path))
    source = next(c.source for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    parameters = _infer_parameters(notebook)
    assert [parameter.name for parameter in parameters] == list(assignments(source))
    assert {"machine_type", "data_root", "output_root"} <= {p.name for p in parameters}
    for parameter in parameters:
        assert parameter.inferred_type_name not in ("None", ""), parameter.name
        assert len(parameter.help) > 5, parameter.name


def test_parameters_that_notebooks_share_have_equal_defaults():
    defaults: dict = {}
    # where fine-tuning or another kind of model differs on purpose; the notebooks say why
    own = {"learning_rate", "min_learning_rate", "rampdown_start", "rampdown_length", "max_epochs", "batch_size"}
    own |= {"proxy_outliers", "proxy_outlier_lambda", "snippet_length", "snippet_hop_size", "consistent_with_librosa"}
    own |= {"base_channels"}
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, 4).cells
        source = next(c.source for c in cells if "parameters" in c.metadata.get("tags", []))
        namespace: dict = {}
        exec(source, namespace)
        for name, value in namespace.items():
            if not name.startswith("__") and name not in own | {"margin"}:
                assert defaults.setdefault(name, value) == value, f"{name} in {path.name}"
