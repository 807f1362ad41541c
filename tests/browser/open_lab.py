"""The notebooks in a real JupyterLab, opened and run in a real browser; see chromium.py.

A server is started on copies of the committed notebooks, which are trusted as `make lab` does, with a small data set
and its own folder of outputs. It takes several minutes and is no part of CI.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from asd.demo.dataset import make

pytest_plugins = ["chromium"]

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("0*.ipynb"))
COUNTS = {"train_source": 8, "train_target": 2, "test": 4}

OPEN = """
const w = await app.commands.execute('docmanager:open', {path: '%s', factory: 'Notebook'});
await w.context.ready; await w.sessionContext.ready;
const kernel = () => w.sessionContext.session?.kernel;
for (let i = 0; i < 600 && kernel()?.status !== 'idle'; i++) await sleep(200);
const dialog = () => document.querySelector('.jp-Dialog')?.textContent;
const state = () => `kernel ${kernel()?.status}, dialog: ${dialog() ?? 'none'}`;
if (kernel()?.status !== 'idle') throw Error(`opened, but not ready: ${state()}`);
"""
SEEN = """
for (let i = 0; i < w.content.widgets.length; i++) { await w.content.scrollToItem(i); await sleep(30); }
await sleep(500);
const all = [...w.node.querySelectorAll('audio')];
const loaded = a => a.readyState > 0 || new Promise(done => { a.onloadedmetadata = a.onerror = done; a.load(); });
await Promise.all(all.map(loaded));
const edge = w.content.node.getBoundingClientRect().right;
const parts = [...w.node.querySelectorAll('.jp-OutputArea-output, .jp-OutputArea-output img, .jp-RenderedMarkdown')];
const wide = parts.filter(e => e.getBoundingClientRect().right > edge || e.scrollWidth > e.clientWidth + 1);
await w.content.scrollToItem(0);
return {seconds: all.map(a => a.duration), dirty: w.context.model.dirty,
        wide: wide.filter(e => e.tagName === 'IMG' || getComputedStyle(e).overflowX !== 'auto')
                  .map(e => e.className + ': ' + e.textContent.slice(0, 80))};
"""
RUN_ALL = """
w.content.activeCellIndex = 0; app.shell.activateById(w.id);
await app.commands.execute('notebook:run-all-cells');
for (let i = 0; i < 50 && kernel().status !== 'idle'; i++) await sleep(200);
"""
OUTPUTS = """
return w.content.model.sharedModel.cells.filter(c => c.cell_type === 'code').map(c => c.toJSON());
"""


class Lab:
    """A page with JupyterLab, in which notebooks are opened by their file's name."""

    def __init__(self, browser, address: str, folder: Path):
        self.browser, self.folder = browser, folder
        browser.resize(1280)
        browser.open(f"{address}/lab")
        self.run("", "await app.restored")

    def run(self, notebook: str, script: str):
        """The value of JavaScript that knows the notebook's widget as ``w``."""
        prefix = """
        const sleep = milliseconds => new Promise(next => setTimeout(next, milliseconds));
        for (let i = 0; i < 600 && !window.jupyterapp; i++) await sleep(200);
        const app = window.jupyterapp;
        """
        return self.browser.run(prefix + (OPEN % notebook if notebook else "") + script)

    def close(self, notebook: str) -> None:
        """Shut the kernel down and close the notebook without saving it."""
        self.run(notebook, "await w.sessionContext.shutdown(); w.context.model.dirty = false; w.close();")

    def run_all(self, notebook: str) -> list[dict]:
        """Run all cells, and return the code cells as they would be saved."""
        start = time.monotonic()
        cells = self.run(notebook, RUN_ALL + OUTPUTS)
        print(f"{notebook}: {time.monotonic() - start:.0f} s")
        return cells


def texts(cells: list[dict]) -> str:
    """What the cells print, without pictures."""
    parts = []
    for output in (output for cell in cells for output in cell["outputs"]):
        parts.append("".join(output.get("text", "")))
        parts.append("".join(output.get("data", {}).get("text/plain", "")))
    return "\n".join(parts)


