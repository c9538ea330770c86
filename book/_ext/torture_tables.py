"""Sphinx extension: what came of the campaign against crashes, full disks and damage, from results/torture.json.

    ```{torture-machine}
    ```

says where, when and how long it ran, or that there is no record;

    ```{torture-table} kill at every file event
    ```

shows the doors of one campaign, a row each, and

    ```{torture-faults}
    ```

lists the faults that were found, and what was begun and not ended.
"""

import json
from pathlib import Path

from docutils import nodes
from measured import table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tpccma.evidence.speed import describe_machine, write_bytes

HOW = ("same bytes", "documented value", "named refusal", "FAULT")


def rows_of(record: dict, campaign: str) -> list[list[str]]:
    """Lay out the doors of a campaign below a header; outcomes that none of them has are left out.

    Where time was up before all cases of a door were tried, it says of how many.
    """
    start = f"{campaign}: "
    doors = {name.removeprefix(start): own for name, own in record["doors"].items() if name.startswith(start)}
    shown = [how for how in HOW if how == "FAULT" or any(own["found"].get(how) for own in doors.values())]
    lines = [["", "cases", *shown, "files left"]]
    for name, own in sorted(doors.items()):
        of_all = f" of {own['total']:,}" if own["total"] and own["turns"] < own["total"] else ""
        counts = [f"{count:,}" for count in (*(own["found"].get(how, 0) for how in shown), own["left"])]
        lines.append([name, f"{sum(own['found'].values()):,}{of_all}", *counts])
    return lines


def faults_of(record: dict) -> list[str]:
    """List faults, and doors that have an end which was not reached."""
    found = [f"{name}, {fault}" for name, own in record["doors"].items() for fault in own["faults"]]
    short = [
        f"Not reached: {own['total'] - own['turns']:,} of {own['total']:,} cases of “{name}”."
        for name, own in record["doors"].items()
        if own["total"] and own["turns"] < own["total"]
    ]
    return [*(found or ["No fault."]), *short]


def run_of(record: dict) -> str:
    """Say where and how long it ran, how many cases it had, and what a case might take."""
    cases = sum(sum(own["found"].values()) for own in record["doors"].values())
    limits = record["limits"]
    return (
        f"{cases:,} cases in {record['minutes']:g} minutes, {record['jobs']} processes; {describe_machine(record)}. A "
        f"case that reads might take {limits['seconds']:g} s and {write_bytes(limits['bytes'])} more than before; what "
        f"a killed command leaves running, {limits['orphans_seconds']} s."
    )


class OfRecord(SphinxDirective):
    """What the record says; nothing where there is none."""

    missing: tuple[str, ...] = ()

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir).resolve().parent / "results" / "torture.json"
        self.env.note_dependency(str(path))
        if not path.is_file():
            return [nodes.paragraph("", nodes.Text(text)) for text in self.missing]
        try:
            return [self.show(json.loads(path.read_text()))]
        except (KeyError, TypeError, ValueError) as error:
            raise self.error(f"{self.name}: {error!r}") from None

    def show(self, record: dict) -> nodes.Node:
        raise NotImplementedError


class TortureMachine(OfRecord):
    missing = ("Not run with this code.",)

    def show(self, record: dict) -> nodes.Node:
        return nodes.paragraph("", nodes.Text(run_of(record)))


class TortureTable(OfRecord):
    required_arguments = 1
    final_argument_whitespace = True

    def show(self, record: dict) -> nodes.Node:
        return table(rows_of(record, self.arguments[0]))


class TortureFaults(OfRecord):
    def show(self, record: dict) -> nodes.Node:
        items = [nodes.list_item("", nodes.paragraph("", nodes.Text(text))) for text in faults_of(record)]
        return nodes.bullet_list("", *items)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("torture-machine", TortureMachine)
    app.add_directive("torture-table", TortureTable)
    app.add_directive("torture-faults", TortureFaults)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
