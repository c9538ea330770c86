"""Zero-shot accuracy on validation pictures while a model trains: whether it broke on the way, though it ends well.

Legend: C classes, T templates.
"""

from torch import Tensor

from tpccma.data import Corpus
from tpccma.models import Encoder
from tpccma.models.encoder import evaluating
from tpccma.tasks.zeroshot import fill_templates, zero_shot_accuracy, zero_shot_classifier

COLUMN = "val_zeroshot"


class Watch:
    """Looks at a model now and then; nothing is learnt from what it sees, and training goes on as without it.

    Args:
        encoder: that is trained.
        corpus: whose validation pictures are classified; one without classes is not looked at.
        every: steps from one look to the next; None looks never.
    """

    def __init__(self, encoder: Encoder, corpus: Corpus, every: int | None):
        self.encoder, self.corpus = encoder, corpus
        self.every = every if corpus.classes else None
        self.columns = (COLUMN,) if self.every else ()
        names = [text for name in corpus.classes for text in fill_templates(name, corpus.templates)]
        self.prompts = encoder.tokenizer(names) if self.every else None

    def look(self, step: int) -> dict[str, float]:
        """Say the top-1 accuracy after so many steps, as a column of the log; {} where it is not asked for."""
        return {COLUMN: self._accuracy()} if self.every and step % self.every == 0 else {}

    def _accuracy(self) -> float:
        val, classes = self.corpus.val, self.corpus.classes
        classifier = zero_shot_classifier(self._embed_prompts, classes, self.corpus.templates)
        return zero_shot_accuracy(self.encoder.embed_images(val.images), classifier, val.labels)["zeroshot_top1"]

    def _embed_prompts(self, texts: list[str]) -> Tensor:
        """Embed the prompts (C * T), which are tokens since the beginning."""
        with evaluating(self.encoder.model) as model:
            return model.encode_text(self.prompts.to(self.encoder.device), normalize=True).float().cpu()
