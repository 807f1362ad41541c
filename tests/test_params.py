"""The parameters of all notebooks: their defaults, and the files in params/, merged as papermill merges them."""

import ast
import json
from pathlib import Path

import pytest
import yaml

import asd.notebook.parameters
from asd.demo.dataset import MACHINE_TYPES
from asd.errors import InputError
from asd.notebook.cells import MARK, assignments, published_parameters, settings_name, validated
from asd.notebook.groups import Parameters
from asd.notebook.parameters import ARCHITECTURES, DensityParameters

PROJECT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {path.stem: path for path in sorted((PROJECT / "notebooks").glob("*.ipynb"))}
FILES = sorted((PROJECT / "params").glob("*/*.yaml"))
# Parameters that say the same thing and yet differ by default, as the methods do
DIFFERENT = {"proxy_outliers", "snippet_length", "snippet_hop_size", "batch_size"}  # a window is not a clip
DIFFERENT |= {"base_channels"}  # of 07_angular, which has other branches beside such a network
DIFFERENT |= {"learning_rate", "rampdown_start", "rampdown_length", "max_epochs"}  # 04_ccsa continues a training
DIFFERENT |= {"proxy_outlier_lambda", "margin"}  # of a ranking loss in 05_density, of other losses in 03 and 04


def cells(notebook: str) -> list[str]:
    content = json.loads(NOTEBOOKS[notebook].read_text())
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


def parameter_cell(notebook: str) -> str:
    return next(source for source in cells(notebook) if source.startswith(MARK))


def model_of(notebook: str) -> type[Parameters]:
    """The model that the notebook's own validation cell names."""
    for source in cells(notebook):
        for node in ast.walk(ast.parse(source)) if "validated(" in source else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "validated":
                return getattr(asd.notebook.parameters, node.args[0].id)
    raise AssertionError(f"{notebook} validates nothing")


def merged(folder: str, notebook: str, architecture: str, machine_type: str) -> dict:
    """The notebook's defaults updated by the files of a folder, the more specific file later."""
    values = assignments(parameter_cell(notebook)) | {"machine_type": machine_type}
    if architecture:
        values["architecture"] = architecture
    for name in names(notebook, architecture, machine_type):
        if (path := PROJECT / "params" / folder / f"{name}.yaml").is_file():
            values |= yaml.safe_load(path.read_text())
    return values


def names(notebook: str, architecture: str, machine_type: str) -> list[str]:
    starts = [notebook, f"{notebook}.{architecture}"] if architecture else [notebook]
    return [name for start in starts for name in (start, f"{start}.{machine_type}")]


def combinations() -> list[tuple[str, str, str]]:
    return [
        (notebook, architecture, machine_type)
        for notebook in NOTEBOOKS
        for architecture in (ARCHITECTURES if "architecture" in model_of(notebook).model_fields else ("",))
        for machine_type in MACHINE_TYPES
    ]


def trained() -> list[str]:
    return [notebook for notebook in NOTEBOOKS if "max_epochs" in model_of(notebook).model_fields]


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_defaults_are_valid_complete_and_annotated(notebook: str):
    source, model = parameter_cell(notebook), model_of(notebook)
    assert set(assignments(source)) == set(model.model_fields)
    assert validated(model, assignments(source)).machine_type == "fan"
    lines = [line for line in source.splitlines() if line and not line.startswith("#")]
    assert all(":" in line.split("=")[0] and "  # " in line for line in lines)


def test_parameters_that_notebooks_share_have_equal_defaults_and_types():
    seen: dict[str, tuple[str, object]] = {}
    for notebook in NOTEBOOKS:
        for name, value in assignments(parameter_cell(notebook)).items():
            other, default = seen.setdefault(name, (notebook, value))
            assert name in DIFFERENT or value == default, f"{name} differs in {notebook} and {other}"


@pytest.mark.parametrize("folder", sorted({path.parent.name for path in FILES}))
@pytest.mark.parametrize(("notebook", "architecture", "machine_type"), combinations())
def test_every_combination_of_files_is_valid(folder: str, notebook: str, architecture: str, machine_type: str):
    validated(model_of(notebook), merged(folder, notebook, architecture, machine_type))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_used_and_sets_only_what_differs(path: Path):
    used = [c for c in combinations() if path.stem in names(*c)]
    assert used, "belongs to no notebook, architecture and machine type"
    own = yaml.safe_load(path.read_text())
    assert own and not set(own) & {"machine_type", "data_root", "output_root", "device", "run_name", "seed"}
    for notebook, architecture, machine_type in used:
        values = assignments(parameter_cell(notebook))
        for name in names(notebook, architecture, machine_type):
            if name == path.stem:
                break
            if (general := path.with_name(f"{name}.yaml")).is_file():
                values |= yaml.safe_load(general.read_text())
        assert not [name for name, value in own.items() if values[name] == value]


