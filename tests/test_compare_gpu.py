"""The script that compares speeds: its plan of the time, what it repeats, its table. It starts no process here."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parent / "peers" / "compare_gpu.py"))
A, B = (SCRIPT["Case"](name, "stylegan2", (), 4, {}, 1.0, weight) for name, weight in (("a", 1.0), ("b", 3.0)))


def summary(seconds: float, train: float = 10.0) -> dict:
    own = {"wall_seconds": seconds, "train": train, "sample": 2 * train, "mib": None, "before_seconds": 5.0}
    return own | {"parameters": [1, 2], "device": "gpu", "versions": "1"}


class Machine:
    """Time that only runs advance: as long as `seconds` says, or as they are allowed."""

    def __init__(self, budget: float, seconds: dict[tuple[str, str], float]):
        self.now, self.budget, self.seconds, self.started, self.saved = 0.0, budget, seconds, [], 0

    def left(self) -> float:
        return self.budget - self.now

    def save(self) -> None:
        self.saved += 1

    def start(self, case, side: str, allowed: float) -> dict:
        needed = self.seconds[case.name, side]
        self.started.append((case.name, side))
        self.now += min(needed, allowed)
        return summary(needed) if needed <= allowed else {"failed": f"stopped after {allowed:.0f} s"}

    def compare(self, state: dict, rounds: int) -> dict:
        SCRIPT["run_all"](SCRIPT["schedule"]([A, B], rounds), state, self.left, self.start, self.save)
        return state["runs"]


def fresh() -> dict:
    return {"runs": {}, "notes": [], "cases": {"a": 4, "b": 4}}


def times(a: float, b: float) -> dict[tuple[str, str], float]:
    return {("a", "ours"): a, ("a", "official"): a, ("b", "ours"): b, ("b", "official"): b}


def test_sides_alternate_and_each_case_comes_once_before_any_repeats():
    keys = [key for key, _, _ in SCRIPT["schedule"]([A, B], 2)]
    assert keys[:4] == ["a/ours/0", "a/official/0", "b/ours/0", "b/official/0"]
    assert keys[4:] == ["a/official/1", "a/ours/1", "b/official/1", "b/ours/1"]


@pytest.mark.parametrize("a, b", [(20.0, 70.0), (500.0, 500.0), (5.0, 500.0), (500.0, 20.0), (1.0, 1.0)])
def test_the_budget_is_never_exceeded(a, b):
    machine = Machine(300.0, times(a, b))
    runs = machine.compare(fresh(), 3)
    assert machine.now <= 300.0
    assert len(runs) == machine.saved == 12
    if max(a, b) <= 1.0:
        assert all("train" in run for run in runs.values())


def test_a_slow_case_leaves_the_others_their_share():
    runs = Machine(400.0, times(500.0, 100.0)).compare(fresh(), 1)
    assert runs["a/ours/0"]["failed"] == "stopped after 67 s"  # 2 of the weights 2 + 1 + 6 + 3
    assert "train" in runs["b/ours/0"] and "train" in runs["b/official/0"]


def test_the_same_command_repeats_only_what_did_not_end():
    state = fresh()
    runs = Machine(200.0, times(10.0, 90.0)).compare(state, 1)
    assert runs["b/official/0"].get("train") == 10.0
    assert "failed" in Machine(60.0, times(10.0, 90.0)).compare(state, 2)["b/ours/1"]
    again = Machine(500.0, times(10.0, 90.0))
    assert all("train" in run for run in again.compare(state, 2).values())
    assert again.started == [("b", "official"), ("b", "ours")]
    last = Machine(500.0, {})
    last.compare(state, 2)
    assert last.started == []


def test_the_table_has_medians_ratios_and_what_was_not_run():
    state = fresh()
    state["notes"] = ["R3GAN was left out"]
    state["runs"] = {f"a/ours/{n}": summary(9.0, rate) for n, rate in enumerate((10.0, 30.0, 20.0))}
    state["runs"] |= {"a/official/0": summary(9.0, 8.0), "b/ours/0": {"failed": "stopped after 50 s"}}
    text = SCRIPT["table"](state)
    assert "| a, 4 | ours | 3 | 20.0 (10.0 to 30.0) | 40.0 (20.0 to 60.0) | not measured | 5 |" in text
    assert "| a, 4 | ratio | | 2.50 | 2.50 | | |" in text
    assert "| b, 4 | ours | 0 | stopped after 50 s | | | |" in text
    assert "| b, 4 | official | 0 | not run | | | |" in text
    assert "ours: gpu; 1" in text and "R3GAN was left out" in text and "parameters differ" not in text
    state["runs"]["a/official/0"]["parameters"] = [1, 3]
    assert "parameters differ: [1, 2] and [1, 3]" in SCRIPT["table"](state)


def test_a_process_that_fails_or_takes_too_long_is_recorded(tmp_path):
    result = tmp_path / "r.json"
    run = lambda code, seconds: SCRIPT["run_one"]([sys.executable, "-c", code], seconds, result, tmp_path)
    assert run("raise SystemExit('no memory')", 30.0) == {"failed": "exit code 1: no memory"}
    assert run("import time; time.sleep(30)", 0.2) == {"failed": "stopped after 0 s"}
    record = run(f"open({str(result)!r}, 'w').write('{{\"x\": 1}}')", 30.0)
    assert record["x"] == 1 and record["wall_seconds"] > 0


def test_both_sides_have_the_same_sizes_and_recipes_that_exist(tmp_path):
    (tmp_path / "torch_utils").mkdir()
    (tmp_path / "torch_utils" / "misc.py").touch()
    flags = [f"--torch={sys.executable}", f"--repo={tmp_path}", f"--out={tmp_path}"]
    a = SCRIPT["arguments"](flags)
    for case in (*SCRIPT["FULL"], *SCRIPT["TINY"]):
        sides = SCRIPT["commands"](case, a, tmp_path / "r.json")
        recipe = case.ours[0].removeprefix("--config=").partition(":")[0]
        assert (Path(__file__).resolve().parents[1] / recipe).is_file()
        for key, value in case.sizes.items():
            assert f"--config.model.{key}={value}" in sides["ours"]
            assert f"--{key.replace('_', '-')}={value}" in sides["official"]
        assert f"--config.train.batch_size={case.batch}" in sides["ours"]
        assert f"--batch={case.batch}" in sides["official"]


def test_wrong_arguments_and_results_of_other_sizes_are_errors(tmp_path, capsys):
    with pytest.raises(SystemExit):
        SCRIPT["arguments"]([f"--torch={sys.executable}", f"--repo={tmp_path}", "--out=x"])
    assert "has no torch_utils/misc.py" in capsys.readouterr().err
    (tmp_path / "compare.json").write_text(json.dumps({"settings": {"rehearse": True}, "runs": {}}))
    with pytest.raises(SystemExit, match="use another --out"):
        SCRIPT["read_state"](tmp_path / "compare.json", {"rehearse": False})
    (tmp_path / "compare.json").write_text("{")
    with pytest.raises(SystemExit, match=r"compare\.json is damaged .*delete it, or use another --out"):
        SCRIPT["read_state"](tmp_path / "compare.json", {"rehearse": False})
    (tmp_path / "torch_utils").mkdir()
    (tmp_path / "torch_utils" / "misc.py").touch()
    with pytest.raises(SystemExit):
        SCRIPT["arguments"]([f"--torch={sys.executable}", f"--repo={tmp_path}", f"--out={tmp_path / 'compare.json'}"])
    assert "compare.json is a file; pass a folder" in capsys.readouterr().err
