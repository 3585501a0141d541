"""The language consistency reward: the share of the chain of thought's words that are in the problem's language.

    language_share("先算 3*5，then add 7", "zh")     # LanguageShare(share=0.4, words=3.33...)

Source: DeepSeek-R1, arXiv 2501.12948 v2, eq. 7: Num(words in the target language) / Num(words). Code, formulas, numbers
and names of variables are no words. By default a word's language is told by its script alone, so that all languages of
the Latin script count as one; a detector (`pip install py3langid`) tells languages of one script apart, sentence by
sentence.

What a word is, by script: a run of letters between spaces; where no spaces are written, so many characters as stand for
one English word in the same text, which makes a sentence weigh as much as its translation. The figures are those of
MGSM (Shi et al., arXiv 2210.03057), 250 questions in each language: 1.50 Chinese, 2.25 Japanese, 4.52 Thai characters.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aha.errors import UserError
from aha.protocols import Task
from aha.rewards.prose import prose
from aha.types import Abstain, Outcome, Rollout, Score

# Letters, with the marks that combine with them, of each script as ranges of a character class.
SCRIPTS: dict[str, str] = {
    "latin": "A-Za-zªºÀ-ÖØ-öø-ʯ\u0300-\u036fḀ-ỿ",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "cyrillic": "\u0400-\u052f\u1c80-\u1c8f",
    "armenian": "\u0531-\u0556\u0560-\u0588",
    "hebrew": "\u0591-\u05f4\ufb1d-\ufb4f",
    "arabic": "\u0610-\u061a\u0620-\u065f\u066e-\u06d3\u06d5-\u06ef\u06fa-\u06ff"
    "\u0750-\u077f\ufb50-\ufdfb\ufe70-\ufefc",
    "devanagari": "\u0900-\u0963\u0971-\u097f",
    "bengali": "\u0980-\u09e3\u09f0\u09f1",
    "gurmukhi": "\u0a00-\u0a5e\u0a70-\u0a76",
    "gujarati": "\u0a80-\u0ae3",
    "oriya": "\u0b00-\u0b63\u0b71",
    "tamil": "\u0b80-\u0bd7",
    "telugu": "\u0c00-\u0c63",
    "kannada": "\u0c80-\u0ce3",
    "malayalam": "\u0d00-\u0d63\u0d7a-\u0d7f",
    "sinhala": "\u0d80-\u0df4",
    "georgian": "\u10a0-\u10ff\u1c90-\u1cbf",
    "ethiopic": "\u1200-\u135f\u1380-\u138f",
    "hangul": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "han": "々〇\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "kana": "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\uff66-\uff9d",
    "thai": "\u0e01-\u0e3a\u0e40-\u0e4e",
    "lao": "\u0e81-\u0ecd\u0edc-\u0edf",
    "myanmar": "\u1000-\u103f\u1050-\u108f",
    "khmer": "\u1780-\u17d3",
}
# Lao, Burmese and Khmer write syllables as Thai does, and are not in MGSM.
CHARACTERS_PER_WORD = {"chinese": 1.5, "japanese": 2.25, "thai": 4.5, "lao": 4.5, "myanmar": 4.5, "khmer": 4.5}

_BY_CHARACTER = {"han", "kana", *CHARACTERS_PER_WORD}

_LATIN = """af az br bs ca ceb cs cy da de en eo es et eu fi fil fo fr fy ga gd gl ha hr ht hu id ig is it jv ku la lb
ln lt lv mg ms mt nb nl nn no oc om pl pt qu ro rw sk sl sn so sq st su sv sw tk tl tr uz vi wo xh yo zu"""
WRITING: dict[str, str] = {  # language -> how it is written; a script, but for the two that share Han
    "zh": "chinese", "yue": "chinese", "ja": "japanese", "ko": "hangul", "el": "greek", "hy": "armenian",
    "he": "hebrew", "yi": "hebrew", "hi": "devanagari", "mr": "devanagari", "ne": "devanagari", "sa": "devanagari",
    "bn": "bengali", "as": "bengali", "pa": "gurmukhi", "gu": "gujarati", "or": "oriya", "ta": "tamil", "te": "telugu",
    "kn": "kannada", "ml": "malayalam", "si": "sinhala", "ka": "georgian", "am": "ethiopic", "ti": "ethiopic",
    "th": "thai", "lo": "lao", "my": "myanmar", "km": "khmer",
    **dict.fromkeys(["ru", "uk", "be", "bg", "mk", "sr", "kk", "ky", "mn", "tg", "tt", "ba"], "cyrillic"),
    **dict.fromkeys(["ar", "arz", "ary", "fa", "ur", "ps", "ug", "sd", "ckb"], "arabic"),
    **dict.fromkeys(_LATIN.split(), "latin"),
}  # fmt: skip

_SCRIPT_PATTERNS = {name: rf"[{letters}]+(?:['’\u200c-][{letters}]+)*" for name, letters in SCRIPTS.items()}
_WORD = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _SCRIPT_PATTERNS.items()))
_SENTENCE_END = re.compile(r"[!?。！？…؟।॥\n]+|\.(?!\d)")
_NEXT_WORD = re.compile(r"\s(?:[A-Za-zÀ-ɏ][\s'’])?[A-Za-zÀ-ɏ]{2}")  # `y a su`, `à l'eau`
UNITS = frozenset(["mm", "cm", "dm", "km", "ml", "kg", "mg", "min", "kb", "mb", "gb"])  # no words after a number
SHORT_HAN = 6  # characters; a shorter sentence without kana may be Japanese: `合計金額`
SENTENCE_WORDS = 8  # shorter sentences are told together with the next ones

Detector = Callable[[str], str]  # a sentence -> the code of its language


@dataclass(frozen=True, slots=True)
class LanguageShare:
    """The share of the target's words, and how many words there are in all (a Han character is 2/3 of one)."""

    share: float
    words: float


