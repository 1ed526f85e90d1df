"""The training loop, with a training that costs nothing and a clock that it moves itself."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from sparsecomp.training import loop
from sparsecomp.training.loop import Training, hash_of, run

SECONDS = 25.0  # of a step of Walk


class Walk(Training):
    """A random walk. Each step takes `SECONDS` of the clock."""

    def __init__(self, steps: int = 7, score_every: int = 3, clock: SimpleNamespace | None = None) -> None:
        super().__init__()
        self.steps, self.score_every, self.clock = steps, score_every, clock
        self.identity = {"score_every": score_every, "sizes": (2, 3)}
        self.place, self.way = torch.zeros(2), torch.zeros(2, 3).T
        self.taken = 0  # by this object

    def step(self) -> float:
        generator, before = torch.Generator().manual_seed(self.done), float(self.place.sum())
        self.place += torch.randn(2, generator=generator)
        self.way += torch.randn(3, 2, generator=generator)
        self.done, self.taken = self.done + 1, self.taken + 1
        if self.clock:
            self.clock.now += SECONDS
        return before

    def score(self) -> dict:
        return {"psnr": float(self.place.sum())}

    def state(self) -> dict[str, torch.Tensor]:
        return {"place": self.place, "way": self.way}


def same(one: Walk, other: Walk) -> bool:
    tensors = zip(one.state().values(), other.state().values(), strict=True)
    return (one.done, one.history) == (other.done, other.history) and all(torch.equal(a, b) for a, b in tensors)


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 25))
def test_run_scores_every_so_often_and_after_the_last_step(steps, score_every):
    seen, walk = [], Walk(steps, score_every)
    assert run(walk, on_score=lambda step, scores: seen.append((step, scores))) is walk
    assert [step for step, _ in seen] == sorted({*range(score_every, steps + 1, score_every), steps})
    other = Walk(steps, score_every)
    for row, (step, scores) in zip(walk.history, seen, strict=True):
        while other.done < step:
            loss = other.step()
        assert row == {"step": step, "loss": loss, "psnr": other.score()["psnr"]} and scores == {"psnr": row["psnr"]}


def test_run_saves_once_a_minute_and_counts_the_seconds_of_a_scoring_before_it(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    saved, save, seconds, walk = [], Walk.save, [], Walk(10, 2, clock=clock)
    monkeypatch.setattr(Walk, "save", lambda walk, path: (saved.append(walk.done), save(walk, path)))
    run(walk, checkpoint=tmp_path / "it", on_score=lambda step, scores: seconds.append(walk.seconds))
    assert saved == [3, 6, 9, 10], "75 seconds are the first that are a minute"
    assert seconds == [step * SECONDS for step in (2, 4, 6, 8, 10)]
    run(Walk(10, clock=clock))
    assert saved == [3, 6, 9, 10], "saved without a checkpoint"


def test_run_stops_for_good_at_the_first_scoring_that_is_enough(tmp_path):
    for checkpoint in (None, tmp_path / "it"):
        walk = run(Walk(20), checkpoint=checkpoint, enough=lambda walk: walk.done >= 5)
        assert (walk.done, walk.taken, len(walk.history)) == (6, 6, 2)
    again = run(Walk(20), checkpoint=checkpoint, enough=lambda walk: walk.done >= 5)
    assert (again.done, again.taken) == (6, 0) and same(again, walk)


def test_training_checkpoint_is_whole_or_absent(tmp_path, monkeypatch):
    path, walk = tmp_path / "it", Walk()
    walk.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(loop, "save_file", lambda tensors, beside, **_: (beside.write_bytes(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        walk.save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("state", [{"done": 1, "history": []}, None])
def test_training_load_refuses_a_state_that_lacks_something(tmp_path, state):
    path, walk = tmp_path / "it", Walk()
    walk.save(path)
    about = json.dumps({"identity": walk.identity, "state": state})
    save_file({name: t + 1 for name, t in load_file(path).items()}, path, metadata={"about": about})
    with pytest.raises(ValueError, match="cannot be read .*delete it to start again"):
        run(walk, checkpoint=path)
    assert same(walk, Walk())


def test_hash_of_sees_names_types_shapes_and_bytes():
    base = {"a": torch.zeros(2, 3), "b": torch.ones(2)}
    others = [
        {"a": base["a"], "c": base["b"]}, {"a": base["a"]}, base | {"a": torch.zeros(3, 2)},
        base | {"a": torch.zeros(2, 3, dtype=torch.int32)}, base | {"b": torch.tensor([1.0, 2.0])}, {},
    ]  # fmt: skip
    assert len({hash_of(tensors) for tensors in (base, *others)}) == 7
    assert hash_of(base) == hash_of(dict(reversed(base.items()))) == hash_of(base | {"a": torch.zeros(3, 2).T})
