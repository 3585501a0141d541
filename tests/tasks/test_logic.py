"""Logic puzzles: questions that can be read back, one right option, keys that know no language, strict grading."""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.models.tiny.web.author import Author
from aha.models.tiny.web.logic import logic_page
from aha.tasks import logic
from aha.tasks.logic import CLAIMS, LETTERS, NAMES, RELATIONS, Claim, Clue, Logic, Ordering, Puzzle, TruthTellers
from aha.tasks.splits import split_of
from aha.types import Problem, Score, Split

SPLITS: tuple[Split, ...] = ("train", "test")
LANGUAGES = ("en", "zh")
TASKS = [Logic(), Logic(seed=7, chinese=1.0), Logic(people=6, chinese=0.5), Logic(people=3)]

CLUE = {"en": re.compile(r"(\w\w) is (\w+?)er than (\w\w)\."), "zh": re.compile(r"(\w)比(\w)(\w)。")}
ASKED = {"en": re.compile(r"Who is the (|second |third )(\w+)est\? "), "zh": re.compile(r"谁(最|第二|第三)(\w)？ ")}
RANKS = {"": 1, "second ": 2, "third ": 3, "最": 1, "第二": 2, "第三": 3}
SAID = {"en": re.compile(r"(\w\w) says: (.+?)\."), "zh": re.compile(r"(\w)说：(.+?)。")}
OPTION = re.compile(r"\([A-Z]\) (.+?)(?= \(|$)")
WORDS = {
    word: (number, bool(least))
    for number, row in enumerate(RELATIONS)
    for words in row.values()
    for least, word in enumerate(words)
}

puzzles = st.integers(0, 10**9).map(lambda seed: logic.draw(random.Random(seed), 6))


def parse(question: str) -> Puzzle:
    """A puzzle, read back out of its words."""
    language = "zh" if "谁" in question else "en"
    asked = ASKED[language].search(question)
    names = {name: number for number, name in enumerate(NAMES[language])}
    options = OPTION.findall(question)
    if asked is None:
        return parse_truth(language, question, names, options)
    clues = []
    for found in CLUE[language].finditer(question):
        one, other, word = (found[1], found[2], found[3]) if language == "zh" else (found[1], found[3], found[2])
        relation, inverse = WORDS[word]
        first, second = names[one], names[other]
        clues.append(Clue(second, first, True) if inverse else Clue(first, second, False))
    (order,) = orders(tuple(clues))
    relation, least = WORDS[asked[2]]
    return Ordering(relation, order, tuple(clues), least, RANKS[asked[1]], tuple(names[text] for text in options))


def parse_truth(language: str, question: str, names: dict[str, int], options: list[str]) -> TruthTellers:
    said = SAID[language].findall(question)
    people = tuple(names[name] for name, _ in said)
    claims = []
    for _, text in said:
        (claim,) = (
            Claim(word, people.index(other))
            for word, texts in CLAIMS.items()
            for other in people
            if texts[language].replace("OTHER", NAMES[language][other]) == text
        )
        claims.append(claim)
    choices = tuple(
        tuple(NAMES[language][person] in text or text in ("both", "all", "所有人") for person in people)
        for text in options
    )
    return TruthTellers(people, tuple(claims), choices)


def orders(clues: tuple[Clue, ...]) -> list[tuple[int, ...]]:
    """Every order that agrees with the clues."""
    people = {person for clue in clues for person in (clue.more, clue.less)}
    return [
        order
        for order in itertools.permutations(sorted(people))
        if all(order.index(clue.more) < order.index(clue.less) for clue in clues)
    ]


def value(problem: Problem, answer: str | None) -> float:
    outcome = Logic().grade(problem, answer)
    assert isinstance(outcome, Score)
    return outcome.value


@given(puzzles, st.sampled_from(LANGUAGES))
def test_a_question_says_all_of_its_puzzle(puzzle: Puzzle, language: str) -> None:
    assert parse(puzzle.question(language)) == puzzle
    assert len(puzzle.question(language).split()) < 60


@given(puzzles)
def test_one_option_is_right(puzzle: Puzzle) -> None:
    for language in LANGUAGES:
        options = puzzle.options(language)
        assert puzzle.right in options and len(set(options.values())) == len(options) == len(puzzle.choices)
    if isinstance(puzzle, Ordering):
        assert orders(puzzle.clues) == [puzzle.order] and set(puzzle.choices) == set(puzzle.order)
        place = -puzzle.rank if puzzle.least else puzzle.rank - 1
        assert puzzle.options("en")[puzzle.right] == NAMES["en"][puzzle.order[place]]
    else:
        assert len(puzzle.choices) == {2: 4, 3: 3}[len(puzzle.people)]
        assert puzzle.choices[LETTERS.index(puzzle.right)] == agreeing(puzzle)


