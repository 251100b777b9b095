import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers")

from edge_ad.training.pretrain.architecture import PROMPT_LENGTH
from edge_ad.training.pretrain.tokenizer import END, START, train_tokenizer
from edge_ad.training.prompts import shipped_texts

PRINTABLE = "".join(letter for letter in string.printable if letter not in "<|>")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a round brushed steel disc with four holes on a dark table"] * 3)


@given(text=st.text(alphabet=PRINTABLE, max_size=60))
@settings(max_examples=80, deadline=None)
def test_any_ascii_text_is_kept_letter_by_letter(tokenizer, text):
    """The unknown token is the end token, so a lost letter would show as one."""
    tokens = tokenizer.tokenize(text)
    assert END not in tokens
    assert "".join(tokens).replace("</w>", "") == "".join(text.lower().split())


@given(text=st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="<|>"), max_size=20))
@settings(max_examples=80, deadline=None)
def test_no_text_becomes_unknown(tokenizer, text):
    assert END not in tokenizer.tokenize(text)


@given(text=st.text(alphabet=PRINTABLE, max_size=200))
@settings(max_examples=40, deadline=None)
def test_every_prompt_is_32_tokens_long(tokenizer, text):
    ids = tokenizer([text], padding="max_length", truncation=True, max_length=tokenizer.model_max_length).input_ids[0]
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    assert len(ids) == PROMPT_LENGTH == tokenizer.model_max_length
    assert ids[0] == start
    assert end in ids
    assert ids[ids.index(end) :] == [end] * (PROMPT_LENGTH - ids.index(end))  # padded as SD 1.x pads
    assert max(ids) < len(tokenizer)


def test_no_shipped_prompt_is_cut(tokenizer):
    longest = max(shipped_texts(), key=lambda text: len(tokenizer(text).input_ids))
    assert len(tokenizer(longest).input_ids) <= PROMPT_LENGTH, longest


def test_words_of_the_captions_are_single_tokens(tokenizer):
    assert tokenizer.tokenize("a perfect brushed disc") == ["a</w>", "perfect</w>", "brushed</w>", "disc</w>"]
    assert len(tokenizer) <= 4096


def test_training_is_repeatable_and_a_saved_tokenizer_the_same(tokenizer, tmp_path):
    from transformers import CLIPTokenizer

    again = train_tokenizer(["a round brushed steel disc with four holes on a dark table"] * 3)
    assert again.get_vocab() == tokenizer.get_vocab()
    tokenizer.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path)
    for text in shipped_texts()[:20]:
        assert loaded(text).input_ids == tokenizer(text).input_ids
    assert loaded.model_max_length == PROMPT_LENGTH
