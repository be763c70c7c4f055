"""Which runs are alone, from what SLURM and Open MPI say."""

from __future__ import annotations

import dataclasses

import pytest

from configs import tiny
from stylegan_jax.config import from_dict
from stylegan_jax.runtime import processes as distributed


@pytest.mark.parametrize(
    ("variables", "own", "alone"),
    [
        ({}, {}, False),  # JAX looks for a cluster
        ({"SLURM_NTASKS": "1"}, {}, True),
        ({"SLURM_NTASKS": "4"}, {}, False),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, {}, True),
        ({"OMPI_COMM_WORLD_SIZE": "4", "SLURM_NTASKS": "1"}, {}, False),  # mpirun inside an allocation
        ({"OMPI_COMM_WORLD_SIZE": "1", "SLURM_NTASKS": "8"}, {}, True),
        ({"SLURM_NTASKS": "1"}, {"coordinator": "host:1234", "num_processes": 2}, False),
        ({"SLURM_NTASKS": "1"}, {"mode": "off"}, False),
    ],
)
def test_a_single_task_keeps_all_devices(monkeypatch, variables, own, alone):
    for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = dataclasses.replace(from_dict(tiny.get_config()).distributed, **own)
    joins = []
    monkeypatch.setattr(distributed, "_join", lambda config: joins.append(config) or False)
    with distributed.join_processes(config):
        pass
    assert len(joins) == (not alone and config.mode != "off")
