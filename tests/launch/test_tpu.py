"""The TPU launcher against a gcloud that replays states: waiting, preemption, failures, their ends."""

from __future__ import annotations

import contextlib
import tarfile

import pytest

from launch import commands, tpu
from launch.commands import LaunchError

WHO = ["--name=ffhq", "--zone=us-west4-a", "--poll_seconds=0"]
TRAIN = ["--", "--config=configs/ffhq.py", "--workdir=/mnt/shared/ffhq"]
OK = (0, "", "")
ABSENT = (1, "", "ERROR: (gcloud) NOT_FOUND: Resource 'ffhq' was not found")


def state(*states: str) -> list:
    return [ABSENT if s == "absent" else (0, s + "\n", "") for s in states]


def queued(*states: str, node: list | None = None) -> dict:
    """Replies for a queued resource, and for its slice (READY)."""
    return {"queued-resources describe": state(*states), "tpu-vm describe": node or state("READY")}


def watch(*options: str) -> int:
    return tpu.main(["watch", *WHO, "--type=v5litepod-16", "--spot", "--storage=gs://bucket", *options, *TRAIN])


def steps(stubs) -> list[str]:
    """Return what happened, one word per call."""
    words = []
    for call in stubs.calls():
        line = " ".join(call)
        known = ("setup.sh", "tar", "scp", "describe", "create", "delete", "start", "ensure", "follow")
        words.append(next(word for word in known if f"{word} " in line + " "))
    return [word for word in words if word not in ("describe", "tar", "scp")]


def test_create_polls_until_active(stubs):
    stubs.reply(**queued("WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"))
    assert tpu.main(["create", *WHO, "--type=v5litepod-64", "--queued", "--spot"]) == 0
    assert [call[4] for call in stubs.calls()] == ["create", "describe", "describe", "describe", "describe"]


@pytest.mark.parametrize("bad", ["FAILED", "SUSPENDED", "PREEMPTED", "STOPPED", "UNHEARD_OF"])
def test_create_ends_when_it_cannot_become_ready(stubs, bad):
    stubs.reply(describe=state("CREATING", bad))
    with pytest.raises(LaunchError, match=f"ffhq is {bad} and will not become ready"):
        tpu.main(["create", *WHO, "--type=v5litepod-64"])
    assert len(stubs.calls()) == 3


def test_waiting_has_an_end(stubs):
    stubs.reply(describe=state("WAITING_FOR_RESOURCES"))
    with pytest.raises(LaunchError, match="longer than --wait_hours=1e-06"):
        tpu.main(["create", *WHO, "--type=v5litepod-64", "--queued", "--wait_hours=0.000001"])


def test_a_failing_create_is_an_error(stubs):
    stubs.reply(create=[(1, "", "quota exceeded")])
    with pytest.raises(LaunchError, match=r"ffhq could not be created, see above; .*--queued waits for it"):
        tpu.main(["create", *WHO, "--type=v5litepod-64"])


def test_describe_is_asked_again_before_giving_up(stubs):
    stubs.reply(describe=[(1, "", "network is down"), *state("READY")])
    assert tpu.main(["create", *WHO, "--type=v5litepod-8"]) == 0
    stubs.reply(describe=[(1, "", "network is down")])
    with pytest.raises(LaunchError, match="failed five times; it last said: network is down"):
        tpu.main(["create", *WHO, "--type=v5litepod-8"])


def test_watch_from_nothing_to_the_end(stubs):
    stubs.reply(describe=state("absent", "CREATING", "READY"), follow=[OK])
    assert watch() == 0
    assert steps(stubs) == ["create", "setup.sh", "ensure", "follow"]


AGAIN = ["ensure", "follow", "delete", "create", "setup.sh", "ensure", "follow"]


@pytest.mark.parametrize("gone", ["PREEMPTED", "TERMINATED"])
def test_watch_makes_a_preempted_slice_again(stubs, gone):
    stubs.reply(describe=state("READY", gone, gone, "CREATING", "READY"), follow=[(255, "", "lost"), OK])
    assert watch() == 0
    assert steps(stubs) == AGAIN
    deleted = next(call for call in stubs.calls() if "delete" in call)
    assert "--quiet" in deleted and "--force" not in deleted


def test_watch_makes_a_suspended_queued_resource_again(stubs):
    stubs.reply(**queued("ACTIVE", "SUSPENDED", "SUSPENDED", "PROVISIONING", "ACTIVE"), follow=[(255, "", "lost"), OK])
    assert watch("--queued") == 0
    assert steps(stubs) == AGAIN
    assert "--force" in next(call for call in stubs.calls() if "delete" in call)


