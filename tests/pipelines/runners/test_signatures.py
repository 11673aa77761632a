"""What Beam knows of a stage's arguments is the same, and it is found out once."""

from __future__ import annotations

import dataclasses

import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.transforms import DoFn, core, userstate

from pipelines.runners import signatures

SEEN = userstate.ReadModifyWriteStateSpec("seen", VarIntCoder())


class Stage(DoFn):
    def process(self, element, other=3, *, window=DoFn.WindowParam, when=DoFn.TimestampParam):
        yield element, other, window, when

    def finish_bundle(self):
        pass


class Stateful(DoFn):
    def process(self, element, seen=DoFn.StateParam(SEEN)):  # noqa: B008
        yield element


def function(element, other=4):
    return element, other


@pytest.fixture
def beams_own(monkeypatch):
    """Beam's function, which is put back at the end."""
    from pipelines.runners import runner

    monkeypatch.setattr(core, "get_function_args_defaults", core.get_function_args_defaults)
    monkeypatch.setattr(userstate, "get_dofn_specs", userstate.get_dofn_specs)
    runner.empty_job(runner.runner("DirectRunner")[0], runner.options(()))
    remembered = core.get_function_args_defaults
    assert remembered.__module__ == signatures.__name__
    cells = dict(zip(remembered.__code__.co_freevars, remembered.__closure__, strict=True))
    return cells["inspect"].cell_contents


@pytest.mark.parametrize("name", ["process", "finish_bundle", "setup", "default_label", "get_type_hints"])
def test_methods_have_the_arguments_that_beam_finds(beams_own, name):
    for stage in (Stage(), Stage(), Stateful(), core.CallableWrapperDoFn(function)):
        method = getattr(stage, name)
        for _ in range(2):
            found = core.get_function_args_defaults(method)
            assert found == beams_own(method)
            found[0].append("changed")  # a caller may: the next one gets lists of its own
            found[1].append("changed")


def test_functions_have_the_arguments_that_beam_finds(beams_own):
    assert core.get_function_args_defaults(function) == beams_own(function) == (["element", "other"], [4])
    assert core.get_function_arguments(core.CallableWrapperDoFn(function), "process")[0] == ["element", "other"]


def test_state_is_found(beams_own):
    assert userstate.is_stateful_dofn(Stateful())
    assert not userstate.is_stateful_dofn(Stage())


@dataclasses.dataclass
class Unhashed(Stateful):
    number: int = 0


@pytest.mark.parametrize(("made", "asked"), [(Stateful, 1), (Unhashed, 3)])
def test_the_state_of_a_stage_is_looked_for_once(beams_own, monkeypatch, made, asked):
    looked = []
    monkeypatch.setattr(userstate, "dir", lambda stage: looked.append(stage) or dir(stage), raising=False)
    stage = made()
    for _ in range(3):
        states, timers = userstate.get_dofn_specs(stage)
        assert (states, timers) == ({SEEN}, set())
        states.clear()  # a caller may: the next one gets sets of its own
    assert len(looked) == asked
    assert userstate.get_dofn_specs(Stage()) == (set(), set())


def test_each_method_is_inspected_once(beams_own, monkeypatch):
    asked = []
    original = core.get_signature
    monkeypatch.setattr(core, "get_signature", lambda f: asked.append(f) or original(f))

    class New(Stage):
        def process(self, element):
            yield element

    for _ in range(3):
        core.get_function_args_defaults(New().process)
    signatures.remember()  # a second time changes nothing
    core.get_function_args_defaults(New().process)
    assert len(asked) == 1
