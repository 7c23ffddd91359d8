"""Configs as plain data: strict in, complete out."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from descant.config import from_dict, override, read_json, to_dict, write_json
from descant.errors import ConfigError
from descant.presets import PRESETS


@dataclass(frozen=True, kw_only=True)
class Circle:
    radius: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Square:
    side: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Style:
    colour: Literal["red", "blue"] = "red"
    widths: tuple[float, ...] = (1.0, 2.0)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    name: str
    shape: Circle | Square
    style: Style = field(default_factory=Style)
    frame: Style | None = None
    corner: tuple[int, bool] = (1, True)
    others: tuple[Circle | Square, ...] = ()
    extras: tuple[Circle | Square, ...] | None = None
    folder: Path = Path("out")
    limit: int | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    low: int = 0
    high: int = 10

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ConfigError(f"low={self.low} is above high={self.high}")


FULL = Drawing(
    name="x",
    shape=Square(side=2.0),
    style=Style(colour="blue", widths=()),
    frame=Style(widths=(0.5,)),
    corner=(3, False),
    others=(Circle(), Square(), Circle(radius=3.0)),
    extras=(Square(), Circle()),
    folder=Path("a/b"),
    limit=7,
    notes={"a": [1, {"b": None}]},
)
SHORT = Drawing(name="y", shape=Circle())


@pytest.mark.parametrize("drawing", [FULL, SHORT], ids=["every field", "defaults"])
def test_what_is_written_is_read_back_equal(drawing, tmp_path):
    write_json(drawing, tmp_path / "drawing.json")
    assert read_json(Drawing, tmp_path / "drawing.json") == drawing
    assert from_dict(Drawing, json.loads(json.dumps(to_dict(drawing)))) == drawing


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_equal_from_json(name):
    config = PRESETS[name]()
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config


def test_every_field_is_written_and_unions_name_their_class():
    plain = to_dict(FULL)
    assert plain["shape"] == {"type": "Square", "side": 2.0}
    assert [other["type"] for other in plain["others"] + plain["extras"]] == [
        "Circle",
        "Square",
        "Circle",
        "Square",
        "Circle",
    ]
    assert plain["style"] == {"colour": "blue", "widths": []}, "no choice, no type"
    assert set(to_dict(SHORT)) == set(Drawing.__dataclass_fields__)


def changed(**changes: Any) -> dict[str, Any]:
    return {**to_dict(FULL), **changes}


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ([1], r"Drawing: expected an object"),
        (changed(colour="red"), r"colour: unknown key; Drawing has corner, "),
        ({"shape": {"type": "Circle"}}, r"name: missing; Drawing needs name, shape"),
        (changed(style={"colors": 1}), r"style\.colors: unknown key; Style has colour, widths"),
        (changed(frame={"colour": "green"}), r"frame\.colour='green': allowed are 'red', 'blue'"),
        (changed(style={"widths": [1, "2"]}), r"style\.widths\[1\]='2': expected float"),
        (changed(style={"widths": 3}), r"style\.widths=3: expected a list"),
        (changed(shape={"side": 1.0}), r'shape: needs a "type" key, one of Circle, Square'),
        (changed(shape={"type": "Star"}), r'shape: needs a "type" key, one of Circle, Square'),
        (changed(shape={"type": "Circle", "side": 1.0}), r"shape\.side: unknown key; Circle has radius"),
        (changed(others=[{"type": "Circle", "radius": "1"}]), r"others\[0\]\.radius='1': expected float"),
        (changed(corner=[1]), r"corner: expected 2 items, got 1"),
        (changed(corner=[True, True]), r"corner\[0\]=True: expected int"),
        (changed(limit=1.0), r"limit=1.0: expected int"),
        (changed(limit=True), r"limit=True: expected int"),
        (changed(name=None), r"name=None: expected str"),
        (changed(notes=[]), r"notes=\[\]: expected an object"),
        (changed(folder=3), r"folder=3: expected Path"),
        (changed(low=11), r"low=11 is above high=10"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_whatever_does_not_fit_is_refused_with_the_path_to_it(plain, message):
    with pytest.raises(ConfigError, match="^" + message):
        from_dict(Drawing, plain)


def test_whole_numbers_are_floats_but_no_other_type_is_another():
    assert from_dict(Circle, {"radius": 2}) == Circle(radius=2.0)
    assert isinstance(from_dict(Circle, {"radius": 2}).radius, float)


@pytest.mark.parametrize("radius", ["NaN", "Infinity", "-Infinity", "1e999", "1" + 400 * "0"])
def test_numbers_that_no_float_holds_are_refused(radius, tmp_path):
    (tmp_path / "circle.json").write_text(f'{{"radius": {radius}}}')
    with pytest.raises(ConfigError, match=r"circle\.json\.radius=.*finite"):
        read_json(Circle, tmp_path / "circle.json")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b'{"radius": ' + 5_000 * b"1" + b"}", 50_000 * b"["], ids=lambda c: f"{c!s:.20}"
)
def test_a_file_that_is_no_json_is_refused_with_its_name(content, tmp_path):
    (tmp_path / "circle.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"circle\.json"):
        read_json(Circle, tmp_path / "circle.json")


def test_a_missing_file_is_reported_as_such(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(Circle, tmp_path / "circle.json")


def test_settings_replace_fields_by_dotted_path():
    settings = {
        "name": "bare text",
        "limit": "null",
        "style.widths": "[1, 2.5]",
        "shape.side": "4",
        "frame": '{"colour": "red"}',
        "folder": "some/where",
        "notes.a": "5",
    }
    drawing = override(FULL, settings)
    assert drawing.name == "bare text"
    assert drawing.limit is None
    assert drawing.style == Style(colour="blue", widths=(1.0, 2.5))
    assert drawing.shape == Square(side=4.0)
    assert drawing.frame == Style()
    assert drawing.folder == Path("some/where")
    assert drawing.notes == {"a": 5}
    assert drawing.others == FULL.others
    assert override(FULL, {}) == FULL


def test_a_union_is_replaced_by_naming_another_class():
    assert override(FULL, {"shape": '{"type": "Circle", "radius": 5}'}).shape == Circle(radius=5.0)


@pytest.mark.parametrize("settings", [{"low": "20", "high": "30"}, {"high": "30", "low": "20"}], ids=str)
def test_settings_that_must_agree_are_checked_together(settings):
    """They were applied one after another, and the first of two was refused for lack of the second."""
    assert override(FULL, settings).low == 20
    with pytest.raises(ConfigError, match="low=20 is above high=10"):
        override(FULL, {"low": "20"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"colour": "red"}, r"colour: no field 'colour' here; there is corner, "),
        ({"style.color": "red"}, r"style\.color: no field 'color' here; there is colour, widths"),
        ({"limit.x": "1"}, r"limit\.x: no field 'x' here; there is nothing below it"),
        ({"": "1"}, r": no field '' here"),
        ({"limit": "many"}, r"limit='many': expected int, or null"),
        ({"style.colour": "green"}, r"style\.colour='green': allowed"),
        ({"shape.radius": "1"}, r"shape\.radius: no field 'radius' here"),
    ],
    ids=str,
)
def test_a_setting_that_does_not_fit_is_refused_with_its_path(settings, message):
    with pytest.raises(ConfigError, match="^" + message):
        override(FULL, settings)
