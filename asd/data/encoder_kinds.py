"""The three kinds of pretrained encoders: how their weights are found and checked, and how a waveform becomes frames.

What is missing, an error names, with where to get it and where to put it. Code from a folder or a checkpoint is never
run. :mod:`asd.data.encoders` makes front ends of them.
"""

import ctypes
import hashlib
import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from asd.errors import InputError
from asd.weights import NOT_OURS

SAMPLE_RATE = 16000  # Hz, of all encoders
PIECE = 10  # s, roughly: what a network with attention sees at once
LEAST_HOP = (
    1280  # samples; frames that follow each other faster are averaged, as the store would hold ten times log-mels
)
INSTALL = "pip install --constraint constraints.txt --editable '.[pretrained]'"
LONGEST_REASON = 300  # characters of another package's message
AST = "audio-spectrogram-transformer"  # as its configuration names it


class Encoder(Protocol):
    """A pretrained network.

    Attributes:
        window, hop_length: samples that a frame spans, and from one frame to the next.
        width: number of numbers in a frame.
        longest: number of frames that are computed together at most.
        digest: sixteen hexadecimal digits that identify the weights.
        source: what to fetch, and where to put it.
    """

    window: int
    hop_length: int
    width: int
    longest: int
    digest: str
    source: str

    def encode(self, waveform: Tensor) -> Tensor:
        """A waveform in ±1 that exactly n ≤ ``longest`` frames span → these frames, (n, width)."""


