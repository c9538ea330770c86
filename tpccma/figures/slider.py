"""The slider of the book's first page: HTML that shows the clouds before and after, and by a script all models between.

Without a script the two clouds and the numbers of both models stand there. ``book/_static/slider.js`` makes one cloud
of them, fills the table's column in the middle and lets captions follow; ``slider.css`` beside it lays all out.

Legend: N pairs that are drawn. Drawings count in thousandths of a length, right and down.
"""

import json
import re
from collections.abc import Iterable
from html import escape

import numpy as np

from tpccma.evidence.writing import write_revision
from tpccma.runs.slider_records import Picture, SliderRecord, Stop, unpack_cloud

JOINED, GRID, MARGIN = 25, 200, 40  # pairs that are joined; between grid lines; around the clouds
PARTS = {  # by table: what measures are called
    "The gap": {
        "raw_gap": "Raw gap",
        "centroid_gap": "Centroid gap",
        "distribution_gap": "Distribution gap",
        "distribution_gap_scale_free": "… scale-free",
    },
    "The tasks": {
        "zeroshot_top1": "Zero-shot, top 1",
        "clustering_ari": "Clustering, ARI",
        "cider": "CIDEr, raw feed",
        "cider_memory": "… memory feed",
        "cider_centred": "… centred feed",
        "cider_text": "… text feed",
    },
}
TICKS = {0.0: "base", 0.5: "t = 0.5", 1.0: "aligned"}  # below the slider
COLUMNS = {"before": "", "here": " hidden", "after": "", "course": " hidden"}  # what is hidden needs the script
PAGE = """<figure class="gap-slider">
<div class="gap-slider-controls" hidden>
<label for="gap-slider-range">Turn the dial</label> <output for="gap-slider-range"></output>
<div class="gap-slider-track">
<div class="gap-slider-marks" aria-hidden="true">{marks}</div>
<input type="range" id="gap-slider-range" min="0" max="{last}" step="1" value="{start}" autocomplete="off">
<div class="gap-slider-ticks" aria-hidden="true">{ticks}</div>
</div>
</div>
<div class="gap-slider-clouds">
<p class="gap-slider-key"><span class="images">pictures</span> <span class="texts">their texts</span> \
<span>large: means<span hidden>, pale: before</span></span>{key}</p>
{clouds}
</div>
<div class="gap-slider-numbers">
{tables}
</div>
<div class="gap-slider-captions" hidden>
<p>What a decoder that saw texts alone says of pictures, by the raw feed. \
<b>It names the shape in <output></output> of {pictures}.</b></p>
<ul>
{captions}
</ul>
</div>
<figcaption>{said}
<details><summary>How it was made</summary>{made}</details>
</figcaption>
<script type="application/json">{data}</script>
</figure>"""


def slider_html(record: SliderRecord) -> str:
    """Write the slider of a record as HTML, which asks for nothing but script and style.

    Args:
        record: from `tpccma.runs.slider_records.load_slider`.

    Returns:
        One ``figure``.
    """
    return PAGE.format(
        marks="".join(_tick(record, place, f"{stop.alpha:g}") for place, stop in _trained(record)),
        ticks="".join(_tick(record, place, TICKS.get(record.stops[place].t, "")) for place in _places_of_t(record)),
        last=len(record.stops) - 1,
        start=_places_of_t(record)[0],
        key="<span>◆ trained with that alpha, placed by its raw gap</span>" * bool(_trained(record)),
        clouds="\n".join(_panel(record, *each) for each in zip(("Before", "After"), record.ends, strict=True)),
        tables="\n".join(_table(record, *each) for each in PARTS.items()),
        pictures=len(record.pictures),
        captions="\n".join(_picture(each) for each in record.pictures),
        said=escape(describe(record)),
        made=escape(describe_making(record)),
        data=_data(record),
    )


def describe(record: SliderRecord) -> str:
    """Say what is seen, and of which run."""
    drawn = len(unpack_cloud(record.stops[0].cloud)[0])
    run = f"{record.method}, alpha {record.alpha:g}, seed {record.seed} of the profile {record.profile}"
    return (
        f"{drawn} test pairs, {min(JOINED, drawn)} of them joined, in a plane that is the same for all models: up "
        f"leads from the base's mean picture to its mean text. The aligned model is {run}. The slider turns t, the "
        f"share of its weights in those between, and not alpha, which is set before training.{_order_of_alphas(record)}"
    )


def _order_of_alphas(record: SliderRecord) -> str:
    """Say that a larger alpha need not close more, where that is to be seen."""
    trained = [(record.alpha, record.ends[1]), *((stop.alpha, stop) for _, stop in _trained(record))]
    gaps = [stop.metrics["raw_gap"] for _, stop in sorted(trained, key=lambda each: each[0])]
    if gaps == sorted(gaps, reverse=True):
        return ""
    return " Of single runs a larger alpha need not leave a smaller gap."


def describe_making(record: SliderRecord) -> str:
    """Say how all was chosen and made, by which code and on what."""
    trained = ", ".join(f"{stop.alpha:g}" for _, stop in _trained(record))
    return (
        "Drawn are the first test pairs. Right is the base's largest principal component at right angles to up, of "
        "pictures and texts about their means; grid lines lie 0.2 apart. At t the weights are 1 - t times the base's "
        "and t times the aligned model's, and batch norm's statistics are measured anew. A course goes from the least "
        "of its row to the most. "
        + f"Diamonds mark models that were trained with alpha {trained}, where the raw gap is theirs. "
        * bool(trained)
        + f"The {len(record.pictures)} pictures are the first of each class, in the order of the classes. All measures "
        "are of one run, without intervals. "
        f"Recorded by code {write_revision(record.git_revision)} on {record.hardware.device}."
    )