def errors(cells: list[dict]) -> list[str]:
    found = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    return [f"{output['ename']}: {output['evalue']}" for output in found]


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(PROJECT / "notebooks", folder / "notebooks")
    data = make(folder / "data", machine_types=["fan", "valve"], duration=1.0, **COUNTS)
    environment = os.environ | {"ASD_DATA_ROOT": str(data), "ASD_OUTPUT_ROOT": str(folder / "outputs")}
    environment |= {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("DATA", "CONFIG", "RUNTIME")}
    environment |= {"PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    jupyter = Path(sys.executable).with_name("jupyter")
    copies = sorted(map(str, (folder / "notebooks").glob("0*.ipynb")))
    subprocess.run([jupyter, "trust", *copies], env=environment, check=True, stdout=subprocess.DEVNULL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token=", "--LabApp.news_url="]
    options += ["--expose-app-in-browser", f"--ServerApp.root_dir={folder / 'notebooks'}"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([jupyter, "lab", *options], env=environment, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(120):
                try:
                    requests.get(f"{address}/api", timeout=10)
                    break
                except requests.ConnectionError:
                    assert server.poll() is None, (folder / "log").read_text()
                    time.sleep(1)
            yield Lab(browser, address, folder)
        finally:
            server.terminate()
            server.wait(timeout=60)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_an_opened_notebook_plays_fits_and_stays_saved(lab, path):
    seen = lab.run(path.name, SEEN)
    lab.browser.screenshot(f"lab-{path.stem}")
    lab.close(path.name)
    players = path.read_text().count("<audio")
    assert len(seen["seconds"]) == players
    assert all(seconds and 0.5 < seconds < 60 for seconds in seen["seconds"])
    assert seen["wide"] == []
    assert not seen["dirty"], "it counts as changed as soon as it is opened"


@pytest.mark.parametrize("name", ["01_exploration", "02_features"])
def test_a_notebook_runs_from_top_to_bottom(lab, name):
    cells = lab.run_all(f"{name}.ipynb")
    lab.browser.screenshot(f"lab-{name}-run")
    lab.close(f"{name}.ipynb")
    assert errors(cells) == []
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


def test_an_interrupted_training_is_resumed_by_run_all(lab):
    interrupted = """
    w.content.activeCellIndex = 0; app.shell.activateById(w.id);
    const finished = app.commands.execute('notebook:run-all-cells');
    const text = () => JSON.stringify(w.content.model.sharedModel.cells.map(c => c.toJSON().outputs || []));
    for (let i = 0; i < 1200 && !/epoch [2-9] of/.test(text()); i++) await sleep(100);
    if (!/epoch [2-9] of/.test(text())) throw Error(`no second epoch in two minutes: ${state()}`);
    await kernel().interrupt();
    await finished;
    await sleep(2000);  // as a reader would: ipykernel 7.2 overlooks requests while it still refuses the queued ones
    """
    cells = lab.run("03_aux.ipynb", interrupted + OUTPUTS)
    assert errors(cells)[0].startswith("KeyboardInterrupt")
    assert "Started run" in texts(cells)
    progress = """
    const lines = new Set(), all = () => JSON.stringify(w.content.model.sharedModel.cells.map(c => c.toJSON().outputs));
    const look = setInterval(() => (all().match(/resuming at epoch [0-9]+/g) || []).forEach(l => lines.add(l)), 50);
    """
    stop = "clearInterval(look); return [[...lines], w.content.model.sharedModel.cells.map(c => c.toJSON())];"
    lines, cells = lab.run("03_aux.ipynb", progress + RUN_ALL + stop)
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    lab.browser.screenshot("lab-03_aux-run")
    assert errors(cells) == []
    assert len(lines) == 1 and int(lines[0].split()[-1]) > 1
    epochs = 32
    assert f"epoch {epochs} of {epochs}" in texts(cells), "the progress line stops before the end"
    found = lab.run_all("03_aux.ipynb")
    lab.close("03_aux.ipynb")
    assert errors(found) == [] and "Found the finished run" in texts(found)


def test_a_misspelt_parameter_is_told(lab):
    misspelt = """
    const cell = w.content.widgets.find(c => c.model.sharedModel.getSource().startsWith('# Parameters'));
    const source = cell.model.sharedModel.getSource();
    cell.model.sharedModel.setSource(source.replace('machine_type:', 'machine_typ:'));
    """
    cells = lab.run("03_aux.ipynb", misspelt + RUN_ALL + OUTPUTS)
    lab.browser.screenshot("lab-misspelt")
    lab.close("03_aux.ipynb")
    told = json.dumps(errors(cells))
    assert "machine_typ: there is no such parameter; did you mean machine_type?" in told
    assert [cell["execution_count"] for cell in cells][2:] != list(range(3, len(cells) + 1)), "it went on nevertheless"