def test_watch_waits_while_a_slice_is_going(stubs):
    states = ("ACTIVE", "SUSPENDING", "SUSPENDING", "SUSPENDED", "SUSPENDED", "ACTIVE")
    stubs.reply(**queued(*states), follow=[(1, "", ""), OK])
    assert watch("--queued") == 0
    assert steps(stubs) == AGAIN


def test_a_queued_resource_may_look_active_after_its_slice_is_gone(stubs):
    node = state("READY", "PREEMPTED", "PREEMPTED", "READY")
    stubs.reply(**queued("ACTIVE", node=node), follow=[(1, "", ""), OK])
    assert watch("--queued", "--max_failures=1") == 0
    assert steps(stubs) == AGAIN


def test_watch_tries_again_when_there_is_no_capacity(stubs):
    stubs.reply(
        **{"vm create": [(1, "", "no capacity"), OK, OK]},
        describe=state("absent", "absent", "CREATING", "PREEMPTED", "PREEMPTED", "READY"),
        follow=[OK],
    )
    assert watch() == 0
    assert steps(stubs) == ["create", "create", "delete", "create", "setup.sh", "ensure", "follow"]
    stubs.reply(**{"vm create": [(1, "", "no capacity")]}, describe=state("absent"), follow=[OK])
    with pytest.raises(LaunchError, match="3 failures in a row"):
        watch()


def test_watch_survives_preemption_during_the_installation(stubs):
    stubs.reply(
        describe=state("absent", "READY", "PREEMPTED", "PREEMPTED", "READY"),
        **{"setup.sh": [(255, "", ""), OK]},
        follow=[OK],
    )
    assert watch() == 0
    assert steps(stubs) == ["create", "setup.sh", "delete", "create", "setup.sh", "ensure", "follow"]


def test_watch_starts_a_failed_training_again_and_only_follows_a_lost_connection(stubs):
    stubs.reply(describe=state("READY"), follow=[(255, "", ""), (1, "", ""), (143, "", ""), OK])
    assert watch("--max_failures=5") == 0
    assert steps(stubs) == ["ensure", "follow", "ensure", "follow", "start", "follow", "start", "follow"]


def test_watch_installs_where_nothing_was_copied(stubs):
    stubs.reply(describe=state("READY"), ensure=[(127, "", "no such file"), OK], follow=[OK])
    assert watch() == 0
    assert steps(stubs) == ["ensure", "setup.sh", "ensure", "follow"]


def test_watch_gives_up_after_fast_failures(stubs):
    stubs.reply(describe=state("READY"), follow=[(1, "", "")])
    with pytest.raises(LaunchError, match="3 failures in a row, each within --fast_minutes=15"):
        watch()
    assert steps(stubs).count("follow") == 3


def test_slow_failures_are_not_added_up(stubs):
    stubs.reply(describe=state("READY"), follow=[(1, "", "")] * 4 + [OK])
    assert watch("--fast_minutes=0", "--max_failures=2") == 0


def test_watch_does_not_repeat_a_wrong_configuration(stubs):
    stubs.reply(describe=state("READY"), follow=[(2, "", "")])
    with pytest.raises(LaunchError, match="exit code 2"):
        watch()
    assert steps(stubs) == ["ensure", "follow"]


def test_watch_leaves_a_stopped_slice_alone(stubs):
    stubs.reply(describe=state("STOPPED"))
    with pytest.raises(LaunchError, match="STOPPED, which is not a preemption"):
        watch()
    assert steps(stubs) == []


def test_watch_has_an_end(stubs):
    with pytest.raises(LaunchError, match="--max_hours=0 are over"):
        watch("--max_hours=0")


def test_ctrl_c_says_what_goes_on(capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        commands.command_line(interrupted, "training continues")
    assert end.value.code == 130
    assert capsys.readouterr().err == "interrupted; training continues\n"


def test_the_checkout_is_packed_without_what_is_not_needed(stubs, tmp_path, monkeypatch):
    """The real tar: what arrives can be installed and holds neither history nor runs."""
    (stubs.folder / "tar").unlink()
    monkeypatch.setattr(tpu.tempfile, "TemporaryDirectory", lambda prefix: contextlib.nullcontext(tmp_path))
    tpu.main(["copy", *WHO])
    with tarfile.open(tmp_path / "ffhq.tar.gz") as archive:
        packed = archive.getnames()
    assert {"./setup.py", "./README.md", "./launch/worker.sh", "./launch/flags/tpu.sh", "./configs/common.py"} <= set(
        packed
    )
    assert not [name for name in packed if name.startswith(("./.git/", "./runs", "./tests")) or "__pycache__" in name]
    assert [call[4] for call in stubs.calls()] == ["scp", "ssh"]
