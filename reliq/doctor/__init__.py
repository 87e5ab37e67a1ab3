"""What `reliq doctor` looks at: one function per check, in rooms by subject. Reads only, and changes nothing."""

from __future__ import annotations

from reliq.doctor.checks import CHECKS, examine
from reliq.doctor.finding import Finding, Level
from reliq.doctor.needs import ROLES
from reliq.doctor.subject import PINGS, Shutdown, Subject

__all__ = ["CHECKS", "PINGS", "ROLES", "Finding", "Level", "Shutdown", "Subject", "examine"]
