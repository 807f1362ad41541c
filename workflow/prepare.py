"""Create what notebooks that run in parallel share: the store of runs, and the embedded data set if it is used."""

import os
import sys
import time

from asd.demo.dataset import make
from asd.errors import InputError
from asd.paths import default_data_root, default_output_root
from asd.tracking.mlflow_store import Store

print(f"{time.strftime('%H:%M:%S')}  preparing the store of runs and the data", file=sys.stderr)
try:
    if not os.environ.get("ASD_DATA_ROOT"):
        make(default_data_root())
    Store(default_output_root())
except InputError as error:
    sys.exit(f"{error}")
