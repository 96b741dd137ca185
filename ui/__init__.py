"""Panels and figures. The only place, with app.py, that imports gradio."""

import contextlib
import os

# Before gradio is imported anywhere: no usage statistics leave the machine.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

with contextlib.suppress(ImportError):
    import spaces  # noqa: F401  On a ZeroGPU Space it must come before torch.