def name_stop(record: SliderRecord, stop: Stop) -> str:
    """Name a stop as it is read out."""
    if stop.t is None:
        return f"trained with alpha {stop.alpha:g}"
    ends = {0.0: ", the base", 1.0: f", trained with alpha {record.alpha:g}"}
    return f"t = {stop.t:g}{ends.get(stop.t, ', weights mixed')}"


def write_measure(name: str, value: float) -> str:
    """Write a measure: accuracy in per cent, CIDEr to two digits, all else to three."""
    if name == "zeroshot_top1":
        return f"{100 * value:.1f} %"
    return f"{value:.{2 if name.startswith('cider') else 3}f}"


def names_class(caption: str, picture: Picture) -> bool:
    """Say whether a caption has the name of its picture's class among its words."""
    return re.search(rf"\b{re.escape(picture.shows)}\b", caption) is not None


def frame_of(record: SliderRecord) -> tuple[int, int, int, int]:
    """Bound the clouds of all stops with a margin: left, top, width, height."""
    places = np.concatenate([unpack_cloud(stop.cloud).reshape(-1, 2) for stop in record.stops]).astype(int)
    width, height = np.ptp(places, axis=0) + 2 * MARGIN
    return int(places[:, 0].min()) - MARGIN, -int(places[:, 1].max()) - MARGIN, int(width), int(height)


def dots(points: Iterable) -> str:
    """Write points, right and up, as a path whose round line ends are dots."""
    return "".join(f"M{x} {-y}h0" for x, y in points)


def triangles(points: Iterable, size: int = 11) -> str:
    """Write points as a path of triangles, twice ``size`` wide and high."""
    return "".join(f"M{x - size} {size - y}h{2 * size}l{-size} {-2 * size}z" for x, y in points)


def _grid(left: int, top: int, width: int, height: int) -> str:
    across = (f"M{x} {top}v{height}" for x in range(-(-left // GRID) * GRID, left + width, GRID))
    return "".join([*across, *(f"M{left} {y}h{width}" for y in range(-(-top // GRID) * GRID, top + height, GRID))])


def _panel(record: SliderRecord, when: str, stop: Stop) -> str:
    frame, (images, texts) = frame_of(record), unpack_cloud(stop.cloud).astype(int)
    means = np.round([images.mean(0), texts.mean(0)]).astype(int)
    lines = zip(images[:JOINED], texts[:JOINED], strict=True)
    paths = {
        "grid": _grid(*frame),
        "pairs": "".join(f"M{x} {-y}L{u} {-v}" for (x, y), (u, v) in lines),
        "images": dots(images),
        "texts": triangles(texts),
        "mean images": dots(means[:1]),
        "mean texts": triangles(means[1:], 26),
    }
    drawn = "".join(f'<path class="{name}" d="{path}"/>' for name, path in paths.items())
    box, name = " ".join(map(str, frame)), name_stop(record, stop)
    apart = f"{np.linalg.norm(means[0] - means[1]) / 1000:.2f}"
    label = escape(f"{when}, {name}: a cloud of pictures and a cloud of texts, their means {apart} apart in this plane")
    return (
        f'<div class="gap-slider-panel"><p>{when}: {escape(name)}</p>'
        f'<svg viewBox="{box}" role="img" aria-label="{label}">{drawn}</svg></div>'
    )


def _table(record: SliderRecord, title: str, names: dict[str, str]) -> str:
    heads = "".join(f'<th scope="col"{hidden}>{said}</th>' for said, hidden in COLUMNS.items())
    rows = "\n".join(_row(record, *each) for each in names.items())
    return f'<table><thead><tr><th scope="col">{title}</th>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>'


def _row(record: SliderRecord, name: str, called: str) -> str:
    before, after = (write_measure(name, stop.metrics[name]) for stop in record.ends)
    part = ' class="part"' if called.startswith("…") else ""
    return (
        f'<tr{part}><th scope="row">{called}</th><td>{before}</td><td class="here" hidden></td><td>{after}</td>'
        '<td class="course" aria-hidden="true" hidden></td></tr>'
    )


def _picture(picture: Picture) -> str:
    source = f'src="data:image/png;base64,{picture.png}"'
    shown = f'<img {source} alt="{escape(picture.shows)}" width="48" height="48">'
    return f"<li>{shown}<span></span></li>"


def _trained(record: SliderRecord) -> list[tuple[int, Stop]]:
    return [(place, stop) for place, stop in enumerate(record.stops) if stop.t is None]


def _places_of_t(record: SliderRecord) -> list[int]:
    return [place for place, stop in enumerate(record.stops) if stop.t is not None]


def _tick(record: SliderRecord, place: int, text: str) -> str:
    """Write a tick at a stop; a text at an end of the slider lies inwards."""
    percent = 100 * place / (len(record.stops) - 1)
    lies = "start" if percent < 5 else "end" if percent > 95 else "center"
    return f'<i style="left:{percent:.4g}%;justify-content:{lies}"><span>{escape(text)}</span></i>'


def _data(record: SliderRecord) -> str:
    stops = [
        {
            "name": name_stop(record, stop),
            "cloud": stop.cloud,
            "values": [write_measure(name, stop.metrics[name]) for part in PARTS.values() for name in part],
            "captions": stop.captions,
            "right": [names_class(*each) for each in zip(stop.captions, record.pictures, strict=True)],
        }
        for stop in record.stops
    ]
    text = json.dumps({"joined": JOINED, "stops": stops}, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")  # which could end the script
