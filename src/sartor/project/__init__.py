"""sartor.toml: what a project is, typed. An unknown key is an error that suggests the nearest.

Techniques' own settings stay plain here; techniques/registry.py gives them to their classes. How
candidates and bases are crossed is crossing.py's.
"""

from sartor.project.names import BARE, CANDIDATES, parts
from sartor.project.reading import FILE, parse, read, refuse_impossible, refuse_name
from sartor.project.remote import Remote
from sartor.project.sections import Candidate, Cost, Model, ProjectFile, Tracking

__all__ = [
    "BARE", "CANDIDATES", "FILE", "Candidate", "Cost", "Model", "ProjectFile", "Remote", "Tracking",
    "parse", "parts", "read", "refuse_impossible", "refuse_name",
]  # fmt: skip