def agreeing(puzzle: TruthTellers) -> tuple[bool, ...]:
    """The one way of telling truth and lies apart that agrees with the statements, as sets of those who tell it."""
    meaning = {
        "lies": lambda i, j, honest: j not in honest,
        "true": lambda i, j, honest: j in honest,
        "like": lambda i, j, honest: len({i, j} & honest) != 1,
        "unlike": lambda i, j, honest: len({i, j} & honest) == 1,
        "both": lambda i, j, honest: not {i, j} & honest,
    }
    everyone = range(len(puzzle.people))
    subsets = [set(s) for size in range(len(everyone) + 1) for s in itertools.combinations(everyone, size)]
    (found,) = (
        honest
        for honest in subsets
        if all(meaning[claim.word](i, claim.other, honest) == (i in honest) for i, claim in enumerate(puzzle.claims))
    )
    return tuple(i in found for i in everyone)


@given(puzzles, st.randoms(use_true_random=False))
def test_the_key_knows_no_order_of_options_or_clues(puzzle: Puzzle, rng: random.Random) -> None:
    shuffled: Puzzle
    if isinstance(puzzle, Ordering):
        clues = [replace(clue, inverse=rng.random() < 0.5) for clue in puzzle.clues]
        choices = tuple(rng.sample(puzzle.choices, len(puzzle.choices)))
        other_end = len(puzzle.order) + 1 - puzzle.rank
        shuffled = replace(puzzle, clues=tuple(rng.sample(clues, len(clues))), choices=choices)
        assert replace(shuffled, least=not puzzle.least, rank=other_end).key == puzzle.key
        assert replace(puzzle, rank=puzzle.rank % len(puzzle.order) + 1).key != puzzle.key
    else:
        places = rng.sample(range(len(puzzle.people)), len(puzzle.people))
        shuffled = TruthTellers(
            tuple(puzzle.people[place] for place in places),
            tuple(Claim(puzzle.claims[p].word, places.index(puzzle.claims[p].other)) for p in places),
            tuple(tuple(states[p] for p in places) for states in reversed(puzzle.choices)),
        )
    assert shuffled.key == puzzle.key


def test_an_ordering_reads_well() -> None:
    puzzle = Ordering(0, (2, 0, 1), (Clue(0, 1, False), Clue(2, 0, True)), False, 2, (1, 0, 2))
    assert puzzle.question("en") == (
        "Bo is taller than Cy. Bo is shorter than Di. Who is the second tallest? (A) Cy (B) Bo (C) Di"
    )
    assert puzzle.question("zh") == "甲比乙高。甲比丙矮。谁第二高？ (A) 乙 (B) 甲 (C) 丙"
    assert puzzle.right == "B"
    assert replace(puzzle, least=True, rank=1).question("en").endswith("Who is the shortest? (A) Cy (B) Bo (C) Di")
    assert replace(puzzle, least=True, rank=1).right == "A"


def test_truth_tellers_read_well() -> None:
    puzzle = TruthTellers(
        (0, 1), (Claim("lies", 1), Claim("both", 0)), ((True, True), (False, True), (False, False), (True, False))
    )
    assert puzzle.question("en") == (
        "Each of Bo and Cy always tells the truth or always lies. Bo says: Cy lies. Cy says: Bo and I lie. "
        "Who tells the truth? (A) both (B) only Cy (C) nobody (D) only Bo"
    )
    assert puzzle.question("zh") == (
        "甲、乙每人总说真话或总说谎。甲说：乙说谎。乙说：甲和我都说谎。谁说真话？ "
        "(A) 所有人 (B) 只有乙 (C) 没有人 (D) 只有甲"
    )
    assert puzzle.right == "D"


def test_three_truth_tellers_read_well() -> None:
    claims = (Claim("true", 1), Claim("like", 2), Claim("unlike", 0))
    puzzle = TruthTellers((4, 5, 6), claims, ((True, True, True), (False, True, True), (False, False, True)))
    assert puzzle.question("en") == (
        "Each of Jo, Li and Mo always tells the truth or always lies. Jo says: Li tells the truth. "
        "Li says: Mo is like me. Mo says: Jo is unlike me. Who tells the truth? (A) all (B) Li and Mo (C) only Mo"
    )
    assert puzzle.question("zh").endswith("谁说真话？ (A) 所有人 (B) 己和庚 (C) 只有庚")
    assert logic.consistent(claims) == ((False, False, True),) and puzzle.right == "C"


