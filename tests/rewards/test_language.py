"""Language consistency: words by script, shares of known mixtures, and what is no word."""

from __future__ import annotations

import itertools
import random
import re
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_rollouts import TASK, rollout, score

from aha.errors import UserError
from aha.rewards.language import WRITING, detector, language, language_detected, language_share, words_by_writing
from aha.types import Abstain

# A sum as it is worked out in each of the languages of MGSM; no foreign word in any.
WORKED = {
    "bn": [
        "মিনার কাছে 12টি আপেল ছিল।", "সে তার ভাইকে 5টি আপেল দিয়েছে।", "তাই এখন তার কাছে 7টি আপেল আছে।",
        "আমি আবার হিসাব করে দেখি, উত্তর ঠিক আছে।",
    ],
    "de": [
        "Mina hatte zwölf Äpfel im Korb.", "Sie gab ihrem Bruder fünf davon.",
        "Also bleiben ihr jetzt noch sieben Äpfel.", "Ich prüfe das: 12 - 5 = 7, es stimmt.",
    ],
    "en": [
        "Mina had twelve apples in a basket.", "She gave five of them to her brother.",
        "So she's left with seven apples now.", "Let me check: 12 - 5 = 7, and I am right.",
    ],
    "es": [
        "Mina tenía doce manzanas en la cesta.", "Le dio cinco a su hermano y a su prima.",
        "Por eso ahora le quedan siete manzanas.", "Compruebo: 12 - 5 = 7, está bien.",
    ],
    "fr": [
        "Mina avait douze pommes dans l'armoire.", "Elle en a donné cinq à son frère.",
        "Il lui reste donc sept pommes aujourd'hui.", "Je vérifie : 12 - 5 = 7, c'est juste.",
    ],
    "ja": [
        "ミナはりんごを12個持っていました。", "弟に5個あげました。", "だから今は7個残っています。",
        "もう一度計算して、答えを確かめます。",
    ],
    "ru": [
        "У Мины было двенадцать яблок в корзине.", "Она отдала брату пять из них.",
        "Значит, теперь у неё осталось семь яблок.", "Проверю ещё раз: 12 - 5 = 7, всё верно.",
    ],
    "sw": [
        "Mina alikuwa na matufaha kumi na mawili.", "Alimpa kaka yake matano kati ya hayo.",
        "Kwa hiyo sasa amebaki na matufaha saba.", "Ngoja nihakikishe: 12 - 5 = 7, ni sawa.",
    ],
    "te": [
        "మీనా దగ్గర 12 ఆపిల్ పండ్లు ఉన్నాయి.", "ఆమె తన తమ్ముడికి 5 పండ్లు ఇచ్చింది.",
        "కాబట్టి ఇప్పుడు ఆమె దగ్గర 7 పండ్లు మిగిలాయి.", "మళ్ళీ లెక్క చూస్తాను, సమాధానం సరైనదే.",
    ],
    "th": [
        "มีนามีแอปเปิล 12 ผล", "เธอให้น้องชายไป 5 ผล", "ดังนั้นตอนนี้เธอเหลือแอปเปิล 7 ผล",
        "ฉันตรวจอีกครั้งแล้วคำตอบถูกต้อง",
    ],
    "zh": [
        "米娜的篮子里有12个苹果。", "她给了弟弟其中的5个。", "所以现在她还剩下7个苹果。",
        "我再检查一遍，答案是对的。",
    ],
}  # fmt: skip
MATHS = [
    "\\(x^2 + \\text{speed}\\)", "$\\frac{1}{2}$", "`print(total)`", "```python\nfor name in names:\n    pass\n```",
    "$x=3$", "12 - 5 = 7",
]  # fmt: skip


def weight(code: str, text: str) -> float:
    """The words of a text known to be all in `code`, counted without the reward's own tables."""
    if code in ("zh", "ja"):
        return len(re.findall("[\u3041-\u30ff\u3400-\u9fff]", text)) / {"zh": 1.5, "ja": 2.25}[code]
    if code == "th":
        return len(re.findall("[\u0e01-\u0e4e]", text)) / 4.5
    return sum(1 for token in text.split() if any(char.isalpha() for char in token))


@pytest.mark.parametrize("code", WORKED)
def test_a_text_of_one_language(code: str) -> None:
    text = "\n".join(WORKED[code])
    found = language_share(text, code)
    assert found is not None and found.share == 1.0 and found.words == pytest.approx(weight(code, text))
    for other in WORKED:
        if WRITING[other] != WRITING[code]:
            share = language_share(text, other)
            assert share is not None and share.share == 0.0


