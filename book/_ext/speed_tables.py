"""Sphinx extension: tables of what the benchmarks measured, from results/benchmarks/.

    ```{speed-table} loss-cpu loss ratio
    ```

shows one value of one table of a record, see `tpccma.evidence.speed`, and

    ```{speed-machine} loss-cpu
    ```

says on what it was measured, or that there is no such record, which then has no tables either. Whatever else is wrong
is an error.
"""

from pathlib import Path

from docutils import nodes
from measured import table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tpccma.evidence.speed import describe_machine, read_benchmark, speed_table


class OfRecord(SphinxDirective):
    """What a record says, its name being the first argument."""

    required_arguments = 1
    missing: tuple[str, ...] = ()

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir).resolve().parent / "results" / "benchmarks" / f"{self.arguments[0]}.json"
        self.env.note_dependency(str(path))
        if not path.is_file():
            return [nodes.paragraph("", nodes.Text(text)) for text in self.missing]
        try:
            return [self.show(read_benchmark(path))]
        except (KeyError, ValueError) as error:
            raise self.error(f"{self.name} {' '.join(self.arguments)}: {error}") from None

    def show(self, record: dict) -> nodes.Node:
        raise NotImplementedError


class SpeedMachine(OfRecord):
    """What a record was measured on, in one line."""

    missing = ("Not run with this code.",)

    def show(self, record: dict) -> nodes.Node:
        return nodes.paragraph("", nodes.Text(describe_machine(record)))


class SpeedTable(OfRecord):
    """One value of one table."""

    required_arguments = 3

    def show(self, record: dict) -> nodes.Node:
        _, name, value = self.arguments
        found = speed_table(record["tables"][name], value)
        return table([[found.index.name, *found.columns], *([size, *cells] for size, *cells in found.itertuples())])


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("speed-machine", SpeedMachine)
    app.add_directive("speed-table", SpeedTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