@pytest.mark.parametrize("notebook", trained())
def test_settings_are_named_after_their_origin(notebook: str):
    source, model = parameter_cell(notebook), model_of(notebook)
    namespace = {"In": ["", source]}

    def name(values: dict) -> str:
        return settings_name(validated(model, values), notebook, namespace)

    own = assignments(source)
    assert name(own) == name(own | {"machine_type": "pump", "seed": 3, "run_name": "again"}) == "demo"
    assert name(own | {"weight_decay": 0.5}) == "custom"
    for _, architecture, machine_type in (c for c in combinations() if c[0] == notebook):
        assert name(merged("dcase2021", notebook, architecture, machine_type)) == "dcase2021"
        if architecture:
            assert name(own | {"architecture": architecture.upper()}) == "demo"


def test_the_notebooks_find_the_same_files():
    for notebook, architecture, machine_type in combinations():
        values = assignments(parameter_cell(notebook)) | {"machine_type": machine_type}
        parameters = validated(model_of(notebook), values | ({"architecture": architecture} if architecture else {}))
        expected = merged("dcase2021", notebook, architecture, machine_type)
        assert parameters.model_dump() | published_parameters(notebook, parameters) == expected


@pytest.mark.parametrize(("architecture", "only_sections"), [
    ("ae", {"gearbox", "ToyTrain", "ToyCar"}),
    ("made", {"gearbox", "ToyTrain", "ToyCar"}),
    ("maf", {"gearbox", "ToyTrain"}),
])  # fmt: skip
def test_proxy_outliers_of_the_densities_are_those_of_the_reference(architecture: str, only_sections: set[str]):
    for machine_type in MACHINE_TYPES:
        expected = "other_sections" if machine_type in only_sections else "other_sections_and_machines"
        assert merged("dcase2021", "05_density", architecture, machine_type)["proxy_outliers"] == expected


def test_full_settings_are_those_of_the_reference():
    ramp = {"learning_rate": 1e-4, "min_learning_rate": 1e-5, "rampdown_start": 30, "rampdown_length": 60}
    common = ramp | {"weight_decay": 1e-5, "max_epochs": 100}
    density = {"batch_size": 512, "margin": 0.5, "proxy_outlier_lambda": 1.0, "consistent_with_librosa": True}
    density |= {"hidden_size": None, "hidden_dims": None, "snippet_length": 0.192, "snippet_hop_size": 0.032}
    aux = {"batch_size": 16, "base_channels": 128, "rho_f": 12, "rho_t": 12, "snippet_length": 10.0}
    aux |= {"proxy_outlier_lambda": 0.5, "consistent_with_librosa": False, "normalize": "batchnorm"}
    for machine_type in MACHINE_TYPES:
        assert (common | density).items() <= merged("dcase2021", "05_density", "maf", machine_type).items()
        found = merged("dcase2021", "03_aux", "", machine_type)
        assert (common | aux).items() <= found.items()
        assert found["proxy_outliers"] == ("none" if machine_type in ("pump", "slider") else "other_machines")


def density(**changes: object) -> DensityParameters:
    return validated(DensityParameters, assignments(parameter_cell("05_density")) | changes)


@pytest.mark.parametrize("name", ["AE", "Made", "maf"])
def test_the_architecture_may_be_written_in_any_case(name: str):
    parameters = density(architecture=name)
    assert parameters.architecture == name.lower()
    assert parameters.training == density(architecture=name.lower()).training


@pytest.mark.parametrize(("changes", "message"), [
    ({"architecture": "VAE"}, r"architecture: 'VAE' .*'AE', 'MADE' and 'MAF'"),
    ({"architecture": "AE", "n_gaussians": 2}, "n_gaussians 2: only MADE and MAF have mixtures"),
    ({"n_gaussians": 0}, "n_gaussians: 0"),
    ({"proxy_outliers": "other_machines"}, "proxy_outliers: 'other_machines' .*'other_sections_and_machines'"),
    ({"margin": -0.5}, "margin: -0.5"),
    ({"margin": float("nan")}, "margin: nan"),
    ({"hidden_dims": 0}, "hidden_dims: 0"),
    ({"snippet_length": None}, "snippet_length: None"),
    ({"learning_rate": "1e-4"}, "learning_rate: '1e-4'"),
])  # fmt: skip
def test_impossible_densities_are_refused_by_name(changes: dict, message: str):
    with pytest.raises(InputError, match=message):
        density(**changes)


def test_empty_sizes_are_the_architectures_defaults():
    empty = {"hidden_size": None, "hidden_dims": None}
    assert density(architecture="ae", **empty).sizes == {}
    assert density(architecture="made", **empty, n_gaussians=3).sizes == {"n_gaussians": 3}
    sizes = density(architecture="maf", hidden_size=64, hidden_dims=1).sizes
    assert sizes == {"hidden_size": 64, "hidden_dims": 1, "n_gaussians": 1}
