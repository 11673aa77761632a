"""The catalogue against the code that uses it, the page that shows it, and itself."""

import ast
import importlib.util
import itertools
import re
from dataclasses import fields
from pathlib import Path

import pytest

from pipelines.config import PrepareConfig
from pipelines.options.config_fields import flag
from trainer.config import TrainConfig
from trainer.doctor import catalogue
from trainer.doctor.config import DoctorConfig
from trainer.doctor.subject import exceptions

ROOT = Path(__file__).parents[3]
DOCTOR = ROOT / "trainer" / "doctor"
FORMS = [(id_, case) for id_, entry in catalogue.entries().items() for case in entry.forms]


def constants(node):
    """The strings that an expression can be: "a", or "a" if ... else "b"; None where it is another expression."""
    if isinstance(node, ast.Constant):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return constants(node.body) + constants(node.orelse)
    return None


def uses():
    """(where, ids, cases, names of the other keywords) of every call of `catalogue.found`."""
    for path in sorted(DOCTOR.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "catalogue.found":
                keywords = {keyword.arg: keyword.value for keyword in node.keywords}
                case = keywords.pop("case", ast.Constant(""))
                yield f"{path.name}:{node.lineno}", constants(node.args[0]), constants(case), set(keywords)


USES = list(uses())
# The only call whose id is a variable takes it from a table.
OF_EXCEPTIONS = [id_ for _, id_ in exceptions.KNOWN]


def test_one_call_takes_its_id_from_the_table_of_exceptions():
    assert [where.split(":")[0] for where, ids, _, _ in USES if ids is None] == ["exceptions.py"]


def test_code_uses_every_form_of_the_catalogue_and_no_other():
    used = {pair for _, ids, cases, _ in USES for pair in itertools.product(ids or OF_EXCEPTIONS, cases)}
    assert used == set(FORMS)


@pytest.mark.parametrize(("where", "ids", "cases", "keywords"), USES, ids=[use[0] for use in USES])
def test_every_call_gives_what_the_catalogue_asks_for(where, ids, cases, keywords):
    for id_, case in itertools.product(ids or OF_EXCEPTIONS, cases):
        form = catalogue.entries()[id_].forms[case]
        assert keywords - catalogue.ARGUMENTS == form.placeholders, id_
        assert ("level" in keywords) == (len(form.levels) > 1), id_
        assert ("impact" in keywords) == (form.impact is None), id_


def arguments(form):
    level = {"level": form.levels[0]} if len(form.levels) > 1 else {}
    impact = {"impact": 0.5} if form.impact is None else {}
    return level | impact | dict.fromkeys(form.placeholders, 2)


@pytest.mark.parametrize(("id_", "case"), FORMS)
def test_a_missing_or_unused_value_is_an_error_that_names_the_finding(id_, case):
    form = catalogue.entries()[id_].forms[case]
    right = arguments(form)
    made = catalogue.found(id_, "Evidence.", case=case, **right)
    assert (made.id, made.level, made.evidence) == (id_, form.levels[0], "Evidence.")
    for text in (made.what, made.cost, made.fix):
        assert text
        assert not set(text) & set("{}|\n")
    with pytest.raises(ValueError, match=rf"finding {id_}, case '{case}': .* unused values \['other'\]"):
        catalogue.found(id_, "Evidence.", case=case, other=1, **right)
    for name in form.placeholders:
        with pytest.raises(ValueError, match=rf"finding {id_}, case '{case}': missing values \['{name}'\]"):
            catalogue.found(id_, "Evidence.", case=case, **{key: right[key] for key in right if key != name})


def test_values_stand_in_their_places_and_words_follow_their_number():
    one, several = (
        catalogue.found(
            "duplicates-across-splits", "Evidence.", level="warning", impact=0.3, images=images, share=images / 2000
        )
        for images in (1, 1200)
    )
    assert one.what == "1 validation image is also in the training images, byte for byte"
    assert several.what == "1,200 validation images are also in the training images, byte for byte"
    assert several.cost.startswith("60.0% of the validation score is memory")
    shuffled = [catalogue.found("sorted-input", "Evidence.", shuffled=buffer).what for buffer in (False, True)]
    assert shuffled[1] == f"{shuffled[0]}, and the shuffle buffer is too small to mix them"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no-such-finding", ""), "the catalogue has no finding 'no-such-finding'"),
        (("float64", "", {"case": "other"}), "finding float64 has no case 'other'"),
        (("scaled-twice", ""), "finding scaled-twice has no case ''"),
        (("float64", "", {"split": "train", "level": "error"}), "finding float64, case '': level 'error'"),
        (("float64", "", {"split": "train", "impact": 0.1}), "finding float64, case '': the impact"),
        (("imbalance", "", {"ratio": 9, "common": "a", "rare": "b"}), "finding imbalance, case '': the impact"),
    ],
)
def test_arguments_that_do_not_go_with_the_catalogue(arguments, words):
    id_, evidence, *more = arguments
    with pytest.raises(ValueError, match=words):
        catalogue.found(id_, evidence, **(more[0] if more else {}))