def test_claims_can_leave_no_way_or_several() -> None:
    assert logic.consistent((Claim("lies", 1), Claim("true", 0))) == ()
    assert logic.consistent((Claim("lies", 1), Claim("lies", 0))) == ((True, False), (False, True))


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_every_question_is_in_the_split_of_what_it_asks(task: Logic) -> None:
    for split in SPLITS:
        kinds = set()
        for index in range(150):
            problem = task.problem(split, index)
            puzzle = parse(problem.messages[0].content)
            assert split_of(puzzle.key) == split and problem.hidden["structure"] == puzzle.key
            assert problem.reference == problem.hidden["right"] == puzzle.right
            assert problem.hidden["options"] == puzzle.options(problem.language)
            kinds.add(problem.hidden["kind"])
        assert kinds == {"ordering", "truth"}


def test_splits_do_not_overlap_across_seeds_and_languages() -> None:
    asked: dict[Split, set[str]] = {
        split: {
            parse(Logic(seed=seed, chinese=chinese).problem(split, i).messages[0].content).key
            for seed, chinese in ((0, 0.0), (0, 1.0), (1, 0.5))
            for i in range(150)
        }
        for split in SPLITS
    }
    assert len(asked["test"]) > 120 and not asked["train"] & asked["test"]


@pytest.mark.parametrize("kind", ["ordering", "truth"])
def test_each_split_holds_thousands_of_problems(kind: str) -> None:
    rng, make = random.Random(0), {"ordering": logic.draw_ordering, "truth": logic.draw_truth_tellers}[kind]
    keys = {make(rng).key for _ in range(30_000)}
    for split in SPLITS:
        assert sum(split_of(key) == split for key in keys) > 2000


def test_no_page_of_the_web_holds_a_test_problem() -> None:
    rng = random.Random(0)
    for _ in range(600):
        question, _, _ = logic_page(rng, Author.draw(rng))
        assert split_of(parse(question).key) == "train", question


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_the_grader_proves_itself(task: Logic) -> None:
    for split in SPLITS:
        for index in range(100):
            problem = task.problem(split, index)
            assert value(problem, task.gold(problem)) == 1.0
            assert value(problem, task.wrong(problem)) == value(problem, None) == 0.0
            assert value(problem, problem.hidden["options"][problem.reference]) == 1.0


def test_the_same_index_is_the_same_problem() -> None:
    task = Logic(seed=3)
    assert task.size("train") is None
    assert [task.problem("train", i) for i in range(20)] == [task.problem("train", i) for i in range(20)]
    assert len({task.problem("train", i).messages for i in range(20)}) == 20
    assert task.problem("test", 4) == Logic().problem("test", 4)
    assert task.problem("train", 4) != Logic().problem("train", 4)


PROBLEM = Problem(
    "p", "logic", (), "C", hidden={"options": {"A": "only Bo", "B": "Bo and Cy", "C": "Cy", "D": "both"}, "right": "C"}
)


@pytest.mark.parametrize("answer", ["C", "c", "(C)", "(c)", "C.", "(C).", " C \n", "（C）", "C。", "Cy"])
def test_the_right_option_is_accepted(answer: str) -> None:
    assert value(PROBLEM, answer) == 1.0
    assert Logic().vote_key(PROBLEM, answer) == "C"


@pytest.mark.parametrize("answer", ["A", "(b)", "D.", "only Bo", "Bo and Cy", "both"])
def test_another_option_scores_0_and_votes(answer: str) -> None:
    assert value(PROBLEM, answer) == 0.0
    assert Logic().vote_key(PROBLEM, answer) in ("A", "B", "D")


HOSTILE = [
    "", " ", "E", "Z", "C or D", "C, D", "A B C D", "ABCD", "(A)(C)", "C) Cy", "(C) Cy", "(C", "C)", "((C))", "C!",
    "C..", "cy", "CY", "Cy.", "Cy Cy", "the answer is C", "not C", "Ｃ", "С", "ç", "C\u0301", "ⓒ", "\x00", "\ud800",
    "1", "None", "C" * 10_000, "(" * 10_000 + "C" + ")" * 10_000, "__import__('os').system('x')", "C\nA", "{right}",
    "<b>C</b>",
]  # fmt: skip


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda s: ascii(s[:16]))
def test_nothing_else_is_an_answer(answer: str) -> None:
    assert value(PROBLEM, answer) == 0.0
    assert Logic().vote_key(PROBLEM, answer) is None


@given(st.text(max_size=200) | st.text("ABCDabcd().。（） ", max_size=6))
def test_grading_and_voting_never_crash(answer: str) -> None:
    for task in TASKS[:2]:
        problem = task.problem("test", 0)
        score = value(problem, answer)
        assert score in (0.0, 1.0)
        assert (score == 1.0) == (task.vote_key(problem, answer) == problem.reference)


def test_letters_and_names_cannot_be_confused() -> None:
    for language in LANGUAGES:
        assert len(set(NAMES[language])) == len(NAMES["en"])
        assert all(logic.read(name, {"A": "x", "B": "y"}) is None for name in NAMES[language])
