"""Two-tower models: build them from a profile, load and save them, embed with them.

Importing this makes the demo's architecture, "tpccma-demo", known to open_clip.
"""

from tpccma.models.encoder import Encoder, build_model, evaluating, load_encoder, open_tokenizer, prepare, weights_path
from tpccma.models.weight_files import read_metadata, read_weights

__all__ = [
    "Encoder",
    "build_model",
    "evaluating",
    "load_encoder",
    "open_tokenizer",
    "prepare",
    "read_metadata",
    "read_weights",
    "weights_path",
]
