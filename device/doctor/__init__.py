"""Why an agent does not work as it should: one small file of checks per subject, in the order of cause and effect.

It changes nothing, and sends nothing but a greeting to the tiers.
"""

from device.doctor.case import Case, Environment, Fault
from device.doctor.examination import CHECKS, Finding, examine

__all__ = ["CHECKS", "Case", "Environment", "Fault", "Finding", "examine"]
