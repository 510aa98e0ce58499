"""The regular expressions of a policy: what is taken, that both readings agree, and that none costs much."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webhook.errors import Code, MalformedError
from webhook.trust import expression
from webhook.trust.automaton import Automaton, bits, characters


def accepts(automaton: Automaton, text: str) -> bool:
    """Whether the automaton reads `text` from its first character to its last."""
    if not text:
        return automaton.empty
    positions = automaton.first
    for index, character in enumerate(text):
        reading = positions & automaton.reading(characters(character))
        if index == len(text) - 1:
            return bool(reading & automaton.last)
        positions = 0
        for position in bits(reading):
            positions |= automaton.follow[position]
    return False


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("abc", ["abc"], ["ab", "abcd", "xabc", "ABC", ""]),
        ("a.c", ["abc", "a/c", "aäc"], ["ac", "abbc"]),
        ("a|bc", ["a", "bc"], ["ac", "abc", "b"]),
        ("(?:a|b)+c?", ["a", "abbac"], ["c", ""]),
        ("a{2}", ["aa"], ["a", "aaa"]),
        ("a{2,}", ["aa", "aaaa"], ["a"]),
        ("a{1,3}b", ["ab", "aaab"], ["b", "aaaab"]),
        ("a*?b", ["b", "aab"], ["a"]),
        ("[a-c_]+", ["abc_"], ["d", "-"]),
        ("[^/@]+", ["abcä"], ["a/b", "@"]),
        (r"[\d.\-x]+", ["1.2-x"], ["y", "\\"]),
        (r"[a\-z]+", ["a-z"], ["b"]),
        (r"\w+\.\w+", ["a.b"], ["axb", "ä.b"]),
        (r"\S\D", ["a!"], ["a1", " a"]),
        (r"https\:\/\/x", ["https://x"], ["https:\\/\\/x"]),
        ("^a$", ["a"], ["^a$", "aa"]),
        ("(^a|b$)", ["a", "b"], ["ab"]),
        ("äö", ["äö"], ["ä"]),
    ],
)
def test_the_whole_text_is_matched(pattern: str, matched: list[str], others: list[str]) -> None:
    parsed = expression.parse(pattern)
    assert [text for text in matched if not parsed.matches(text)] == []
    assert [text for text in others if parsed.matches(text)] == []
    assert all(accepts(parsed.automaton, text) for text in matched)


@pytest.mark.parametrize(
    ("glob", "matched", "others"),
    [
        ("https://x.io/*/b", ["https://x.io/a/b"], ["https://x.io/a/a/b", "https://x.io//b", "https://xyio/a/b"]),
        ("a/**", ["a/b", "a/b/c"], ["a/", "a"]),
        ("v*.0", ["v1.0", "v1.2.0"], ["v.0", "v1/2.0", "v1x0"]),
        ("a?[b](c)", ["a?[b](c)"], ["ab", "a?b(c)"]),
        ("*@x.io", ["me@x.io"], ["@x.io", "a/b@x.io"]),
    ],
)
def test_globs(glob: str, matched: list[str], others: list[str]) -> None:
    parsed = expression.parse_glob(glob)
    assert [text for text in matched if not parsed.matches(text)] == []
    assert [text for text in others if parsed.matches(text)] == []


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        pytest.param("", "a regular expression expected, found empty text", id="empty"),
        pytest.param("a" * 513, "at most 512 printable characters expected", id="long"),
        pytest.param("a\nb", "at most 512 printable characters expected", id="two lines"),
        pytest.param("a(b", "no regular expression of RE2", id="open group"),
        pytest.param("a)b", "no regular expression of RE2", id="closed group"),
        pytest.param("[a", "no regular expression of RE2", id="open class"),
        pytest.param("*a", "no regular expression of RE2", id="nothing to repeat"),
        pytest.param("a**", "no regular expression of RE2", id="repeated twice"),
        pytest.param("a{1001}", "no regular expression of RE2", id="repeated too often"),
        pytest.param(r"(a)\1", "no regular expression of RE2", id="back reference"),
        pytest.param("(?=a)b", "no regular expression of RE2", id="look-ahead"),
        pytest.param("(?i)a", "flags and names of groups are not taken", id="flag"),
        pytest.param("(?i:a)", "flags and names of groups are not taken", id="flag of a group"),
        pytest.param("(?P<n>a)", "flags and names of groups are not taken", id="name of a group"),
        pytest.param("[[:alpha:]]", "named classes are not taken", id="named class"),
        pytest.param("[]a]", r"write \] for a bracket in a class", id="bracket first in a class"),
        pytest.param(r"\pL", r"the escape \p is not taken", id="property"),
        pytest.param(r"\x41", r"the escape \x is not taken", id="hexadecimal"),
        pytest.param(r"\Qa.b\E", r"the escape \Q is not taken", id="quotation"),
        pytest.param(r"\C", r"the escape \C is not taken", id="byte"),
        pytest.param("a{,3}", r"write \{ for a brace", id="brace"),
        pytest.param("(" * 17 + "a" + ")" * 17, "at most 16 groups within each other", id="deep"),
        pytest.param("(a{30}){30}", "too large: at most 600 characters", id="large"),
        pytest.param("(a?){200}", "too large: too much of it can be left out", id="wide"),
    ],
)
def test_a_pattern_that_is_not_taken_is_told_why(pattern: str, said: str) -> None:
    with pytest.raises(MalformedError) as caught:
        expression.parse(pattern)
    assert caught.value.code is Code.MALFORMED
    assert said in caught.value.detail


def test_a_glob_has_no_third_kind_of_star() -> None:
    with pytest.raises(MalformedError, match=r"\* or \*\* expected, found \*\*\*"):
        expression.parse_glob("a/***")


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", r"\.", "/", "[a-z/]", r"\d", "^", "$", "ä"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,}"])).map(lambda p: f"(?:{p[0]}){p[1]}"),
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(PATTERNS, st.text("ab./1ä", min_size=1, max_size=6))
def test_the_automaton_reads_whatever_is_matched(pattern: str, text: str) -> None:
    try:
        parsed = expression.parse(pattern)
    except MalformedError:
        return
    if parsed.matches(text):
        assert accepts(parsed.automaton, text)
    if not re.search(r"(?<!\[)[\^$]", pattern):  # without assertions it reads nothing else
        assert parsed.matches(text) == accepts(parsed.automaton, text)
        assert parsed.automaton.empty == (re.fullmatch(pattern, "") is not None)


@settings(max_examples=300)
@given(st.text(st.sampled_from("ab-^]\\d[.:&~z"), min_size=1, max_size=7), st.sampled_from("ab-^]\\d[.:&~z0ä c"))
def test_classes_are_read_as_they_are_matched(inside: str, character: str) -> None:
    try:
        parsed = expression.parse(f"[{inside}]")
    except MalformedError:
        return
    assert parsed.matches(character) == accepts(parsed.automaton, character)


@settings(max_examples=300)
@given(st.text(st.sampled_from(r"ab.*+?()[]{}|\^$-0,1:/"), max_size=20))
def test_any_text_is_taken_or_refused(pattern: str) -> None:
    with contextlib.suppress(MalformedError):
        assert expression.parse(pattern).pattern == pattern


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "(a|aa)+b", "([a-z]+)*1", ".*.*.*.*.*x"])
def test_no_pattern_takes_long(pattern: str) -> None:
    parsed = expression.parse(pattern)
    started = time.process_time()
    assert not parsed.matches("a" * expression.MAX_TEXT_CHARS)
    assert time.process_time() - started < 0.2


def test_two_of_the_same_pattern_are_equal() -> None:
    assert expression.parse("a+b") == expression.parse("a+b") != expression.parse("a+c")
