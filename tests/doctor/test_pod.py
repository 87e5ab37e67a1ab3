"""What the doctor says about the time that a stop is given."""

import attrs
import pytest

from reliq.doctor import Shutdown
from tests.doctor.conftest import Doctor


def pod(grace_period: float, prestop_wait: float = 0.0, timeout: float = 25.0) -> Shutdown:
    """A pod with the worker's own grace of 3 s."""
    return Shutdown(
        name="Deployment/shop", grace_period=grace_period, prestop_wait=prestop_wait, timeout=timeout, grace=3.0
    )


@pytest.mark.parametrize(
    ("stop", "name"),
    [
        (pod(60, 20), "ok"),
        (pod(55, 20), "ok"),
        (pod(54, 20), "grace-period-tight"),
        (pod(51, 20), "grace-period-tight"),
        (pod(50, 20), "grace-period-too-short"),  # 20 + 25 + 3 + 2
        (pod(30), "grace-period-too-short"),  # what Kubernetes gives, and what a worker takes, by default
        (pod(35), "ok"),
        (pod(30, timeout=10), "ok"),
        (pod(0, timeout=0), "grace-period-too-short"),
    ],
)
def test_the_sum(doctor: Doctor, stop: Shutdown, name: str) -> None:
    found = doctor("shutdown", shutdowns=[stop])
    assert found.keys() == {name}
    assert "Deployment/shop" in found[name].what


def test_every_part_of_the_sum_is_said(doctor: Doctor) -> None:
    what = doctor("shutdown", shutdowns=[pod(50, 20)])["grace-period-too-short"].what
    assert "up to 50 s (preStop 20 s + timeout 25 s + grace 3 s + 2 s), and the grace period is 50 s" in what


def test_nobody_said(doctor: Doctor) -> None:
    assert doctor("shutdown").keys() == {"shutdown-not-told"}


def test_a_shell_in_between(doctor: Doctor) -> None:
    found = doctor("shutdown", shutdowns=[attrs.evolve(pod(60), by_shell=True)])
    assert found.keys() == {"ok", "shell-in-between"}