def code_of(language: str) -> str:
    """`zh-CN` is zh."""
    return language.strip().lower().replace("_", "-").partition("-")[0]


def writing_of(language: str) -> str:
    """How `language` is written: `zh-CN` is "chinese", `en` "latin". Raises UserError for a code that is not known."""
    code = code_of(language)
    if code not in WRITING:
        raise UserError(f"language {language!r} is not known; give an ISO 639 code such as en, zh, ja, ru, th or bn")
    return WRITING[code]


def language_share(text: str, target: str, detect: Detector | None = None) -> LanguageShare | None:
    """How much of the prose in `text` is in the language `target`; None where there are no words.

    With `detect`, a sentence in the target's script counts only where it says `target`. Raises UserError for a
    language that is not known.
    """
    writing = writing_of(target)
    sentences = [(sentence, words_by_writing(sentence, writing)) for sentence in _sentences(prose(text))]
    total = sum(sum(words.values()) for _, words in sentences)
    if not total:
        return None
    if detect is None:
        found = sum(words.get(writing, 0.0) for _, words in sentences)
    else:
        own = [(sentence, words[writing]) for sentence, words in sentences if writing in words]
        found = sum(count for passage, count in _passages(own) if detect(passage) == code_of(target))
    return LanguageShare(min(found / total, 1.0), total)


def words_by_writing(sentence: str, target: str = "") -> dict[str, float]:
    """Number of words of one sentence by how they are written: "latin", "chinese", "japanese", "thai" ...

    Han is Japanese in a sentence that holds kana, else Chinese; a short sentence of Han alone is what `target` is.
    """
    counts: Counter[str] = Counter()
    for match in _WORD.finditer(sentence):
        script = match.lastgroup or ""
        if script in _BY_CHARACTER:
            counts[script] += match.end() - match.start()
        elif script != "latin" or _is_latin_word(sentence, match):
            counts[script] += 1
    han, kana = counts.pop("han", 0), counts.pop("kana", 0)
    if han + kana:
        japanese = kana or (target == "japanese" and han <= SHORT_HAN)
        counts["japanese" if japanese else "chinese"] = han + kana
    return {script: count / CHARACTERS_PER_WORD.get(script, 1) for script, count in counts.items()}


def _is_latin_word(text: str, match: re.Match[str]) -> bool:
    """Whether Latin letters are a word, not a variable (`x`), a part of a formula (`3x`, `x2`) or a unit (`5 km`)."""
    start, end = match.span()
    before, after = text[max(0, start - 2) : start], text[end : end + 1]
    if before[-1:].isdigit() or before[-1:] in ("_", "^", "\\") or after.isdigit() or after in ("_", "^"):
        return False
    if before[-1:] == " " and before[:1].isdigit() and match[0].lower() in UNITS:
        return False
    return len(match[0]) > 1 or _NEXT_WORD.match(text, end) is not None


def _sentences(text: str) -> Iterator[str]:
    text = unicodedata.normalize("NFC", text)
    place = 0
    for end in _SENTENCE_END.finditer(text):
        yield text[place : end.end()]
        place = end.end()
    yield text[place:]


def _passages(sentences: list[tuple[str, float]]) -> Iterator[tuple[str, float]]:
    """Sentences with their words, the short ones joined until they are long enough to be told."""
    parts: list[str] = []
    words = 0.0
    for sentence, count in sentences:
        parts.append(sentence.strip())
        words += count
        if words >= SENTENCE_WORDS:
            yield " ".join(parts), words
            parts, words = [], 0.0
    if parts:
        yield " ".join(parts), words


def detector(target: str) -> Detector:
    """A detector that tells `target` from the other languages of its script (py3langid's, all that it knows).

    Raises UserError where py3langid is missing or does not know the language.
    """
    identifier = _identifier()
    writing = writing_of(target)
    candidates = {label for label in identifier.labels if WRITING.get(label) == writing}
    if code_of(target) not in candidates:
        raise UserError(f"py3langid cannot tell {target!r}; use the reward 'language', which goes by the script")

    def detect(sentence: str) -> str:
        return next((label for label, _ in identifier.rank(sentence) if label in candidates), "")

    return detect


@functools.cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise UserError("telling languages of one script apart needs py3langid: pip install py3langid") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE)


def language(task: Task, rollout: Rollout) -> Outcome:
    """The share of the chain of thought that is in the problem's language, told by script. Abstains without prose."""
    return _outcome(rollout, None)


def language_detected(task: Task, rollout: Rollout) -> Outcome:
    """As `language`, with languages of one script told apart by a detector. Raises UserError without py3langid."""
    return _outcome(rollout, detector(rollout.problem.language))


def _outcome(rollout: Rollout, detect: Detector | None) -> Outcome:
    target = rollout.problem.language
    found = language_share(rollout.parsed.reasoning, target, detect)
    if found is None:
        return Abstain("no prose in the chain of thought")
    return Score(found.share, f"{found.share:.1%} of {found.words:.0f} words are in {target!r}")
