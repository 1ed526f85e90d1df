"""The file of a sweep: which rows it has, and what is refused before anything runs."""

from __future__ import annotations

import pytest

from reproduce import grid

NOTEBOOK = '# %% tags=["parameters"]\na = 1\n'


@pytest.fixture
def read(tmp_path):
    (tmp_path / "light.py").write_text(NOTEBOOK)

    def read(text: str, preset: str | None = None) -> grid.Grid:
        path = tmp_path / "small.yaml"
        path.write_text(text if "notebook" in text else f"notebook: light.py\n{text}")
        return grid.read(path, preset)

    return read


def test_rows_are_products_with_zipped_axes_and_without_what_is_excluded(read):
    found = read(
        "base: {lr: 1e-3}\nproduct: {a: {range: [0, 3]}, b: [x, y z]}\nzip: {c: [1, 2], d: [0.5, 0.25]}\n"
        "exclude: [{a: 0}, {b: x, c: 2}]\n"
    )
    rows = found.rows()
    assert [row.name for row in rows[:3]] == ["a=1,b=x,c=1,d=0.5", "a=1,b=y-z,c=1,d=0.5", "a=1,b=y-z,c=2,d=0.25"]
    assert len(rows) == 6 and found.axes == ("a", "b", "c", "d")
    assert rows[1].parameters == {"lr": 1e-3, "a": 1, "b": "y z", "c": 1, "d": 0.5}
    assert [row.name for row in read("base: {a: 2}").rows()] == ["all"]


def test_range_has_no_rounding_piled_up(read):
    assert read("product: {a: {range: [0.1, 0.5, 0.1]}}").product["a"] == [0.1, 0.2, 0.3, 0.4]
    assert read("product: {a: {range: [3, 0, -1]}}").product["a"] == [3, 2, 1]


def test_preset_smoke_takes_its_own_part_and_set_replaces_an_axis(read):
    text = "base: {steps: 100}\nproduct: {a: [1, 2]}\nsmoke: {base: {steps: 1}, product: {a: [1]}}"
    small, large = read(text, "smoke"), read(text, "laptop")
    assert [row.parameters for row in small.rows()] == [{"steps": 1, "preset": "smoke", "a": 1}]
    assert len(large.rows()) == 2 and large.base == {"steps": 100, "preset": "laptop"}
    wide = large.with_axis("steps", [5, 6]).with_axis("a", [9])
    assert [row.name for row in wide.rows()] == ["a=9,steps=5", "a=9,steps=6"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notebook: 3", "notebook: 3 is not of type 'string'"),
        ("notebook: 99_nothing", "neither a chapter"),
        ("axes: {a: [1]}", "'axes' was unexpected"),
        ("product: {a: []}", "product.a: "),
        ("product: {a: {range: [3, 0]}}", "range .3, 0. is empty"),
        ("product: {a: [1}", "no YAML"),
        ("product: {a: [1]}\nbase: {a: 2}", "a stands in base and in product"),
        ("zip: {a: [1], b: [1, 2]}", "axes of one length are needed, got a 1, b 2"),
        ("resources: {memory: much}", "a size such as 2 GiB is needed"),
        ("resources: {gpu: 2}", "resources.gpu: 2 is greater than the maximum"),
        ("product: {a: [x y, x-y]}", "two rows have the name 'a=x-y'"),
        ("product: {a: [1]}\nexclude: [{a: 1}]", "no row is left"),
    ],
)
def test_grid_refuses(read, text, said):
    with pytest.raises(ValueError, match=said):
        read(text).rows()