def test_a_level_that_varies_is_one_of_those_of_the_catalogue():
    values = {"constant": 1, "images": 2, "split": "train", "share": 0.5, "impact": 0.5}
    assert catalogue.found("constant-images", "", level="warning", **values).level == "warning"
    for level in ("", "info"):
        with pytest.raises(ValueError, match="finding constant-images, case '': level"):
            catalogue.found("constant-images", "", level=level, **values)


ENTRY = 'level = "error"\nimpact = 1.0\nwhat = "a"\ncost = "b"\nfix = "c"\ndocumentation = "d"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"[other.id]\n{ENTRY}", "group should be one of input, labels, data, training. Received: 'other'"),
        (f"[input.id]\n{ENTRY}[data.id]\n{ENTRY}", "finding id is there twice"),
        (f'[input.id]\n{ENTRY}title = "e"', r"finding id: unknown keys \['title'\]"),
        ("[input.id]\n" + ENTRY.replace('what = "a"\n', ""), r"finding id: unknown keys \[\], missing keys \['what'\]"),
        ("[input.id]\n" + ENTRY.replace("documentation", "#"), "finding id has no documentation"),
        ("[input.id]\n" + ENTRY.replace("error", "fatal"), "finding id: level should be of error, warning, info"),
        ("[input.id]\n" + ENTRY.replace("1.0", "1.5"), "finding id: impact should be from 0 to 1. Received: 1.5"),
        ("[input.id]\n" + ENTRY.replace('"a"', '"{level}"'), r"finding id: \['level'\] cannot be placeholders"),
    ],
)
def test_a_catalogue_with_a_mistake(text, words):
    with pytest.raises(ValueError, match=words):
        list(catalogue.parse(text))


def test_a_case_says_again_what_is_different_in_it():
    text = f'[input.id]\n{ENTRY}[input.id.case.one]\n[input.id.case.two]\nwhat = "other {{x}}"\nlevel = "warning"\n'
    (entry,) = catalogue.parse(text)
    assert [form.what for form in entry.forms.values()] == ["a", "other {x}"]
    assert entry.levels == ("error", "warning")
    assert entry.forms["two"].placeholders == {"x"}


# ---- docs/doctor.md


def generator():
    spec = importlib.util.spec_from_file_location("doctor_findings", ROOT / "docs" / "doctor_findings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_make_docs_gives_the_page_that_is_there():
    made = generator()
    page = made.PAGE.read_text(encoding="utf-8")
    assert made.PAGE == ROOT / "docs" / "doctor.md"
    assert made.regenerated(page) == page, "run make docs"
    assert made.regenerated(page.replace("| `float64` | warning |", "| `float64` | error |")) == page


def test_every_finding_has_one_row_in_the_page():
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    for id_ in catalogue.entries():
        assert page.count(f"\n| `{id_}` | ") == 1, id_


def test_a_page_without_the_marks_of_a_group():
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="findings of data: end"):
        generator().regenerated(page.replace("<!-- findings of data: end -->", ""))


# ---- what the sentences advise


def test_the_options_that_sentences_name_exist():
    known = {flag(field.name) for options in (DoctorConfig, TrainConfig, PrepareConfig) for field in fields(options)}
    known.add("--recipe")  # of the command line: it sets fields of TrainConfig
    named = set(re.findall(r"--[a-z][a-z-]*", catalogue.FILE.read_text(encoding="utf-8")))
    assert named
    assert named <= known
