"""Sphinx extension: what the runs of a profile take, computed when the book is built, see `tpccma.runs.plan`.

    ```{plan-table} 1024 4096 16384
    :pairs: 2905954
    :gpus: 8
    ```

shows the plan of the profile `paper` with the memory for these batch sizes, with ``:micro-batch: 256`` that memory
alone, as the profile is and so; and

    ```{plan-hours} 500 1000 2000
    ```

with the same options how long a training and the sweep take at these samples a second. ``{plan-expected}`` shows what
must come out of the base model. ``{plan-commands}`` is a role: how many commands the sweep on so many GPUs has.
"""

from docutils import nodes
from docutils.parsers.rst.directives import positive_int
from measured import table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from tpccma import load_profile
from tpccma.evidence.estimates import WORDS
from tpccma.runs.plan import plan, sweep_commands, sweep_runs, training_hours


class Planned(SphinxDirective):
    """A table about runs on so many GPUs, with so many pairs in an epoch."""

    required_arguments, optional_arguments = 1, 9
    option_spec = {"pairs": positive_int, "gpus": positive_int, "micro-batch": positive_int}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        numbers = [positive_int(argument) for argument in self.arguments]
        return [table(self.lines(numbers, self.options["pairs"], self.options["gpus"]))]

    def lines(self, numbers: list[int], pairs: int, gpus: int) -> list[list[str]]:
        raise NotImplementedError


class PlanTable(Planned):
    """The plan, or the memory with micro-batches beside that without."""

    def lines(self, numbers: list[int], pairs: int, gpus: int) -> list[list[str]]:
        whole, size = plan("paper", pairs, None, gpus, tuple(numbers)), self.options.get("micro-batch")
        if size is None:
            rows = [[row.Index, row.value, row.source] for row in whole.itertuples()]
            return [["what", "value", "where it comes from"], *rows]
        frugal = plan(load_profile("paper", fine_tune__micro_batch_size=size), pairs, None, gpus, tuple(numbers))
        memory = [name for name in whole.index if name.startswith("memory of each GPU")]
        rows = [[name, whole.value[name], frugal.value[name]] for name in memory]
        return [["what", "as it is", f"micro-batches of {size:,}"], *rows]


class PlanHours(Planned):
    """What a rate means."""

    def lines(self, numbers: list[int], pairs: int, gpus: int) -> list[list[str]]:
        hours = {rate: training_hours(load_profile("paper"), pairs, rate) for rate in numbers}
        runs = len(sweep_runs())
        rows = [[f"{rate:,}", f"{one:.2f}", f"{one * gpus * runs:,.0f}"] for rate, one in hours.items()]
        return [["samples/s, all GPUs together", "hours of a training", "GPU hours of the sweep"], *rows]


class PlanExpected(SphinxDirective):
    """The measures of the base model that show whether weights and data are the right ones."""

    def run(self) -> list[nodes.Node]:
        paper = load_profile("paper")
        rows = [
            [WORDS.get(name, name), f"{value:g}", f"{paper.expected_within:g}"]
            for name, value in paper.expected.items()
        ]
        return [table([["measure of the base", "expected", "within"], *rows])]


class PlanCommands(SphinxRole):
    """The number of commands that `tpccma plan --commands` writes."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        return [nodes.Text(str(len(sweep_commands("paper", int(self.text)))))], []


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("plan-table", PlanTable)
    app.add_directive("plan-hours", PlanHours)
    app.add_directive("plan-expected", PlanExpected)
    app.add_role("plan-commands", PlanCommands())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
