import pytest
import torch

from tpccma.models.words import WordTokenizer


@pytest.fixture
def tokenizer() -> WordTokenizer:
    return WordTokenizer(["a", "red", "star", "."], context_length=7)  # ids 1 to 4; start is 5, end 6


def test_known_ids(tokenizer: WordTokenizer):
    tokens = tokenizer(["a red star.", "star"])
    assert tokens.tolist() == [[5, 1, 2, 3, 4, 6, 0], [5, 3, 6, 0, 0, 0, 0]]
    assert tokens.dtype == torch.int64


def test_one_text_is_a_batch_of_one(tokenizer: WordTokenizer):
    assert torch.equal(tokenizer("a star"), tokenizer(["a star"]))


def test_case_and_spaces_do_not_matter(tokenizer: WordTokenizer):
    assert torch.equal(tokenizer("  A  red STAR ."), tokenizer("a red star."))


def test_empty_text_is_start_and_end(tokenizer: WordTokenizer):
    assert tokenizer("").tolist() == [[5, 6, 0, 0, 0, 0, 0]]


def test_no_texts_give_no_rows(tokenizer: WordTokenizer):
    assert tokenizer([]).shape == (0, 7)


def test_end_has_the_largest_id_where_open_clip_pools(tokenizer: WordTokenizer):
    assert tokenizer.end_id == tokenizer.vocab_size - 1
    assert tokenizer(["a red star.", "star"]).argmax(1).tolist() == [5, 2]


def test_long_text_is_cut_but_ends_with_the_end(tokenizer: WordTokenizer):
    assert tokenizer("a red red red red red star").tolist() == [[5, 1, 2, 2, 2, 2, 6]]
    assert tokenizer("a red star.", context_length=4).tolist() == [[5, 1, 2, 6]]


def test_unknown_word_is_named_with_its_text(tokenizer: WordTokenizer):
    with pytest.raises(ValueError, match=r"'blue' in 'a blue star' is not one of .* 4 words: a red star"):
        tokenizer("a blue star")


def test_word_given_twice_is_named():
    with pytest.raises(ValueError, match="'red'"):
        WordTokenizer(["a", "red", "red"])
