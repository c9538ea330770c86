"""Two-tower models: networks, their weights and preprocessing, and `Encoder`, which embeds raw pictures and texts.

Importing this makes the demo's architecture, "tpccma-demo", known to open_clip.
"""

from tpccma.models.encoder import Encoder, InParts, build_network, evaluating, open_tokenizer, prepare
from tpccma.models.weight_files import read_metadata, read_weights

__all__ = [
    "Encoder",
    "InParts",
    "build_network",
    "evaluating",
    "open_tokenizer",
    "prepare",
    "read_metadata",
    "read_weights",
]
