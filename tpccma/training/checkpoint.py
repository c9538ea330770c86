"""What a training leaves on the disk while it runs: a log with a row a step, and checkpoints to go on from.

``checkpoint/`` holds weights, optimiser, curriculum and random states, the step, the log up to it and what the readers
of the data have to remember. It is there in whole or not at all.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from accelerate import Accelerator

from tpccma.files import sync_folder, write_whole

LOG = "steps.csv"
WHOLE, PARTIAL, OLD = "checkpoint", "checkpoint.partial", "checkpoint.old"


def log_columns(terms: Iterable[str]) -> tuple[str, ...]:
    """Name the columns of a log, those of the loss's terms among them."""
    measured = ("clip_norm", "cma_norm", "cosine", "seconds", "samples_per_second")
    return ("step", "phase", "alpha", "learning_rate", "logit_scale", "loss", *terms, *measured)


def has_checkpoint(folder: Path) -> bool:
    """Say whether a training can go on from what lies in a folder."""
    return any((folder / name).is_dir() for name in (WHOLE, OLD))


class Checkpoints:
    """Log and checkpoints of one training.

    Args:
        folder: where they lie.
        accelerator: saves and loads all that it has prepared or that is registered with it.
        columns: of the log, see `log_columns`.
    """

    def __init__(self, folder: Path, accelerator: Accelerator, columns: tuple[str, ...]):
        self.folder, self.accelerator, self.columns = folder, accelerator, columns

    def log(self, row: dict) -> None:
        """Append a row to the log; what has no value stays empty."""
        if self.accelerator.is_main_process:
            with (self.folder / LOG).open("a") as file:
                if file.tell() == 0:
                    file.write(",".join(self.columns) + "\n")
                file.write(",".join(str(row.get(column, "")) for column in self.columns) + "\n")

    def save(self, step: int, read: dict | None = None) -> None:
        """Write a checkpoint and the log up to it, in whole or not at all.

        Args:
            step: the next one.
            read: what this process has to remember of its data, as JSON can hold it.
        """
        partial = self.folder / PARTIAL
        self.accelerator.save_state(str(partial))
        (partial / f"read-{self.accelerator.process_index}.json").write_text(json.dumps(read))
        self.accelerator.wait_for_everyone()  # every process has written its part
        if self.accelerator.is_main_process:
            (partial / "step.json").write_text(json.dumps({"step": step}))
            if (self.folder / LOG).is_file():
                shutil.copyfile(self.folder / LOG, partial / LOG)
            sync_folder(partial)
            self._replace(partial)
        self.accelerator.wait_for_everyone()

    def _replace(self, partial: Path) -> None:
        """Put a checkpoint in the place of the one before, which is moved aside first: a kill leaves one whole."""
        whole, old = self.folder / WHOLE, self.folder / OLD
        shutil.rmtree(old, ignore_errors=True)
        if whole.is_dir():
            whole.rename(old)
        partial.rename(whole)
        shutil.rmtree(old, ignore_errors=True)

    def resume(self) -> tuple[int, list[dict]]:
        """Go on from the last checkpoint, the log from what it was then; without one, start anew.

        Returns:
            The step that is next, and what the processes have to remember of their data, as far as it was saved.
        """
        whole = self.folder / WHOLE
        if self.accelerator.is_main_process:
            self._restore_log(whole)
        self.accelerator.wait_for_everyone()
        if not whole.is_dir():
            return 0, []
        self.accelerator.load_state(str(whole))
        step = json.loads((whole / "step.json").read_text())["step"]
        return step, [json.loads(path.read_text()) for path in sorted(whole.glob("read-*.json"))]

    def _restore_log(self, whole: Path) -> None:
        log, old = self.folder / LOG, self.folder / OLD
        if not whole.is_dir() and old.is_dir():
            old.rename(whole)
        if (whole / LOG).is_file():
            write_whole(log, (whole / LOG).read_text())
        else:
            log.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the checkpoint of a training that has ended."""
        for name in (WHOLE, PARTIAL, OLD):
            shutil.rmtree(self.folder / name, ignore_errors=True)
