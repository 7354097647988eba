"""Triton's kernels run interpreted, on the CPU, in every test: it reads this when imported."""

import os

os.environ["TRITON_INTERPRET"] = "1"
