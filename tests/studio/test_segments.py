from __future__ import annotations

from aha.studio.segments import segments, visible


def kinds(response: str) -> list[tuple[str, str]]:
    return [(part.kind, part.text) for part in segments(response)]


def test_thinking_answer_tags_and_turns() -> None:
    assert kinds("<think>3*5=15. wait, no</think><answer>wait</answer>") == [
        ("tag", "<think>"), ("think", "3*5=15. "), ("turn", "wait"), ("think", ", no"), ("tag", "</think>"),
        ("tag", "<answer>"), ("answer", "wait"), ("tag", "</answer>"),
    ]  # fmt: skip


def test_the_prompt_may_have_opened_the_thinking() -> None:
    assert kinds("6*2=12</think>12") == [("think", "6*2=12"), ("tag", "</think>"), ("plain", "12")]


def test_unclosed_and_empty() -> None:
    assert kinds("<think>等等，3") == [("tag", "<think>"), ("turn", "等等"), ("think", "，3")]
    assert kinds("") == []


def test_nothing_is_lost() -> None:
    response = "<think>a <b> wait awaits</answer></think>\n\tx"
    assert "".join(part.text for part in segments(response)) == response
    assert ("turn", "awaits") not in kinds(response)


def test_what_a_terminal_would_obey_is_shown() -> None:
    assert visible("a\x1b[2J\x07\u202eb\r\n中\ud800") == "a\ufffd[2J\ufffd\ufffdb\n中\ufffd"
