"""Create what notebooks that run in parallel share: the store of runs, and the embedded data set if it is used.

librosa's compiled functions are a third thing: it compiles them when they are imported and called for the first time
after an installation, which takes ten seconds and more. Making the data set leaves much of two cores idle, so all three
are done side by side.
"""

import importlib
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress

import numpy as np

from asd.demo.dataset import make
from asd.errors import InputError
from asd.paths import default_data_root, default_output_root


def create_store() -> None:
    """Create the store of runs, unless it exists."""
    from asd.tracking.mlflow_store import Store  # imports MLflow and torch, for which the data set need not wait

    Store(default_output_root())


def compile_librosa() -> None:
    """Have librosa compile the functions that 02_features calls, unless it has."""
    with suppress(ImportError):  # an extra: whoever needs it will say so
        librosa = importlib.import_module("librosa")
        librosa.feature.melspectrogram(y=np.zeros(4096, np.float32), n_fft=1024, center=False)


def main() -> None:
    """Do all of it, or stop with the reason."""
    print(f"{time.strftime('%H:%M:%S')}  preparing the store of runs and the data", file=sys.stderr)
    try:
        with ProcessPoolExecutor(2) as pool:
            beside = [pool.submit(create_store), pool.submit(compile_librosa)]
            if not os.environ.get("ASD_DATA_ROOT"):
                make(default_data_root())
            for job in beside:
                job.result()
    except InputError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
