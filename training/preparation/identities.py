"""Who is who, and who is kept for validation.

A group of videos (a folder, a common beginning of names, or a file) never lies on both sides of the split, nor do
groups whose faces look like the same footage. Within a group, faces are told apart by their looks. This is no face
recognition: that two groups show one person is only noticed where they also look alike in light and pose.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ALIKE = (
    0.965  # correlation of looks from which two groups are taken for one person: the same footage, or the same session
)
SAME_PERSON = 0.75  # correlation within a group from which two faces are one person
MOST_COMPARED = 1000  # groups; among more, people who merely look alike would join everybody with everybody
SLACK = 1.2  # how far validation may pass its share


@dataclass(frozen=True, eq=False)
class Kept:
    """A clip that goes into the dataset: the name of its video, its entry in the unit's record, its look (P,), centred,
    of length 1.
    """

    source: str
    entry: dict[str, Any]
    look: np.ndarray

    @classmethod
    def of(cls, source: str, entry: dict[str, Any]) -> Kept:
        """From a unit's record."""
        look = np.array(entry["look"], np.float32)
        return cls(source, {name: value for name, value in entry.items() if name != "look"}, _unit(look - look.mean()))

    @property
    def stop(self) -> int:
        """Number of the picture after the last."""
        return self.entry["first"] + self.entry["frames"]


@dataclass(frozen=True)
class People:
    """identity and family of each clip by its key; a family is what stays together; rule: what told the groups apart;
    alike: pairs of groups that were joined for their looks."""

    identity: dict[str, str]
    family: dict[str, str]
    rule: str
    alike: list[tuple[str, str]]


def rule_for(names: Iterable[str], rule: str) -> str:
    """What "auto" means for these sources: folder where there are several, otherwise file."""
    folders = {name.split("/")[0] for name in names if "/" in name}
    return rule if rule != "auto" else "folder" if len(folders) > 1 else "file"


def group_of(name: str, rule: str) -> str:
    """The group of a source: its first folder, its file's name up to the first of ``_ - . blank``, or its whole name.

    Videos that lie in no folder are groups of their own under "folder".
    """
    whole = re.sub(r"\.[^./]*$", "", name)
    if rule == "folder":
        return name.split("/")[0] if "/" in name else whole
    return re.split(r"[_\-. ]", whole.split("/")[-1])[0] or whole if rule == "prefix" else whole


def tell_apart(kept: Sequence[Kept], rule: str, names: Iterable[str]) -> People:
    """Identities and families of clips; names: of all sources, which decide what "auto" means."""
    rule = rule_for(names, rule)
    groups: dict[str, list[Kept]] = defaultdict(list)
    for each in kept:
        groups[group_of(each.source, rule)].append(each)
    identity: dict[str, str] = {}
    looks: dict[str, np.ndarray] = {}
    for name, members in sorted(groups.items()):
        people = _people(members)
        for number, person in enumerate(people):
            for each in person:
                identity[each.entry["key"]] = name if len(people) == 1 else f"{name}#{number + 1}"
        looks[name] = np.stack([_unit(np.sum([each.look for each in person], 0)) for person in people])
    joined = _joined(looks)
    family = {each.entry["key"]: joined[name] for name, members in groups.items() for each in members}
    pairs = sorted((joined[name], name) for name in groups if joined[name] != name)
    return People(identity, family, rule, pairs)


def _unit(look: np.ndarray) -> np.ndarray:
    return look / max(float(np.linalg.norm(look)), 1e-9)


def _people(members: list[Kept]) -> list[list[Kept]]:
    """The clips of a group by person: faces seen at once are different people, faces that look alike one."""
    people: list[list[Kept]] = []
    for each in sorted(members, key=lambda kept: kept.entry["key"]):
        free = [person for person in people if not any(_at_once(each, other) for other in person)]
        likeness = [float(_unit(np.sum([other.look for other in person], 0)) @ each.look) for person in free]
        if likeness and max(likeness) >= SAME_PERSON:
            free[int(np.argmax(likeness))].append(each)
        else:
            people.append([each])
    return people


def _at_once(one: Kept, other: Kept) -> bool:
    return (
        one.source == other.source
        and one.entry["track"] != other.entry["track"]
        and one.entry["first"] < other.stop
        and other.entry["first"] < one.stop
    )


def _joined(looks: dict[str, np.ndarray]) -> dict[str, str]:
    """The family of each group: itself, or the first of those that look like it."""
    names = sorted(looks)
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for i, one in enumerate(names if len(names) <= MOST_COMPARED else ()):
        for other in names[i + 1 :]:
            if float((looks[one] @ looks[other].T).max()) >= ALIKE:
                first, second = sorted((root(one), root(other)))
                parent[second] = first
    return {name: root(name) for name in names}


def split(kept: Sequence[Kept], people: People, share: float) -> set[str]:
    """Keys of the clips for validation: whole families, about ``share`` of all frames, chosen by a digest of their
    names.

    Empty where share is 0 or there is one family only.
    """
    frames: dict[str, int] = defaultdict(int)
    for each in kept:
        frames[people.family[each.entry["key"]]] += each.entry["frames"]
    wanted, taken, chosen = share * sum(frames.values()), 0, set()
    order = sorted(frames, key=lambda name: hashlib.sha256(name.encode()).digest())
    for name in order if share > 0 and len(order) > 1 else ():
        if taken < wanted and taken + frames[name] <= SLACK * wanted:
            chosen.add(name)
            taken += frames[name]
    if not chosen and share > 0 and len(order) > 1:
        chosen = {min(order, key=lambda name: frames[name])}
    return {each.entry["key"] for each in kept if people.family[each.entry["key"]] in chosen}
