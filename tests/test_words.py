import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tpccma.models.words import EOS, PAD, SPECIAL, UNK, CaptionVocabulary, WordTokenizer

# ---- the tokenizer of a small model


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


# ---- the words of the caption decoder


def test_words_are_lower_cased_and_punctuation_stands_alone():
    words = ["a", "men's", "t-shirt", "(", "5", ".", "11", ")", ",", "&", "café", "!", "!"]
    assert CaptionVocabulary.split("A Men's T-Shirt (5.11), & Café!!") == words


def test_the_tokenizer_of_a_small_model_parts_words_at_every_mark():
    assert WordTokenizer.split("A Men's t-shirt") == ["a", "men", "'", "s", "t", "-", "shirt"]


def test_words_of_captions_stand_in_alphabetical_order_behind_the_special_ones():
    vocabulary = CaptionVocabulary.from_captions(["a red star", "A cup"])
    assert vocabulary.words == (*SPECIAL, "a", "cup", "red", "star")
    assert len(vocabulary) == 7


def test_encode_ends_pads_cuts_and_marks_unknown_words():
    vocabulary = CaptionVocabulary(["a", "star"])
    a, star = 3, 4
    expected = [[a, UNK, star, EOS], [a, star, EOS, PAD], [EOS, PAD, PAD, PAD]]
    assert vocabulary.encode(["a red star", "a star", ""], max_tokens=9).tolist() == expected
    assert vocabulary.encode(["a red star"], max_tokens=2).tolist() == [[a, UNK]]
    assert vocabulary.encode(["a"], max_tokens=9).dtype == torch.int64


def test_decode_stops_at_the_end_token_and_joins_closing_marks():
    vocabulary = CaptionVocabulary(["a", "star", ",", "."])
    a, star, comma, stop = range(3, 7)
    rows = torch.tensor([[a, star, comma, a, star, stop], [star, EOS, a, a, a, a], [EOS, PAD, PAD, PAD, PAD, PAD]])
    assert vocabulary.decode(rows) == ["a star, a star.", "star", ""]


@given(st.lists(st.lists(st.sampled_from(["a", "red", "t-shirt", "5", "&"]), min_size=1), min_size=1))
def test_decode_inverts_encode_on_words(rows):
    captions = [" ".join(words) for words in rows]
    vocabulary = CaptionVocabulary.from_captions(captions)
    assert vocabulary.decode(vocabulary.encode(captions, max_tokens=1000)) == captions


def test_unusable_vocabularies_are_refused():
    with pytest.raises(ValueError, match="none of the 2 captions holds a word"):
        CaptionVocabulary.from_captions(["", "  "])
    with pytest.raises(ValueError, match=r"twice: \['star'\]"):
        CaptionVocabulary(["star", "star"])
    with pytest.raises(ValueError, match=r"twice: \['<eos>'\]"):
        CaptionVocabulary(["star", "<eos>"])
