"""Which samples become conversations: filters by reward, ways of asking, and the refiner that stands in for a model."""

from __future__ import annotations

from collections.abc import Sequence

from aha.models.templates import parse
from aha.pipeline.conversations import Conversation
from aha.pipeline.refine import by_rules
from aha.pipeline.selection import Finished, Graded, Rules, Selected, select, table_of
from aha.pipeline.ways import ASK, direct, few_shot, plain
from aha.tasks.countdown import Countdown
from aha.tasks.decontaminate import grams_of_tests
from aha.types import Abstain, Completion, Failed, Message, Problem, Rollout, Score, Verdict

TASK = Countdown()
ASKED = Problem("p-1", "countdown", (Message("user", "Using each of 3, 5, 7 once and + - *, make 22."),), "3*5+7")


def rollout(text: str, problem: Problem = ASKED) -> Rollout:
    return Rollout(problem, (1,), Completion((1, 2), (0.0, 0.0), "stop", 0), text, parse(text))


def judged(**outcomes: float | str) -> Verdict:
    """A number is a score, a text a failure, "-" no opinion."""
    made = {
        k: Score(v) if not isinstance(v, str) else Abstain("") if v == "-" else Failed(v) for k, v in outcomes.items()
    }
    return Verdict(made, None)


def as_it_is(graded: Sequence[Graded]) -> list[Finished | str]:
    return [Finished(rollout.text, len(rollout.completion.ids)) for rollout, _ in graded]


def chosen(name: str, problem: Problem, pairs: list[Graded], rules: Rules) -> Selected:
    return select([name], [problem], [pairs], rules)


def test_the_first_that_pass_are_kept_and_all_others_counted() -> None:
    least = {"accuracy": 1.0, "language": 0.9}
    pairs = [
        (rollout("wrong"), judged(accuracy=0.0, language=1.0)),
        (rollout("mixed"), judged(accuracy=1.0, language=0.5)),
        (rollout("broken"), judged(accuracy="timeout", language=1.0)),
        (rollout("no words"), judged(accuracy=1.0, language="-")),
        (rollout("right"), judged(accuracy=1.0, language=0.9)),
        (rollout("also right"), judged(accuracy=1.0, language=1.0)),
    ]
    found = chosen("cold-7", ASKED, pairs, Rules(least, 2, as_it_is, frozenset()))
    assert [c.response for c in found.kept] == ["no words", "right"]
    assert [c.id for c in found.kept] == ["cold-7-3", "cold-7-4"]
    assert found.dropped == {"accuracy": 1, "language": 1, "failed": 1, "enough": 1}


def test_no_more_is_finished_than_is_needed() -> None:
    """In rounds, of all questions together: the second only has what the first has left wanting."""
    rounds: list[list[str]] = []

    def finish(graded: Sequence[Graded]) -> list[Finished | str]:
        rounds.append([rollout.text for rollout, _ in graded])
        return [
            "judge" if "bad" in rollout.text else Finished(rollout.text + "!", 7, "refined") for rollout, _ in graded
        ]

    fine = judged(accuracy=1.0)
    texts = [["bad 1", "bad 2", "good 3", "good 4"], ["good 1", "good 2", "good 3"], ["bad 1"], ["good 1"]]
    pairs = [[(rollout(text), fine) for text in own] for own in texts]
    found = select(list("abcd"), [ASKED] * 4, pairs, Rules({"accuracy": 1.0}, 2, finish, frozenset()))
    assert rounds == [["bad 1", "bad 2", "good 1", "good 2", "bad 1", "good 1"], ["good 3", "good 4"]]
    assert [[c.id for c in group] for group in found.groups] == [["a-2", "a-3"], ["b-0", "b-1"], [], ["d-0"]]
    assert found.groups[0][0].response == "good 3!" and found.groups[0][0].tokens == 7
    assert found.dropped == {"judge": 3, "enough": 1} and found.how == {"refined": 5}


def test_test_problems_stay_out() -> None:
    test = TASK.problem("test", 0)
    right = judged(accuracy=1.0)
    rules = Rules({"accuracy": 1.0}, 4, as_it_is, grams_of_tests([TASK], 10))
    assert +chosen("a", test, [(rollout("x", test), right)], rules).dropped == {"contaminated": 1}
    copied = rollout(f"as they ask: {test.messages[0].content}")
    assert not +chosen("a", ASKED, [(copied, right)], rules).dropped, "of an endless task the question itself counts"


def test_the_table_is_by_domain() -> None:
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    rows = [
        Conversation("1", "code", turns, "r", tokens=10),
        Conversation("2", "maths", turns[:1], "r", tokens=20),
        Conversation("3", "maths", turns[:1], "r", tokens=40),
    ]
    table = table_of(rows)
    assert table["maths"] == {"samples": 2, "turns": 1.0, "tokens": 30.0}
    assert table["total"]["samples"] == 3 and table["total"]["turns"] == 4 / 3
    assert table_of([]) == {"total": {"samples": 0, "turns": None, "tokens": None}}


def test_the_ways_to_put_a_question() -> None:
    example = Conversation("e", "countdown", (Message("user", "2+2?"),), "<think>long</think>")
    assert plain(ASKED, [example]) == ASKED
    assert [m.content for m in few_shot(ASKED, [example]).messages] == [
        "2+2?",
        "<think>long</think>",
        ASKED.messages[0].content,
    ]
    assert few_shot(ASKED, []) == ASKED
    assert direct(ASKED, []).messages[0].content == f"{ASKED.messages[0].content} {ASK['en']}"


def test_refined_by_rules() -> None:
    mixed = "<think> we need 22. 3*5=15: 15-7=8不行，等等，15+7=22对了！</think><answer>3*5+7</answer>"
    refined = by_rules(rollout(mixed))
    assert refined == "<think> i need 22. 3*5=15: 15-7=8 no, wait, 15+7=22 yes!</think><answer>3*5+7=22</answer>"
    assert by_rules(rollout("<think> 你好吗</think><answer>3*5+7</answer>")) is None, "words it does not know"
    assert by_rules(rollout("<answer>3*5+7</answer>")) is None and by_rules(rollout("<think>x")) is None
    zh = Problem("p", "functions", (Message("user", "?"),), "", language="zh")
    listed = "<think> 留偶数: [i for i in s if i%2==0]: f=3 yes, f=4对了！</think><answer>def f(s): return s</answer>"
    assert by_rules(rollout(listed, zh)) == listed.replace(" yes, ", "对，")
    zh = Problem("p", "countdown", (Message("user", "?"),), "", language="zh")
    text = "<think>目标是22。3*5=15 wait, 15+7=22 yes!</think><answer>15+7</answer>"
    assert by_rules(rollout(text, zh)) == "<think> 目标是22。3*5=15等等，15+7=22对了！</think><answer>15+7=22</answer>"
