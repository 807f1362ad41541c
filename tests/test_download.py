"""The download, against a local server that speaks Zenodo's API and misbehaves."""

import hashlib
import io
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections import defaultdict
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from filelock import FileLock

from asd.challenge.download import MACHINES, PARTS, download
from asd.challenge.zenodo import CHUNK
from asd.cli import main
from asd.data.clips import clips_table
from asd.errors import InputError

DEV, EVAL_TRAIN, EVAL_TEST, GROUND_TRUTH = (
    PARTS[part][0] for part in ("dev", "eval_train", "eval_test", "ground_truth")
)
CLIPS = {  # a part's clips, as the challenge names them
    "dev": [
        "train/section_00_source_train_normal_0000_strength_1_ambient.wav",
        "train/section_00_target_train_normal_0000.wav",
        "source_test/section_00_source_test_anomaly_0000.wav",
        "target_test/section_00_target_test_normal_0000.wav",
    ],
    "eval_train": ["train/section_03_source_train_normal_0000.wav"],
    "eval_test": ["source_test/section_03_source_test_0000.wav", "target_test/section_03_target_test_0000.wav"],
}
TRUTH = {
    f"ground_truth_{machine}_section_03_{domain}_test.csv": f"section_03_{domain}_test_0000.wav,{label}\n".encode()
    for machine in ("fan", "ToyCar")
    for domain, label in (("source", 1), ("target", 0))
}


@cache
def clip(name: str) -> bytes:
    """90 000 bytes, unique to this clip and incompressible, so that a part takes several network reads."""
    return random.Random(name).randbytes(90_000)


