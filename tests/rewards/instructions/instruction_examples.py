"""For each kind of instruction, responses that follow it and that break it, made from its arguments."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Maker = Callable[..., str]

TEXTS = {  # about bread, in each language: what an answer in it looks like
    "en": "Bread is one of the oldest foods that people make. Flour, water and salt are enough for a good loaf.",
    "de": "Brot ist eines der ältesten Lebensmittel, die Menschen herstellen. Mehl, Wasser und Salz genügen dafür.",
    "fr": "Le pain est l'un des plus anciens aliments que les hommes préparent. La farine, l'eau et le sel suffisent.",
    "es": "El pan es uno de los alimentos más antiguos que hacen las personas. Bastan la harina, el agua y la sal.",
    "it": "Il pane è uno dei cibi più antichi che gli uomini preparano. Bastano la farina, l'acqua e il sale.",
    "pt": "O pão é um dos alimentos mais antigos que as pessoas fazem. Bastam a farinha, a água e o sal para isso.",
    "fi": "Leipä on yksi vanhimmista ruoista, joita ihmiset valmistavat. Jauhot, vesi ja suola riittävät siihen hyvin.",
    "vi": "Bánh mì là một trong những món ăn lâu đời nhất mà con người làm ra. Chỉ cần bột mì, nước và muối là đủ.",
    "sw": "Mkate ni moja ya vyakula vya zamani zaidi ambavyo watu hutengeneza. Unga, maji na chumvi vinatosha kabisa.",
    "zh": "面包是人类最古老的食物之一。只要有面粉、水和盐就足够了。",
    "ja": "パンは人が作る最も古い食べ物のひとつです。小麦粉と水と塩があれば十分です。",
    "ko": "빵은 사람이 만드는 가장 오래된 음식 가운데 하나입니다. 밀가루와 물과 소금만 있으면 됩니다.",
    "th": "ขนมปังเป็นหนึ่งในอาหารที่เก่าแก่ที่สุดที่มนุษย์ทำขึ้น แป้ง น้ำ และเกลือก็เพียงพอแล้ว",
    "ru": "Хлеб является одним из самых древних продуктов, которые делают люди. Достаточно муки, воды и соли.",
    "bg": "Хлябът е една от най-старите храни, които хората приготвят. Достатъчни са брашно, вода и сол за това.",
    "ar": "الخبز هو أحد أقدم الأطعمة التي يصنعها الناس. يكفي الدقيق والماء والملح لصنع رغيف جيد في البيت.",
    "fa": "نان یکی از قدیمی‌ترین غذاهایی است که مردم درست می‌کنند. آرد و آب و نمک برای پختن آن کافی است.",
    "ur": "روٹی ان قدیم ترین کھانوں میں سے ایک ہے جو لوگ بناتے ہیں۔ اس کے لیے آٹا، پانی اور نمک کافی ہیں۔",
    "hi": "रोटी उन सबसे पुराने खाद्य पदार्थों में से एक है जो लोग बनाते हैं। इसके लिए आटा, पानी और नमक काफी हैं।",
    "mr": "पाव हा लोक बनवत असलेल्या सर्वात जुन्या पदार्थांपैकी एक आहे. त्यासाठी पीठ, पाणी आणि मीठ पुरेसे आहे.",
    "ne": "रोटी मानिसहरूले बनाउने सबैभन्दा पुरानो खानेकुरामध्ये एक हो। यसका लागि पीठो, पानी र नुन भए पुग्छ।",
    "bn": "রুটি মানুষের তৈরি সবচেয়ে পুরোনো খাবারগুলোর একটি। ময়দা, জল আর লবণ থাকলেই যথেষ্ট।",
    "pa": "ਰੋਟੀ ਲੋਕਾਂ ਦੇ ਬਣਾਏ ਸਭ ਤੋਂ ਪੁਰਾਣੇ ਖਾਣਿਆਂ ਵਿੱਚੋਂ ਇੱਕ ਹੈ। ਇਸ ਲਈ ਆਟਾ, ਪਾਣੀ ਅਤੇ ਲੂਣ ਕਾਫ਼ੀ ਹਨ।",
    "gu": "રોટલી લોકો બનાવે છે તે સૌથી જૂના ખોરાકમાંનો એક છે. તેના માટે લોટ, પાણી અને મીઠું પૂરતાં છે.",
    "ta": "ரொட்டி மக்கள் செய்யும் மிகப் பழமையான உணவுகளில் ஒன்று. மாவு, தண்ணீர், உப்பு இருந்தால் போதும்.",
    "te": "రొట్టె మనుషులు తయారుచేసే అతి పురాతన ఆహారాలలో ఒకటి. పిండి, నీరు, ఉప్పు ఉంటే చాలు.",
    "kn": "ರೊಟ್ಟಿ ಜನರು ತಯಾರಿಸುವ ಅತ್ಯಂತ ಹಳೆಯ ಆಹಾರಗಳಲ್ಲಿ ಒಂದು. ಹಿಟ್ಟು, ನೀರು ಮತ್ತು ಉಪ್ಪು ಸಾಕು.",
}


def times(relation: str, bound: int, follow: bool) -> int:
    """A count that is, or is not, `relation` `bound`."""
    return bound if (relation == "at least") == follow else bound - 1


def _counted(unit: str) -> Callable[[str, int, bool], str]:
    return lambda relation, bound, follow: "-" + unit * times(relation, bound, follow)


def _other(language: str) -> str:
    """An answer in another language, of the same script where there is one."""
    cousins = {"en": "de", "hi": "mr", "mr": "hi", "ne": "hi", "ru": "bg", "bg": "ru", "ar": "fa", "fa": "ar"}
    return TEXTS[cousins.get(language, "en")]


FOLLOW: dict[str, Maker] = {
    "keywords:existence": lambda keywords: "so " + " and ".join(keywords).upper(),
    "keywords:frequency": lambda keyword, relation, frequency: _counted(f"{keyword} ")(relation, frequency, True),
    "keywords:forbidden_words": lambda forbidden_words: "x" + "x x".join(forbidden_words) + "x",
    "keywords:letter_frequency": lambda letter, let_relation, let_frequency: _counted(letter.upper())(
        let_relation, let_frequency, True
    ),
    "language:response_language": lambda language: TEXTS[language],
    "length_constraints:number_sentences": lambda relation, num_sentences: _counted(" Dr. A. Who came.")(
        relation, num_sentences, True
    ),
    "length_constraints:number_paragraphs": lambda num_paragraphs: "\n***\n".join(["One part."] * num_paragraphs),
    "length_constraints:number_words": lambda relation, num_words: _counted("word ")(relation, num_words, True),
    "length_constraints:nth_paragraph_first_word": lambda num_paragraphs, nth_paragraph, first_word: "\n\n".join(
        f"*{first_word.upper()}, it is.\nGo on." if place == nth_paragraph else "A text."
        for place in range(1, num_paragraphs + 1)
    ),
    "detectable_content:number_placeholders": lambda num_placeholders: "[name] " * num_placeholders,
    "detectable_content:postscript": lambda postscript_marker: f"Dear you.\n\n{postscript_marker} Come soon",
    "detectable_format:number_bullet_lists": lambda num_bullets: "List:\n" + "* a *b*\n- c\n" * (num_bullets // 2)
    + "  * d" * (num_bullets % 2) + "\n---",
    "detectable_format:constrained_response": lambda: "Well. My answer is maybe.",
    "detectable_format:number_highlighted_sections": lambda num_highlights: "*a b* and **c**\n" * (num_highlights // 2)
    + "* *one*" * (num_highlights % 2),
    "detectable_format:multiple_sections": lambda section_spliter, num_sections: "\n".join(
        f"{section_spliter} {i}\ntext" for i in range(num_sections)
    ),
    "detectable_format:json_format": lambda: '```json\n{"a": [1, "b"]}\n```',
    "detectable_format:title": lambda: "so\n<<A title>>\ntext",
    "combination:two_responses": lambda: "one\n******\ntwo",
    "combination:repeat_prompt": lambda prompt_to_repeat: f"{prompt_to_repeat}\n\nHere it is.",
    "startend:end_checker": lambda end_phrase: f"A text. {end_phrase}\n",
    "startend:quotation": lambda: '"a text"\n',
    "change_case:capital_word_frequency": lambda capital_relation, capital_frequency: _counted(" BIG small")(
        capital_relation, capital_frequency, True
    ),
    "change_case:english_capital": lambda: "ALL OF 3 WORDS, LOUD.",
    "change_case:english_lowercase": lambda: "all of 3 words, small.",
    "punctuation:no_comma": lambda: "No such sign; none.",
}  # fmt: skip

BREAK: dict[str, Maker] = {
    "keywords:existence": lambda keywords: " and ".join(word[:-1] + "…" for word in keywords),
    "keywords:frequency": lambda keyword, relation, frequency: _counted(f"{keyword} ")(relation, frequency, False),
    "keywords:forbidden_words": lambda forbidden_words: f"so ({forbidden_words[-1].upper()})",
    "keywords:letter_frequency": lambda letter, let_relation, let_frequency: _counted(letter)(
        let_relation, let_frequency, False
    ),
    "language:response_language": _other,
    "length_constraints:number_sentences": lambda relation, num_sentences: _counted(" It is 3.5 m, e.g. here!")(
        relation, num_sentences, False
    ),
    "length_constraints:number_paragraphs": lambda num_paragraphs: "\n***\n".join(["One part."] * (num_paragraphs + 1)),
    "length_constraints:number_words": lambda relation, num_words: _counted("word, ")(relation, num_words, False),
    "length_constraints:nth_paragraph_first_word": lambda num_paragraphs, nth_paragraph, first_word: "\n\n".join(
        [f"The {first_word} it is."] * num_paragraphs
    ),
    "detectable_content:number_placeholders": lambda num_placeholders: "[name] []" * (num_placeholders - 1),
    "detectable_content:postscript": lambda postscript_marker: f"Dear you.\n{postscript_marker}",
    "detectable_format:number_bullet_lists": lambda num_bullets: "* a\n" * (num_bullets + 1),
    "detectable_format:constrained_response": lambda: "My answer is: yes",
    "detectable_format:number_highlighted_sections": lambda num_highlights: "* a\n" * 9 + "*x*" * (num_highlights - 1),
    "detectable_format:multiple_sections": lambda section_spliter, num_sections: f"{section_spliter} 1\n"
    * (num_sections - 1) + section_spliter,
    "detectable_format:json_format": lambda: 'Here it is: {"a": 1}',
    "detectable_format:title": lambda: "<<>>\n<title>",
    "combination:two_responses": lambda: "one\n******\none",
    "combination:repeat_prompt": lambda prompt_to_repeat: f"Sure. {prompt_to_repeat}",
    "startend:end_checker": lambda end_phrase: f"{end_phrase} And more",
    "startend:quotation": lambda: '"a text" and',
    "change_case:capital_word_frequency": lambda capital_relation, capital_frequency: _counted(" BIG Small")(
        capital_relation, capital_frequency, False
    ),
    "change_case:english_capital": lambda: "ALL BUT oNE",
    "change_case:english_lowercase": lambda: "all but One",
    "punctuation:no_comma": lambda: "Yes, one",
}  # fmt: skip

ROWS: list[dict[str, Any]] = [
    {"id": "keywords:existence", "kwargs": {"keywords": ["yeast", "oven door"]}},
    {"id": "keywords:existence", "kwargs": {"keywords": ["a+b"]}},
    {"id": "keywords:frequency", "kwargs": {"keyword": "loaf", "relation": "at least", "frequency": 4}},
    {"id": "keywords:frequency", "kwargs": {"keyword": "loaf", "relation": "less than", "frequency": 1}},
    {"id": "keywords:forbidden_words", "kwargs": {"forbidden_words": ["bake", "oven"]}},
    {"id": "keywords:letter_frequency", "kwargs": {"letter": "q", "let_relation": "at least", "let_frequency": 3}},
    {"id": "keywords:letter_frequency", "kwargs": {"letter": "#", "let_relation": "less than", "let_frequency": 2}},
    *({"id": "language:response_language", "kwargs": {"language": code}} for code in TEXTS),
    {"id": "length_constraints:number_sentences", "kwargs": {"relation": "at least", "num_sentences": 5}},
    {"id": "length_constraints:number_sentences", "kwargs": {"relation": "less than", "num_sentences": 3}},
    {"id": "length_constraints:number_paragraphs", "kwargs": {"num_paragraphs": 4}},
    {"id": "length_constraints:number_words", "kwargs": {"relation": "at least", "num_words": 120}},
    {"id": "length_constraints:number_words", "kwargs": {"relation": "less than", "num_words": 50}},
    {
        "id": "length_constraints:nth_paragraph_first_word",
        "kwargs": {"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "warm"},
    },
    {"id": "detectable_content:number_placeholders", "kwargs": {"num_placeholders": 3}},
    {"id": "detectable_content:postscript", "kwargs": {"postscript_marker": "P.S."}},
    {"id": "detectable_content:postscript", "kwargs": {"postscript_marker": "P.P.S"}},
    {"id": "detectable_format:number_bullet_lists", "kwargs": {"num_bullets": 3}},
    {"id": "detectable_format:constrained_response", "kwargs": {}},
    {"id": "detectable_format:number_highlighted_sections", "kwargs": {"num_highlights": 3}},
    {"id": "detectable_format:multiple_sections", "kwargs": {"section_spliter": "Day", "num_sections": 4}},
    {"id": "detectable_format:json_format", "kwargs": {}},
    {"id": "detectable_format:title", "kwargs": {}},
    {"id": "combination:two_responses", "kwargs": {}},
    {"id": "combination:repeat_prompt", "kwargs": {"prompt_to_repeat": "Write a poem about bread."}},
    {"id": "startend:end_checker", "kwargs": {"end_phrase": "Any more questions?"}},
    {"id": "startend:quotation", "kwargs": {}},
    {
        "id": "change_case:capital_word_frequency",
        "kwargs": {"capital_relation": "at least", "capital_frequency": 3},
    },
    {
        "id": "change_case:capital_word_frequency",
        "kwargs": {"capital_relation": "less than", "capital_frequency": 4},
    },
    {"id": "change_case:english_capital", "kwargs": {}},
    {"id": "change_case:english_lowercase", "kwargs": {}},
    {"id": "punctuation:no_comma", "kwargs": {}},
]


def name_of(row: dict[str, Any]) -> str:
    return f"{row['id']} {json.dumps(row['kwargs'])[:40]}"
