"""Front matter is plain text with a line in every complaint; its comments are found where they stand."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data_cards.front_matter import cut_card, find_comments, read_keys
from msht.errors import InvalidInput


@pytest.mark.parametrize(
    "value",
    [
        "2024-02-30",
        "2024-01-01 25:61:00",
        "024",
        "1:30",
        "1_000",
        "0x1F",
        "yes",
        "no",
        "Off",
        "1e3",
        ".inf",
        "9" * 5000,
    ],
)
def test_a_value_is_the_text_that_stands_there(value: str) -> None:
    assert read_keys(f"title: {value}", where="card") == {"title": value}


@pytest.mark.parametrize("nothing", ["", "~", "null"])
def test_nothing_is_nothing_unless_it_stands_in_quotes(nothing: str) -> None:
    assert read_keys(f"a: {nothing}\nb: '{nothing}'", where="card") == {"a": None, "b": nothing}


@pytest.mark.parametrize(
    ("front", "words"),
    [
        ("a: b\nc: !!int abc", "card, line 3: the tag '!!int'"),
        ("a: b\nc: !!python/object/apply:os.getpid []", "card, line 3: the tag '!!python/object/apply:os.getpid'"),
        ("a: b\nc: " + "[" * 5000, "card, line 3: the front matter is nested more than 20 levels deep"),
        ("a: b\nc: " + "{a: " * 3000, "card, line 3: the front matter is nested more than 20 levels deep"),
        ("a: b\nc: 1\na: c", "card, line 4: the key 'a' stands twice, first in line 2"),
        ("a:\n  b: 1\n  'b ': 2", "card, line 4: the key 'b' stands twice, first in line 3"),
        ("a: b\nc: {{ name }}", "card, line 3: a list or table stands where a key should"),
        ("a: b\nc: d: e", "card, line 3: the front matter is not YAML"),
        ("a: b\nc: *important*", "card, line 3: the front matter is not YAML"),
        ("a: b\nc: \x07", r"card, line 3: the front matter is not YAML (the control character U+0007)"),
        ('a: b\nc: "\\UFFFFFFFF"', "card, line 3: the front matter is not YAML (a number behind"),
        ('a: b\nc: "\\ud800"', "card, line 3: a value holds half of a character"),
        ("a: &x [*x]", "card, line 2: the front matter is not YAML"),
        ("- a", "card: the front matter is not a table"),
    ],
)
def test_a_slip_is_one_sentence_with_its_line(front: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_keys(front, where="card")
    assert caught.value.problem.startswith(words)
    assert "\n" not in str(caught.value)
    assert caught.value.mend


@given(st.text(alphabet=st.sampled_from("ab:-#[]{}&*!|>'\"%@\\ \n\tU0\x85~?,"), max_size=40))
def test_any_text_is_read_or_refused(front: str) -> None:
    try:
        keys = read_keys(front, where="card")
    except InvalidInput:
        return
    assert isinstance(keys, dict)
    for _, comment in find_comments(front):
        assert comment in front


LETTERS = st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029"))


@given(st.dictionaries(LETTERS, LETTERS))
def test_what_the_library_writes_is_read_back(keys: dict[str, str]) -> None:
    """Keys that differ by spaces around them are one to a card; PyYAML itself loses breaks like U+0085."""
    keys = {key.strip() or "key": value for key, value in keys.items()}
    assert read_keys(yaml.safe_dump(keys, allow_unicode=True), where="card") == keys


def test_every_comment_goes_with_its_key() -> None:
    front = """# on name
name: x # behind name
text: >-  # behind text
  # no comment
  more
list:
# on list
- a # behind list
# on list too
- b
# on table
table:
  # on table.c
  c: 'no # comment'
# at the end"""
    found = list(find_comments(front))
    assert found[-1] == ("", "# at the end")
    assert [words.removeprefix("# on ").removeprefix("# behind ").removesuffix(" too") for _, words in found[:-1]] == [
        key for key, _ in found[:-1]
    ]
    assert len(found) == 9


def test_front_matter_ends_at_its_second_line_of_dashes() -> None:
    assert cut_card("---\na: b\n---\n\nText\n---\nmore\n", where="card") == ("a: b", "Text\n---\nmore")