def zipped(content: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return packed.getvalue()


@cache
def part(name: str, machine: str, top: str = "{machine}/") -> bytes:
    return zipped({top.format(machine=machine) + path: clip(f"{name}/{machine}/{path}") for path in CLIPS[name]})


class Site:
    """The server: ``records[record][file name]`` is its content; it commits the ``faults[file name]`` in turn."""

    def __init__(self) -> None:
        self.records: dict[int, dict[str, bytes]] = {
            DEV: {f"dev_data_{m}.zip": part("dev", m) for m in ("fan", "ToyCar")},
            EVAL_TRAIN: {f"eval_data_{m}_train.zip": part("eval_train", m) for m in ("fan", "ToyCar")},
            EVAL_TEST: {f"eval_data_{m}_test.zip": part("eval_test", m) for m in ("fan", "ToyCar")},
            GROUND_TRUTH: {"ground_truth_data.zip": zipped(TRUTH)},
        }
        self.faults: dict[str, list] = defaultdict(list)
        self.claims: dict[str, dict] = {}  # false claims of the API about a file
        self.answers: dict[int, bytes] = {}  # responses in place of a record
        self.asked: list[tuple[str, str | None]] = []  # (file or record, Range) of each request
        self.sent: dict[str, int] = defaultdict(int)  # bytes of each file
        self.go_on = threading.Event()

    def files_asked(self) -> list[str]:
        return [name for name, _ in self.asked if not name.isdigit()]


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        record, *name = self.path.removeprefix("/api/records/").removesuffix("/content").split("/files/")
        key = name[0] if name else record
        self.site.asked.append((key, self.headers["Range"]))
        faults = self.site.faults[key]
        fault = (faults[0] if faults[0:1] == ["no ranges"] else faults.pop(0)) if faults else ""
        if isinstance(fault, tuple):
            status, headers = fault
            return self.answer(status, b"", headers)
        if callable(fault):
            status, headers = fault()
            if status != 200:
                faults.insert(0, fault)
                return self.answer(status, b"", headers)
        if int(record) not in self.site.records:
            return self.answer(404, b'{"status": 404}')
        if not name:
            return self.answer(200, self.site.answers.get(int(record)) or self.listing(int(record)))
        return self.send_file(key, self.site.records[int(record)].get(key), fault)

    def send_file(self, key: str, data: bytes | None, fault: str) -> None:
        if data is None:
            return self.answer(404, b"")
        start, headers, status = 0, {}, 200
        if self.headers["Range"] and fault != "no ranges":
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            status, headers = 206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        body = data[start:]
        if fault == "other content":
            body = bytes(len(body))
        stop = len(body) // 2 if fault in ("cut", "wait") else len(body)
        self.answer(status, body[:stop], headers, length=len(body))
        self.site.sent[key] += stop
        if fault == "wait":
            self.wfile.flush()
            self.site.go_on.wait(20)

    def listing(self, record: int) -> bytes:
        base = f"http://{self.headers['Host']}/api/records/{record}/files"
        files = [
            {
                "key": key,
                "size": len(data),
                "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
                "links": {"self": f"{base}/{key}/content"},
            }
            | self.site.claims.get(key, {})
            for key, data in self.site.records[record].items()
        ]
        return json.dumps({"id": record, "metadata": {"title": "…"}, "files": files}).encode()

    def answer(self, status: int, body: bytes, headers: dict | None = None, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("SiteHandler", (Handler,), {"site": site}))
    site.api = f"http://127.0.0.1:{server.server_port}/api/records"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.close = lambda: (site.go_on.set(), server.shutdown(), thread.join(), server.server_close())
    yield site
    site.close()


@pytest.fixture
def get(site, tmp_path):
    """Download into ``tmp_path / "data"``, by default the fan's development data, with immediate retries."""

    def get(machines=("fan",), parts=("dev",), **settings) -> list[str]:
        return download(tmp_path / "data", machines, parts, **({"api": site.api, "backoff": 0.001} | settings))

    return get


@pytest.fixture
def data(tmp_path) -> Path:
    return tmp_path / "data"


def tree(root: Path) -> dict[str, bytes]:
    """The files below a folder, except those of the download itself."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(p.relative_to(root)): p.read_bytes() for p in files if ".download" not in p.parts}


def expected(name: str, machine: str) -> dict[str, bytes]:
    folder = "dev_data" if name == "dev" else "eval_data"
    return {f"{folder}/{machine}/{path}": clip(f"{name}/{machine}/{path}") for path in CLIPS[name]}


def unfinished(root: Path) -> set[str]:
    """The files in .download, except the lock and the receipts."""
    kept = {str(path.relative_to(root / ".download")) for path in (root / ".download").rglob("*") if path.is_file()}
    return {path for path in kept if path != "lock" and not path.endswith(".json")}


# What it delivers


def test_all_parts_of_the_machine_types_arrive_in_the_layout(get, data):
    made = get(["fan", "ToyCar"], None)
    want = {}
    for machine in ("fan", "ToyCar"):
        for name in CLIPS:
            want |= expected(name, machine)
    assert tree(data) == want | {f"ground_truth/{name}": content for name, content in TRUTH.items()}
    assert len(made) == 7 and "eval_test_ToyCar" in made and "ground_truth" in made
    assert unfinished(data) == set()


def test_the_clips_table_reads_what_was_downloaded(get, data):
    get(["fan", "ToyCar"], None)
    clips = clips_table(data)
    assert clips.groupby("machine_type").size().to_dict() == {"fan": 7, "ToyCar": 7}
    evaluation = clips[(clips["section"] == 3) & (clips["split"] == "test")]
    assert evaluation.set_index(["machine_type", "domain"])["label"].to_dict() == {
        (machine, domain): label for machine in ("fan", "ToyCar") for domain, label in (("source", 1), ("target", 0))
    }


@pytest.mark.parametrize("top", ["", "{machine}/", "dev_data/{machine}/", "./raw\\{machine}\\"])
def test_top_level_folders_in_the_zip_file_make_no_difference(site, get, data, top):
    junk = {"__MACOSX/fan/train/._section_00.wav": b"x", "fan/.DS_Store": b"x", "readme.txt": b"x", "fan/train/": b""}
    files = {top.format(machine="fan") + path: clip(f"dev/fan/{path}") for path in CLIPS["dev"]}
    site.records[DEV]["dev_data_fan.zip"] = zipped(files | junk)
    get()
    assert tree(data) == expected("dev", "fan")


@pytest.mark.parametrize(
    "files",
    [
        TRUTH,
        {"truth.zip": zipped(TRUTH)},
        {"truth.zip": zipped({f"a/b/{name}": text for name, text in TRUTH.items()} | {"a/readme.md": b"x"})},
        {f"{name[:-4]}.zip": zipped({name: text}) for name, text in TRUTH.items()},
        {"truth.zip": zipped({f"deep/{name}.zip": zipped({f"x/{name}": text}) for name, text in TRUTH.items()})},
        {"readme.md": b"x", "a.zip": zipped({}), **TRUTH},
    ],
    ids=["loose", "zip", "folders", "zip each", "zips in a zip", "loose beside an empty zip"],
)
def test_the_ground_truth_ends_up_in_one_folder_however_it_is_packed(site, get, data, files):
    site.records[GROUND_TRUTH] = files
    get(parts=["ground_truth"])
    assert tree(data) == {f"ground_truth/{name}": content for name, content in TRUTH.items()}


def test_a_second_call_does_nothing_and_needs_no_network(site, get, data):
    assert get(["fan", "ToyCar"], None)
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    site.close()
    assert get(["fan", "ToyCar"], None) == []
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_each_record_is_queried_once_and_only_what_is_missing_is_fetched(site, get, data):
    get(["fan"], ["dev"])
    site.asked.clear()
    assert get(["fan", "ToyCar"], ["dev"]) == ["dev_ToyCar"]
    assert sorted(site.asked) == [(str(DEV), None), ("dev_data_ToyCar.zip", None)]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 0)], ids=["lost", "emptied"])
def test_a_clip_that_was_lost_later_is_restored_and_other_files_stay(site, get, data, damage):
    get(["fan", "ToyCar"])
    own = data / "dev_data/fan/train/my_notes.txt"
    own.write_text("mine")
    damage(data / "dev_data/fan" / CLIPS["dev"][0])
    assert get(["fan", "ToyCar"]) == ["dev_fan"]
    assert tree(data) == expected("dev", "fan") | expected("dev", "ToyCar") | {str(own.relative_to(data)): b"mine"}


# Network failures


def test_a_download_resumes_after_three_interruptions(site, get, data):
    site.faults["dev_data_fan.zip"] = ["cut"] * 3
    get()
    assert tree(data) == expected("dev", "fan")
    size = len(site.records[DEV]["dev_data_fan.zip"])
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) if r else 0 for n, r in site.asked if not n.isdigit()]
    assert starts[0] == 0 and starts == sorted(starts) and len(starts) == 4
    assert size <= site.sent["dev_data_fan.zip"] < size + 3 * CHUNK


def test_any_number_of_interruptions_is_survived_as_long_as_bytes_arrive(site, get, data):
    site.faults["dev_data_fan.zip"] = ["cut"] * 10
    get()
    assert tree(data) == expected("dev", "fan")


def test_a_server_without_ranges_sends_everything_again(site, get, data):
    site.faults["dev_data_fan.zip"] = ["cut", "no ranges"]
    get()
    assert tree(data) == expected("dev", "fan")
    assert site.asked[-1][1] is not None and len(site.files_asked()) == 2


@pytest.mark.parametrize("fault", [(500, {}), (503, {"Retry-After": "soon"}), (429, {})])
@pytest.mark.parametrize("what", ["dev_data_fan.zip", str(DEV)])
def test_transient_errors_are_retried(site, get, data, what, fault):
    site.faults[what] = [fault] * 3
    get()
    assert tree(data) == expected("dev", "fan")


def test_after_too_many_requests_it_waits_as_long_as_the_server_asks(site, get, data):
    first = []

    def busy_for_a_second():
        first.append(time.monotonic())
        return (200, {}) if time.monotonic() - first[0] > 0.95 else (429, {"Retry-After": "1"})

    site.faults["dev_data_fan.zip"] = [busy_for_a_second]
    get()  # six doublings of 0.001 s would have run out long before
    assert tree(data) == expected("dev", "fan")
    assert len(first) == 2


def test_a_permanent_error_is_reported_and_what_was_received_is_kept(site, get, data):
    site.faults["dev_data_fan.zip"] = ["cut"] + [(500, {})] * 20
    with pytest.raises(InputError, match=r"dev_data_fan\.zip: HTTP 500.* bytes are kept") as raised:
        get()
    assert tree(data) == {}
    received = (data / ".download/dev_fan/packed/dev_data_fan.zip").stat().st_size
    assert received > 100_000 and f"{received:,} bytes are kept" in str(raised.value)
    site.faults.clear()
    site.asked.clear()
    get()
    assert site.asked[-1] == ("dev_data_fan.zip", f"bytes={received}-")
    assert tree(data) == expected("dev", "fan")


def test_a_missing_file_does_not_stop_the_others(site, get, data):
    site.faults["dev_data_fan.zip"] = [(404, {})]
    with pytest.raises(InputError, match=r"dev_data_fan\.zip: HTTP 404") as raised:
        get(["fan", "ToyCar"])
    assert "ToyCar" not in str(raised.value)
    assert site.files_asked().count("dev_data_fan.zip") == 1  # asking again is pointless
    assert tree(data) == expected("dev", "ToyCar")
    assert get(["fan", "ToyCar"]) == ["dev_fan"]


def test_a_machine_that_is_not_in_the_record_is_reported_with_what_is(site, get, data):
    with pytest.raises(InputError, match=r"dev_pump: .*4562016 has no file .*dev_data_ToyCar\.zip"):
        get(["pump", "fan"])
    assert tree(data) == expected("dev", "fan")


@pytest.mark.parametrize("difference", [-1000, 1000], ids=["shorter", "longer"])
def test_a_wrong_length_is_reported_before_anything_is_overwritten(site, get, data, difference):
    size = len(site.records[DEV]["dev_data_fan.zip"])
    packed = data / ".download/dev_fan/packed/dev_data_fan.zip"
    packed.parent.mkdir(parents=True)
    packed.write_bytes(b"received earlier")
    site.claims["dev_data_fan.zip"] = {"size": size + difference}
    site.faults["dev_data_fan.zip"] = ["no ranges"]
    with pytest.raises(InputError, match=rf"dev_data_fan\.zip: .* {size:,} bytes.*expected {size + difference:,}"):
        get()
    assert packed.read_bytes() == b"received earlier"
    assert tree(data) == {}


def test_a_wrong_checksum_is_reported_and_the_file_is_discarded(site, get, data):
    site.faults["dev_data_fan.zip"] = ["other content"] * 2
    right = hashlib.md5(site.records[DEV]["dev_data_fan.zip"]).hexdigest()
    with pytest.raises(InputError, match=rf"dev_data_fan\.zip: .*checksum md5:\w+, the record says md5:{right}"):
        get()
    assert tree(data) == {} and unfinished(data) == set()
    get()
    assert tree(data) == expected("dev", "fan")


@pytest.mark.parametrize("length", [1000, 10**7], ids=["too little", "too much"])
def test_rubbish_from_an_earlier_attempt_is_detected_and_replaced(get, data, length):
    packed = data / ".download/dev_fan/packed/dev_data_fan.zip"
    packed.parent.mkdir(parents=True)
    packed.write_bytes(bytes(length))
    get()
    assert tree(data) == expected("dev", "fan")


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>Please log in to this network</html>",
        b"[]",
        b'{"files": [{"key": "dev_data_fan.zip"}]}',
        b'{"files": [{"key": "../dev_data_fan.zip", "size": 1, "checksum": "md5:0", "links": {"self": "http://x"}}]}',
        b'{"files": [{"key": "dev_data_fan.zip", "size": 1, "checksum": "0", "links": {"self": "http://x"}}]}',
    ],
    ids=["no JSON", "no record", "no sizes", "path as a name", "no kind of checksum"],
)
def test_a_response_that_is_not_a_record_is_reported(site, get, data, answer):
    site.answers[DEV] = answer
    with pytest.raises(InputError, match=f"/api/records/{DEV}: .*(not JSON|expected|but a path)"):
        get()
    assert site.files_asked() == []


def test_a_missing_record_and_a_missing_connection_are_reported(site, get):
    del site.records[DEV]
    with pytest.raises(InputError, match="HTTP 404"):
        get()
    site.close()
    with pytest.raises(InputError, match="no connection"):
        get()


# Untrusted zip files


@pytest.mark.parametrize(
    "name",
    ["../train/x.wav", "/train/x.wav", "fan/../../train/x.wav", "..\\train\\x.wav", "C:\\train\\x.wav", "C:x.wav"],
)
@pytest.mark.parametrize("inner", [False, True], ids=["", "in a zip in the zip"])
def test_paths_outside_are_refused_by_name(site, get, data, tmp_path, name, inner):
    evil = zipped({"fan/train/section_00_source_train_normal_0000.wav": b"good", name: b"evil"})
    site.records[DEV]["dev_data_fan.zip"] = zipped({"inner.zip": evil}) if inner else evil
    with pytest.raises(InputError) as raised:
        get(["fan", "ToyCar"])
    assert "dev_data_fan.zip" in str(raised.value) and repr(name) in str(raised.value)
    assert tree(data) == expected("dev", "ToyCar")
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO], ids=["link", "pipe"])
def test_links_and_special_files_are_refused_by_name(site, get, data, kind):
    link = zipfile.ZipInfo("fan/train/section_00_source_train_normal_0000.wav")
    link.external_attr = (kind | 0o777) << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    site.records[DEV]["dev_data_fan.zip"] = packed.getvalue()
    with pytest.raises(InputError, match=r"dev_data_fan\.zip: .*normal_0000\.wav.*link"):
        get()
    assert tree(data) == {}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (zipped({"fan/test/section_00_source_test_normal_0000.wav": b""}), "in none of the folders train, source_test"),
        (zipped({"a/train/x.wav": b"1", "b/train/x.wav": b"2"}), "second file for dev_data/fan/train/x.wav"),
        (zipped({"readme.txt": b""}), "nothing for dev_data/fan"),
        (b"no zip file at all", "not a readable zip file"),
        (part("dev", "fan").replace(clip(f"dev/fan/{CLIPS['dev'][0]}")[:5000], bytes(5000)), "not a readable zip file"),
    ],
    ids=["other folder", "twice", "nothing", "no zip", "damaged"],
)
def test_a_zip_file_with_unexpected_contents_is_reported(site, get, data, content, complaint):
    site.records[DEV]["dev_data_fan.zip"] = content
    with pytest.raises(InputError, match=complaint) as raised:
        get()
    assert "fan" in str(raised.value)
    assert tree(data) == {}
    assert not (data / ".download/dev_fan/unpacked").exists()


# Full disks and killed processes


def test_too_small_a_disk_is_reported_before_any_file_is_requested(site, get, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(InputError, match=r"the download needs 0\.00\d GB of free space, found 0\.000 GB"):
        get()
    assert site.files_asked() == []


def test_what_has_been_received_already_needs_no_space(site, get, data, monkeypatch):
    whole = site.records[DEV]["dev_data_fan.zip"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, 2 * len(whole)))
    with pytest.raises(InputError, match="free space"):
        get()
    packed = data / ".download/dev_fan/packed/dev_data_fan.zip"
    packed.parent.mkdir(parents=True)
    packed.write_bytes(whole[: len(whole) * 2 // 3])
    get()
    assert tree(data) == expected("dev", "fan")


def test_the_size_of_a_zip_file_s_contents_is_checked_before_unpacking(site, get, data, monkeypatch):
    site.records[DEV]["dev_data_fan.zip"] = zipped({"fan/train/section_00_source_train_normal_0000.wav": bytes(10**7)})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, 10**6))
    with pytest.raises(InputError, match=r"dev_data_fan\.zip needs 0\.010 GB of free space"):
        get()
    assert tree(data) == {}
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    site.asked.clear()
    get()
    assert site.files_asked() == []  # the zip file was kept


RUN = """
import resource, signal, sys, zipfile, os
from asd.challenge.download import download
from asd.errors import InputError
directory, api, prepare = sys.argv[1:]
exec(prepare)
try:
    download(directory, ["fan"], ["dev"], api=api, backoff=0.001)
except InputError as error:
    sys.exit(str(error))
"""


def start(site: Site, data: Path, prepare: str = "") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(data), site.api, prepare],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_disk_that_fills_up_midway_is_reported_and_what_was_received_is_kept(site, get, data):
    # no file may exceed 200 000 bytes, so the write fails as on a full disk
    process = start(site, data, "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))")
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == 1
    assert complaint.startswith("dev_fan: ") and "File too large" in complaint and "Traceback" not in complaint
    assert (data / ".download/dev_fan/packed/dev_data_fan.zip").stat().st_size > 0
    get()
    assert tree(data) == expected("dev", "fan")
    assert site.sent["dev_data_fan.zip"] < 2 * len(site.records[DEV]["dev_data_fan.zip"])


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_after_a_kill_the_next_run_resumes(site, get, data, signal_number):
    site.faults["dev_data_fan.zip"] = ["wait"]
    packed = data / ".download/dev_fan/packed/dev_data_fan.zip"
    process = start(site, data)
    deadline = time.monotonic() + 15
    while not (packed.exists() and packed.stat().st_size > 100_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal_number)
    if signal_number == signal.SIGINT:
        site.go_on.set()
    process.communicate(timeout=15)
    assert process.returncode != 0
    received = packed.stat().st_size
    assert received > 100_000 and tree(data) == {}
    assert get() == ["dev_fan"]
    assert site.asked[-1] == ("dev_data_fan.zip", f"bytes={received}-")
    assert tree(data) == expected("dev", "fan") and unfinished(data) == set()


@pytest.mark.parametrize(
    "moment", ["zipfile.ZipFile, 'open'", "os, 'replace'", "os, 'rename'"], ids=["unpacking", "recording", "moving"]
)
def test_after_a_kill_while_unpacking_no_file_is_downloaded_again(site, get, data, moment):
    prepare = f"setattr({moment}, lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))"
    process = start(site, data, prepare)
    process.communicate(timeout=15)
    assert process.returncode == -signal.SIGKILL
    site.asked.clear()
    assert get() == ["dev_fan"]
    assert site.files_asked() == []
    assert tree(data) == expected("dev", "fan") and unfinished(data) == set()


def test_of_two_downloads_at_once_the_second_one_says_so(get, data):
    get(["fan"])
    with FileLock(data / ".download/lock"):
        with pytest.raises(InputError, match="another download is running"):
            get(["ToyCar"])
        assert get(["fan"]) == []  # nothing to do, so the lock does not matter


# Arguments


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"machines": ["fann"]}, "machines: .*fann.*allowed: fan, gearbox"),
        ({"parts": ["eval"]}, "parts: .*allowed: dev, eval"),
    ],
)
def test_unknown_machine_types_and_parts_are_reported(site, get, given, complaint):
    with pytest.raises(InputError, match=complaint):
        get(**given)
    assert site.asked == []


def test_all_seven_machine_types_by_default(site, get):
    site.records[DEV] = {f"dev_data_{machine}.zip": part("dev", machine) for machine in MACHINES}
    assert get(None, ["dev"]) == [f"dev_{machine}" for machine in MACHINES]


def test_a_directory_that_is_a_file_is_reported(get, data):
    data.write_text("")
    with pytest.raises(InputError, match=str(data)):
        get()


# On the command line


def escape(site: Site) -> None:
    site.records[DEV]["dev_data_fan.zip"] = zipped({"../../outside.wav": b"x"})


def other_content(site: Site) -> None:
    site.faults["dev_data_fan.zip"] = ["other content"] * 2


@pytest.fixture
def command(site, data, monkeypatch):
    """``asd download`` of the fan's development data from the site."""
    monkeypatch.setattr("asd.challenge.download.download", partial(download, api=site.api, backoff=0.001))
    return lambda: CliRunner().invoke(main, ["download", str(data), "--machines", "fan", "--parts", "dev"])


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (lambda site: site.records.pop(DEV), f"{DEV}"),
        (lambda site: site.answers.update({DEV: b"<html>"}), f"{DEV}"),
        (lambda site: site.records[DEV].pop("dev_data_fan.zip"), "has no file dev_data_fan"),
        (other_content, "dev_data_fan.zip"),
        (escape, "outside.wav"),
        (lambda site: site.close(), "127.0.0.1"),
    ],
    ids=["no record", "no JSON", "no such file", "checksum", "path outside", "no server"],
)
def test_the_command_ends_with_a_message_never_with_a_traceback(site, data, command, fault, complaint):
    fault(site)
    result = command()
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.exception
    assert "Error: " in result.output and complaint in result.output
    assert tree(data) == {} and not list(data.parent.rglob("outside*"))


def test_the_command_survives_broken_connections_and_reports_what_it_did(site, data, command):
    site.faults["dev_data_fan.zip"] = ["cut", "cut"]
    result = command()
    assert result.exit_code == 0 and f"{data}: dev_fan delivered" in result.output
    assert tree(data) == expected("dev", "fan")
    assert "all of it is there" in command().output
