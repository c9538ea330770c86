"""What a training leaves on the disk while it runs: a log with a row a step, and checkpoints to go on from.

``checkpoint/`` holds weights, optimiser, curriculum and random states, the step, the log up to it and what the readers
of the data have to remember. It is there in whole or not at all, and sealed by the checksums of its files.
``checkpoint.old/`` is the one before, for the case that a disk has damaged the last.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from accelerate import Accelerator

from tpccma.files import sync_folder, write_whole
from tpccma.models.weight_files import unpickle, writing

LOG = "steps.csv"
WHOLE, PARTIAL, OLD = "checkpoint", "checkpoint.partial", "checkpoint.old"
SEAL = "checksums.json"

logger = logging.getLogger(__name__)


def log_columns(terms: Iterable[str]) -> tuple[str, ...]:
    """Name the columns of a log, those of the loss's terms among them."""
    measured = ("clip_norm", "cma_norm", "cosine", "seconds", "samples_per_second")
    return ("step", "phase", "alpha", "learning_rate", "logit_scale", "loss", *terms, *measured)


def has_checkpoint(folder: Path) -> bool:
    """Say whether a training can go on from what lies in a folder."""
    return any((folder / name).is_dir() for name in (WHOLE, OLD))


def checkpoints_in(folder: Path) -> list[Path]:
    """List the folders of checkpoints that lie in a run's folder, whole or not."""
    return [folder / name for name in (WHOLE, PARTIAL, OLD) if (folder / name).is_dir()]


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a training that has ended."""
    for path in checkpoints_in(folder):
        shutil.rmtree(path, ignore_errors=True)


def seal(folder: Path) -> None:
    """Write the checksum of every file of a checkpoint beside them; and let all read it whom the umask lets."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    sums = {path.relative_to(folder).as_posix(): _checksum(path) for path in paths}
    (folder / SEAL).write_text(json.dumps(sums, indent=1))
    for path in paths:
        path.chmod((folder / SEAL).stat().st_mode)  # safetensors makes files that their owner alone may read


def check_seal(folder: Path) -> None:
    """See to it that all files of a checkpoint are what was written: else one turned bit would go unseen.

    Raises:
        OSError, ValueError: if one is missing or has changed, or the checksums are damaged.
    """
    for name, checksum in json.loads((folder / SEAL).read_text()).items():
        if _checksum(folder / name) != checksum:
            raise ValueError(f"{name} is not what was written")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
            with writing(self.folder / LOG), (self.folder / LOG).open("a") as file:
                if file.tell() == 0:
                    file.write(",".join(self.columns) + "\n")
                file.write(",".join(str(row.get(column, "")) for column in self.columns) + "\n")

    def save(self, step: int, read: dict | None = None) -> None:
        """Write a checkpoint and the log up to it, in whole or not at all.

        Args:
            step: the next one.
            read: what this process has to remember of its data, as JSON can hold it.

        Raises:
            OSError: if it cannot be written, as on a full disk; the one that was there stays.
        """
        partial = self.folder / PARTIAL
        if self.accelerator.is_main_process and (self.folder / WHOLE).is_dir():
            shutil.rmtree(self.folder / OLD, ignore_errors=True)  # three would need the room
        with writing(partial):
            self.accelerator.save_state(str(partial))
            (partial / f"read-{self.accelerator.process_index}.json").write_text(json.dumps(read))
        self.accelerator.wait_for_everyone()  # every process has written its part
        if self.accelerator.is_main_process:
            with writing(partial):
                (partial / "step.json").write_text(json.dumps({"step": step}))
                if (self.folder / LOG).is_file():
                    shutil.copyfile(self.folder / LOG, partial / LOG)
                seal(partial)
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

    def resume(self) -> tuple[int, list[dict]]:
        """Go on from the last checkpoint, the log from what it was then; without one, start anew.

        Returns:
            The step that is next, and what the processes have to remember of their data, as far as it was saved.

        Raises:
            ValueError: if neither the last checkpoint nor the one before can be read; the message names the remedy.
        """
        whole, old = self.folder / WHOLE, self.folder / OLD
        if not whole.is_dir():
            self._step_back()
        found, problem = self._load(whole) if whole.is_dir() else ((0, []), "")
        if problem and old.is_dir():
            logger.warning("%s cannot be read (%s); the training goes on from the one before", whole, problem)
            self._step_back()
            found, problem = self._load(whole)
        if problem:
            raise ValueError(f"{whole} cannot be read ({problem}); remove it, and the training begins anew")
        if self.accelerator.is_main_process:
            self._restore_log(whole)
        self.accelerator.wait_for_everyone()
        return found

    def _step_back(self) -> None:
        """Put the checkpoint before, if there is one, in the place of the last."""
        whole, old = self.folder / WHOLE, self.folder / OLD
        self.accelerator.wait_for_everyone()  # no process reads it any more
        if self.accelerator.is_main_process and old.is_dir():
            shutil.rmtree(whole, ignore_errors=True)
            old.rename(whole)
        self.accelerator.wait_for_everyone()

    def _load(self, whole: Path) -> tuple[tuple[int, list[dict]], str]:
        """Take up a checkpoint; return what `resume` does, and what was wrong in any process, "" if nothing."""
        found, problem = (0, []), ""
        try:
            if self.accelerator.is_main_process:
                check_seal(whole)
            for registered in whole.glob("custom_checkpoint_*.pkl"):
                unpickle(registered)  # which refuses code; accelerate runs what these files carry
            self.accelerator.load_state(str(whole))
            step = json.loads((whole / "step.json").read_text())["step"]
            found = step, [json.loads(path.read_text()) for path in sorted(whole.glob("read-*.json"))]
        except Exception as error:  # of damaged files, whatever their bytes lead to
            problem = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        failed = torch.tensor(int(bool(problem)), device=self.accelerator.device)
        if self.accelerator.reduce(failed, reduction="sum").item():
            problem = problem or "another process has failed"
        return found, problem

    def _restore_log(self, whole: Path) -> None:
        log = self.folder / LOG
        if (whole / LOG).is_file():
            write_whole(log, (whole / LOG).read_text())
        else:
            log.unlink(missing_ok=True)
