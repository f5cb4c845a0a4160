"""The translations: complete, nothing left over, English equal to the schemas, and saying the same in every language."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from cinemo_pack.cinemo_core import errors
from cinemo_pack.tests.comfyui import schemas
from cinemo_pack.tests.workflows import ROOT

LOCALES = ROOT / "locales"
LANGUAGES = {"en": "[a-z]", "zh": "[\u4e00-\u9fff]", "ko": "[\uac00-\ud7a3]", "ja": "[\u3040-\u30ff]"}  # and a letter of each
READ_BY_COMFYUI = {"main.json", "nodeDefs.json", "commands.json", "settings.json"}
FILES = sorted(path.name for path in (LOCALES / "en").iterdir())
# Stock nodes as the translations of ComfyUI's frontend name them, up to what stands there in parentheses.
STOCK_NODES = {
    "CLIP Text Encode": ("CLIP文本编码", "CLIP 텍스트 인코딩", "CLIPテキストエンコード"),
    "SamplerCustomAdvanced": ("自定义采样器", "고급 사용자 정의 샘플러", "カスタムサンプラー"),
    "VAE Encode": ("VAE编码", "VAE 인코드", "VAEエンコード"),
    "Create Video": ("创建视频", "비디오 생성", "動画を作成"),
    "Save Image": ("保存图像", "이미지 저장", "画像を保存"),
    "Preview as Text": ("预览任意", "미리보기 아무거나", "プレビュー任意"),
}
# The value of a menu, which the frontend does not translate, where a tooltip explains it: ". cover: fill and crop".
MENU_VALUE = r"(?<=\. )[a-z_]+(?=: )"
TWO_THINGS = {"clip"}  # a short video, or the text encoder

every_language = pytest.mark.parametrize("language", LANGUAGES)
every_translation = pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
every_file = pytest.mark.parametrize("file", FILES)


def read(language: str, file: str = "nodeDefs.json") -> dict[str, Any]:
    return json.loads((LOCALES / language / file).read_text(encoding="utf-8"), object_pairs_hook=without_repetition)


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), f"a key is given twice among {[key for key, _ in pairs]}"
    return dict(pairs)


def texts(entry: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text with the keys that lead to it."""
    if isinstance(entry, dict):
        for key, value in entry.items():
            yield from texts(value, (*path, key))
    else:
        yield path, entry


def schema_texts() -> dict[str, Any]:
    """What the schemas say, in the form of nodeDefs.json."""
    return {
        node: {
            "display_name": schema.display_name,
            "description": schema.description,
            "inputs": {item.id: {"name": item.display_name or item.id, "tooltip": item.tooltip} for item in schema.inputs},
            "outputs": {str(i): output_texts(item) for i, item in enumerate(schema.outputs)},
        }
        for node, schema in schemas().items()
    }


def output_texts(item: Any) -> dict[str, str]:
    name = {"name": item.display_name} if item.display_name else {}
    return name | {"tooltip": item.tooltip}


def numbers(sentence: str) -> set[str]:
    return set(re.findall(r"\d+(?:\.\d+)?", sentence))


def test_english_equals_the_schemas():
    assert dict(texts(read("en"))) == dict(texts(schema_texts()))


def test_english_equals_the_settings_of_the_extensions():
    """Their names, tooltips and headings, as web/*.js declares them; the first heading is the pack's name."""
    settings, headings = {}, set()
    for path in (ROOT / "web").glob("*.js"):
        source = path.read_text(encoding="utf-8")
        for name in re.findall(r'^const SETTING = "(.*)"$', source, re.MULTILINE):
            (found,) = re.findall(r'category: \["Cinemo", "(.*)", ".*"\],\s+name: "(.*)",\s+tooltip: "(.*)",', source)
            headings.add(found[0])
            settings[name.replace(".", "_")] = {"name": found[1], "tooltip": found[2]}
    assert read("en", "settings.json") == settings
    assert read("en", "main.json")["settingsCategories"] == {heading: heading for heading in headings}


@every_language
def test_every_kind_of_error_has_a_first_line(language):
    """web/error_lines.js shows it above the sentence, which stays English; it is of the errors that nodes raise."""
    main = read(language, "main.json")
    assert set(main) == {"settingsCategories", "cinemoErrors"}
    kinds = {kind.__name__ for kind in errors.CinemoError.__subclasses__() if kind.__module__ == errors.__name__}
    assert set(main["cinemoErrors"]) == kinds
    assert all(re.search(LANGUAGES[language], line) for line in main["cinemoErrors"].values())


def test_the_languages_are_these_and_comfyui_reads_every_file():
    assert {path.name for path in LOCALES.iterdir() if path.is_dir()} == set(LANGUAGES)
    assert set(FILES) <= READ_BY_COMFYUI
    assert all(sorted(path.name for path in (LOCALES / language).iterdir()) == FILES for language in LANGUAGES)


@every_translation
@every_file
def test_no_key_is_missing_or_superfluous(language, file):
    assert [path for path, _ in texts(read(language, file))] == [path for path, _ in texts(read("en", file))]


@every_language
@every_file
def test_the_texts_are_texts_that_the_frontend_shows_as_they_are(language, file):
    for path, found in texts(read(language, file)):
        assert isinstance(found, str) and found and found == found.strip(), path
        assert not re.search(r"[{}@|]", found), f"{path}: the frontend reads braces, @ and | as commands"


@every_translation
def test_sentences_are_in_the_language_and_keep_what_is_not_language(language):
    english = dict(texts({file: read("en", file) for file in FILES}))
    for path, found in texts({file: read(language, file) for file in FILES}):
        if path[-1] in ("description", "tooltip"):
            assert re.search(LANGUAGES[language], found), path
            assert numbers(english[path]) <= numbers(found), path
            assert set(re.findall(MENU_VALUE, english[path])) <= set(re.findall(r"\w+", found, re.ASCII)), path
            assert set(re.findall(r"\w+/[\w/-]*", english[path])) <= set(re.findall(r"\w+/[\w/-]*", found, re.ASCII)), path


@every_translation
def test_other_nodes_are_named_as_people_see_them(language):
    english, translated = read("en"), read(language)
    names = {english[node]["display_name"]: translated[node]["display_name"] for node in english}
    names |= {name: others[list(LANGUAGES).index(language) - 1] for name, others in STOCK_NODES.items()}
    theirs = dict(texts(translated))
    for path, sentence in texts(english):
        if path[-1] == "tooltip":
            for name in (name for name in names if name in sentence):
                assert names[name] in theirs[path], f"{path} does not name {names[name]}"


@every_translation
def test_the_same_words_are_translated_in_the_same_way(language):
    found = defaultdict(set)
    theirs = dict(texts(read(language)))
    for path, english in texts(read("en")):
        if path[-1] != "name" or path[-2] not in TWO_THINGS:
            found[(path[-1], path[1] if path[-1] == "name" else "", english)].add(theirs[path])
    assert {key: ways for key, ways in found.items() if len(ways) > 1} == {}


@every_translation
def test_names_tell_the_nodes_and_the_inputs_of_a_node_apart(language):
    nodes = read(language)
    assert len({node["display_name"] for node in nodes.values()}) == len(nodes)
    for name, node in nodes.items():
        assert len({entry["name"] for entry in node["inputs"].values()}) == len(node["inputs"]), name
