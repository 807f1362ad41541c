"""Encoders that lie in a folder or a checkpoint: models of ``transformers``, and bundles of ``torchaudio``.

What is missing, an error names, with where to get it and where to put it. Nothing is downloaded, and no code from a
folder or a checkpoint is run.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten

import torch
from torch import Tensor

from asd.data.encoder_files import PIECE, SAMPLE_RATE, digest_of, package
from asd.errors import InputError
from asd.weights import NOT_OURS

LEAST_HOP = 1280  # samples; faster frames are averaged: every 20 ms, 768 numbers would take twice a recording's disk
LONGEST_REASON = 300  # characters of another package's message
UNREADABLE: tuple[type[Exception], ...] = (*NOT_OURS, UnpicklingError)  # the last is raised where there is code
AST = "audio-spectrogram-transformer"  # as its configuration names it


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


class Averaged(ABC):
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

    @abstractmethod
    def network_frames(self, waveform: Tensor) -> Tensor:
        """A waveform (samples,) in ±1 → frames of the network, (N, width)."""

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
        except UNREADABLE as error:
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
