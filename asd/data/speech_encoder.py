"""The encoder that can be had without a download: a small network for speech, in the package ``pyopen-wakeword``."""

import ctypes
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asd.data.encoder_files import INSTALL, PIECE, SAMPLE_RATE, digest_of, package
from asd.errors import InputError


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