def package(name: str, install: str, encoder: str) -> Any:
    """A module of the extra, imported.

    Raises:
        InputError: the package is missing, or does not work on this machine.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise InputError(
            f"the encoder {encoder} needs the package {install}, which cannot be imported ({error}); in the project's"
            f" folder, install it with: {INSTALL}"
        ) from error


def digest_of(paths: Sequence[Path]) -> str:
    """Sixteen hexadecimal digits that change with the names or the contents of the files."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def convolved(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Window and hop of unpadded convolutions on top of each other, in samples: 1 + Σ (k_i − 1) Π_{j<i} s_j, and Π s_i.

    Those of wav2vec 2.0 (Baevski et al., NeurIPS 2020), which are also HuBERT's and WavLM's, at 16 kHz 25 and 20 ms:

    >>> convolved((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
    (400, 320)
    """
    window, hop = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        window, hop = window + (kernel - 1) * hop, hop * stride
    return window, hop


class SpeechEncoder:
    """The speech embedding of openWakeWord: 96 numbers every 80 ms, from 782 ms each.

    The network is Lin et al., *Training keyword spotters with limited and synthesized speech data*, ICASSP 2020
    (Google's ``speech_embedding``, Apache 2.0): convolutions over 76 frames of a log-mel spectrum with 32 bands from 60
    to 3800 Hz, 10 ms apart. It was trained on speech, and machines have more to say than that band holds. The package
    ``pyopen-wakeword`` brings its weights, and TensorFlow Lite to run them.

    Both networks are convolutional, so each runs once over a whole piece, and frames come out 8 spectra apart: the same
    numbers as window by window, ten times as fast.
    """

    window, hop_length, width = 512 + 75 * 160, 8 * 160, 96  # a spectrum takes 512 samples, 160 apart
    longest = SAMPLE_RATE * PIECE // hop_length
    source = f"It is the one of the package pyopen-wakeword 1.1.0; in the project's folder: {INSTALL}"

    def __init__(self) -> None:
        self.package = package("pyopen_wakeword", "pyopen-wakeword", "speech")
        self.networks = threading.local()  # they keep a state, so each thread has its own
        models = Path(self.package.__file__).parent / "models"
        try:
            self.digest = digest_of([models / "melspectrogram.tflite", models / "embedding_model.tflite"])
            _ = self.lite  # loaded now, so that what is wrong is reported here
        except (OSError, ValueError) as error:
            raise InputError(f"the encoder speech cannot be loaded ({error}). {self.source}") from error

    @property
    def lite(self) -> Any:
        """The two networks of this thread."""
        if not hasattr(self.networks, "lite"):
            self.networks.lite = self.package.OpenWakeWordFeatures.from_builtin()
        return self.networks.lite

    def encode(self, waveform: Tensor) -> Tensor:
        """A waveform (samples,) in ±1 → frames (n, 96)."""
        lite, samples = self.lite, (waveform * 32768).numpy()  # it expects the size of 16-bit numbers
        spectra = run_lite(lite.lib, lite.mel_interpreter, samples[None])  # (1, 1, spectra, 32), in dB
        scaled = spectra[0, 0, None, :, :, None] / 10 + 2
        return torch.from_numpy(run_lite(lite.lib, lite.emb_interpreter, scaled)).reshape(-1, self.width)


def run_lite(library: Any, interpreter: int, values: np.ndarray) -> np.ndarray:
    """Run a TensorFlow Lite network, resized to its one input.

    Args:
        library: TensorFlow Lite's C interface, as ctypes loads it.
        interpreter: of the network.
        values: the input, float32.

    Returns:
        The one output.
    """
    values = np.ascontiguousarray(values, np.float32)
    shape = (ctypes.c_int32 * values.ndim)(*values.shape)
    status = library.TfLiteInterpreterResizeInputTensor(interpreter, 0, shape, ctypes.c_int32(values.ndim))
    status = status or library.TfLiteInterpreterAllocateTensors(interpreter)
    given, size = library.TfLiteInterpreterGetInputTensor(interpreter, 0), ctypes.c_size_t(values.nbytes)
    status = status or library.TfLiteTensorCopyFromBuffer(given, values.ctypes.data_as(ctypes.c_void_p), size)
    status = status or library.TfLiteInterpreterInvoke(interpreter)
    found = library.TfLiteInterpreterGetOutputTensor(interpreter, 0)
    lengths = [library.TfLiteTensorDim(found, i) for i in range(library.TfLiteTensorNumDims(found))]
    result = np.empty(lengths, np.float32)
    size = ctypes.c_size_t(result.nbytes)
    status = status or library.TfLiteTensorCopyToBuffer(found, result.ctypes.data_as(ctypes.c_void_p), size)
    if status:
        raise RuntimeError(f"TensorFlow Lite refused an input of shape {values.shape} (status {status})")
    return result


class Averaged:
    """A network whose frames may follow each other so fast that several are averaged.

    Args:
        window, hop: samples that a frame of the network spans, and from one to the next.
        most: number of the network's frames that are computed together at most.
    """

    def __init__(self, window: int, hop: int, most: int):
        self.own = window, hop
        self.averaged = max(1, round(LEAST_HOP / hop))
        self.window, self.hop_length = window + (self.averaged - 1) * hop, self.averaged * hop
        self.longest = most // self.averaged

    def average(self, frames: Tensor) -> Tensor:
        """The network's frames (N, width) → (N // averaged, width)."""
        n_frames = len(frames) // self.averaged
        return frames[: n_frames * self.averaged].unflatten(0, (n_frames, self.averaged)).mean(dim=1)

    def encode(self, waveform: Tensor) -> Tensor:
        """A waveform (samples,) in ±1 → frames (n, width)."""
        return self.average(self.network_frames(waveform)).float()

    def network_frames(self, waveform: Tensor) -> Tensor:
        """A waveform (samples,) in ±1 → frames of the network, (N, width)."""
        raise NotImplementedError

    def find_width(self, name: str) -> None:
        """Run the network on half a second of silence, to see that it gives as many frames as it should.

        Raises:
            InputError: it does not.
        """
        n_frames = max(1, (SAMPLE_RATE // 2 - self.window) // self.hop_length + 1)
        with torch.no_grad():
            frames = self.encode(torch.zeros((n_frames - 1) * self.hop_length + self.window))
        if len(frames) != n_frames:
            raise InputError(f"the encoder {name} makes {len(frames)} frames where {n_frames} are expected")
        self.width = frames.shape[1]


class TransformersEncoder(Averaged):
    """A model folder that ``transformers`` loads, as ``save_pretrained`` writes it; its last hidden state.

    * **AST** (Gong et al., *AST: audio spectrogram transformer*, Interspeech 2021) sees patches of a log-mel spectrum,
      and gives one vector for each. Those of the same time are averaged over frequency. What it pads a piece with is
      left out.
    * **Networks of raw waveforms**, such as wav2vec 2.0, HuBERT, WavLM and data2vec, give a vector every 20 ms; four
      are averaged.

    Args:
        folder: with ``config.json``, ``preprocessor_config.json`` and the weights.

    Raises:
        InputError: no such folder, files are missing, the model is of another kind, or the package is missing.
    """

    def __init__(self, folder: Path):
        name = f"transformers:{folder}"
        self.source = (
            f"Fetch a model where there is internet, such as: hf download MIT/ast-finetuned-audioset-10-10-0.4593"
            f" --local-dir {folder}; it must hold config.json, preprocessor_config.json and model.safetensors"
        )
        if not (folder / "config.json").is_file():
            raise InputError(f"the encoder {name} is missing: there is no {folder / 'config.json'}. {self.source}")
        transformers = package("transformers", "transformers", name)
        try:
            self.extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
            self.model, loading = transformers.AutoModel.from_pretrained(
                folder, local_files_only=True, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            reason = shorten(str(error), LONGEST_REASON)
            raise InputError(f"the encoder {name} cannot be loaded ({reason}). {self.source}") from error
        absent = [key for key in loading["missing_keys"] if "masked_spec_embed" not in key]  # for training alone
        if absent:  # transformers would draw them at random
            raise InputError(f"the encoder {name} lacks the weights {', '.join(sorted(absent)[:3])}. {self.source}")
        self.model.eval()
        super().__init__(*self.form(name))
        if self.extractor.sampling_rate != SAMPLE_RATE:
            raise InputError(f"the encoder {name} takes {self.extractor.sampling_rate} Hz; allowed: {SAMPLE_RATE} Hz")
        kept = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".bin"))
        self.digest = digest_of(kept)
        self.find_width(name)

    def form(self, name: str) -> tuple[int, int, int]:
        """Window and hop of the network's frames in samples, and how many it gives at most."""
        config = self.model.config
        if config.model_type == AST:
            self.n_times = (config.max_length - config.patch_size) // config.time_stride + 1
            return (config.patch_size - 1) * 160 + 400, config.time_stride * 160, self.n_times  # Kaldi's 25 and 10 ms
        if not hasattr(config, "conv_stride"):
            raise InputError(
                f"the encoder {name} is a model of the type {config.model_type!r}; allowed: {AST!r}, and models that"
                " begin with convolutions of the waveform, such as 'wav2vec2', 'hubert', 'wavlm' and 'data2vec-audio'"
            )
        window, hop = convolved(config.conv_kernel, config.conv_stride)
        return window, hop, SAMPLE_RATE * PIECE // hop

    def network_frames(self, waveform: Tensor) -> Tensor:
        """A waveform (samples,) in ±1 → frames of the network, (N, width)."""
        inputs = self.extractor(waveform.numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        hidden = self.model(inputs["input_values"]).last_hidden_state[0]
        if self.model.config.model_type != AST:
            return hidden
        patches = hidden[2:]  # the first two stand for the whole
        window, hop = self.own
        n_frames = (len(waveform) - window) // hop + 1  # without padding
        return patches.unflatten(0, (-1, self.n_times)).mean(dim=0)[:n_frames]


class TorchaudioEncoder(Averaged):
    """A bundle of ``torchaudio.pipelines`` with a local checkpoint; the features of its last layer.

    A vector every 20 ms, of which four are averaged.

    Args:
        place: ``<bundle>:<checkpoint>``, such as ``WAV2VEC2_BASE:/models/wav2vec2_fairseq_base_ls960.pth``.

    Raises:
        InputError: no such bundle or file, or the file holds other weights.
    """

    def __init__(self, place: str):
        name, (bundle_name, _, path) = f"torchaudio:{place}", place.partition(":")
        pipelines, checkpoint = importlib.import_module("torchaudio.pipelines"), Path(path)
        bundles = {key: value for key, value in vars(pipelines).items() if isinstance(value, pipelines.Wav2Vec2Bundle)}
        if bundle_name not in bundles:
            raise InputError(f"the encoder {name}: there is no bundle {bundle_name}; allowed: {', '.join(bundles)}")
        bundle = bundles[bundle_name]
        self.source = (
            "Fetch https://download.pytorch.org/torchaudio/models/"
            f"{bundle._path.removeprefix('https://download.pytorch.org/torchaudio/models/')} where there is internet,"
            f" and save it as {checkpoint}"
        )
        if not checkpoint.is_file():  # or torchaudio would download it
            raise InputError(f"the encoder {name} is missing: there is no file {checkpoint}. {self.source}")
        local = {"model_dir": str(checkpoint.parent), "file_name": checkpoint.name, "weights_only": True}
        try:
            self.model = bundle.get_model(dl_kwargs=local).eval()
        except (*NOT_OURS, UnpicklingError) as error:  # the latter is raised where there is code in it
            reason = shorten(str(error), LONGEST_REASON)
            raise InputError(f"the encoder {name} cannot be loaded ({reason}). {self.source}") from error
        layers = getattr(self.model, "model", self.model).feature_extractor.conv_layers
        window, hop = convolved([layer.kernel_size for layer in layers], [layer.stride for layer in layers])
        super().__init__(window, hop, SAMPLE_RATE * PIECE // hop)
        self.digest = digest_of([checkpoint])
        self.find_width(name)

    def network_frames(self, waveform: Tensor) -> Tensor:
        """A waveform (samples,) in ±1 → frames of the network, (N, width)."""
        return self.model.extract_features(waveform[None])[0][-1][0]
