"""Records of sliders made by hand."""

import base64

import numpy as np

from tpccma.runs.slider_records import MEASURES, Picture, SliderRecord, Stop, pack_cloud

PNG = base64.b64encode(b"not looked at").decode()


def stop_of(gap: float, captions: tuple[str, ...] = (), cloud: str | None = None, **named: float) -> Stop:
    """A stop at ``t=`` or ``alpha=`` with a raw gap; every other measure is 0.5."""
    flat = np.zeros((1, 2))
    metrics = dict.fromkeys(MEASURES, 0.5) | {"raw_gap": gap}
    return Stop(
        **{"t": None, "alpha": None} | named,
        cloud=cloud or pack_cloud(flat, flat),
        metrics=metrics,
        captions=captions,
    )


def record_of(*stops: Stop, pictures: tuple[Picture, ...] = (), **changed) -> SliderRecord:
    """A record of some stops."""
    given = {
        "profile": "demo",
        "method": "tpc-cma",
        "alpha": 0.5,
        "seed": 0,
        "fingerprint": "0123abcd",
        "base": "0" * 16,
        "evaluation": {},
        "code": {},
        "pairs": 1000,
        "versions": {},
        "hardware": {"machine": "x86_64", "threads": 1, "device": "a processor", "processor": None},
        "git_revision": "0123456789abcdef0123456789abcdef01234567",
    }
    return SliderRecord.model_validate(given | {"pictures": pictures, "stops": stops} | changed)