@pytest.mark.parametrize("target", WORKED)
def test_known_mixtures_to_a_hundredth(target: str) -> None:
    rng = random.Random(target)
    others = [code for code in WORKED if WRITING[code] != WRITING[target]]
    for other, share in itertools.product(others, range(1, 8)):
        own, foreign = rng.choices(WORKED[target], k=share), rng.choices(WORKED[other], k=8 - share)
        mixed = own + foreign
        rng.shuffle(mixed)
        text = "\n".join(f"{sentence} {rng.choice(MATHS)}" for sentence in mixed)
        a, b = sum(weight(target, s) for s in own), sum(weight(other, s) for s in foreign)
        found = language_share(text, target)
        assert found is not None and abs(found.share - a / (a + b)) <= 0.01, (other, text)


def test_two_languages_in_one_sentence() -> None:
    found = language_share("我们先算乘法, then we add the rest", "zh")  # 6 / 1.5 = 4 words, and 5
    assert found is not None and found.share == pytest.approx(4 / 9) and found.words == 9


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("設 x 為 3", {"chinese": 2 / 1.5}),
        ("3x + 2y = x2, 5 km, 12kg", {}),
        ("I have a dog", {"latin": 4}),
        ("vamos y a su", {"latin": 4}),
        ("va à l'école", {"latin": 3}),
        ("don't l'école vingt-deux", {"latin": 3}),
        ("e\u0301cole", {"latin": 1}),
        ("合計金額", {"chinese": 4 / 1.5}),
        ("合計は5円", {"japanese": 4 / 2.25}),
        ("ภาษาไทย", {"thai": 7 / 4.5}),
        ("привет мир", {"cyrillic": 2}),
        ("안녕 세상 hello", {"hangul": 2, "latin": 1}),
        ("123 + ٣ = ½ ... !", {}),
    ],
)
def test_words(text: str, words: dict[str, float]) -> None:
    assert words_by_writing(text) == pytest.approx(words)


def test_short_han_in_japanese_is_japanese() -> None:
    text = "合計金額\n残りは7個です。"
    japanese, chinese = language_share(text, "ja"), language_share(text, "zh")
    assert japanese is not None and japanese.share == 1.0
    assert chinese is not None and chinese.share == pytest.approx((4 / 1.5) / (4 / 1.5 + 6 / 2.25))


def test_money_is_no_formula() -> None:
    text = "他有 $10 and then she gives him $20 个"
    found = language_share(text, "en")
    assert found is not None and found.words == pytest.approx(5 + 3 / 1.5)


def test_the_reward() -> None:
    assert score(language(TASK, rollout("<think>先算乘法</think>so", language="zh-CN"))) == 1.0
    assert score(language(TASK, rollout("<think>先算乘法</think>so", language="en"))) == 0.0
    assert isinstance(language(TASK, rollout("<think>3*5=15</think>so")), Abstain)
    assert isinstance(language(TASK, rollout("no thinking at all")), Abstain)
    with pytest.raises(UserError, match="language 'klingon' is not known"):
        language(TASK, rollout("<think>a word</think>", language="klingon"))


def test_a_detector_counts_by_sentence() -> None:
    def told(sentence: str) -> str:
        return "de" if "der" in sentence else "en"

    text = "one two three four five six seven eight. der zwei drei vier fünf sechs sieben acht. 三个字"
    found = language_share(text, "en", told)
    assert found is not None and found.share == pytest.approx(8 / 18)


def test_short_sentences_are_told_together() -> None:
    seen: list[str] = []

    def told(sentence: str) -> str:
        seen.append(sentence)
        return "en"

    language_share("Wait. No. It is so. We have it.", "en", told)
    assert seen == ["Wait. No. It is so. We have it."]


def test_without_the_detectors_library(monkeypatch: pytest.MonkeyPatch) -> None:
    from aha.rewards import language as module

    module._identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(UserError, match="pip install py3langid"):
        language_detected(TASK, rollout("<think>a word</think>"))


def test_py3langid_tells_latin_languages_apart() -> None:
    pytest.importorskip("py3langid", reason="py3langid is not installed: pip install py3langid")
    latin = [code for code in WORKED if WRITING[code] == "latin"]
    for code in latin:
        text = " ".join(WORKED[code])
        assert score(language_detected(TASK, rollout(f"<think>{text}</think>", language=code))) == 1.0
        other = latin[latin.index(code) - 1]
        assert score(language_detected(TASK, rollout(f"<think>{text}</think>", language=other))) == 0.0
    with pytest.raises(UserError, match="cannot tell 'wo'"):
        detector("wo")


@given(st.text(max_size=100), st.sampled_from(sorted(WORKED)))
def test_a_share_is_a_share(text: str, target: str) -> None:
    found = language_share(text, target)
    assert found is None or (0.0 <= found.share <= 1.0 and found.words > 0)


@pytest.mark.parametrize("part", ["a", "a ", "等", "ก", "x-", "'", "1 ", "e\u0301", "a'", "কা", "a. ", "あ", "$a"])
def test_time_is_linear(part: str) -> None:
    began = time.process_time()
    language_share(part * (100_000 // len(part)), "ja")
    assert time.process_time() - began < 3.0
