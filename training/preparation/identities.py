"""Which person each clip shows, and which people are for validation.

A group of videos (a folder, a common beginning of their names, or a file) is never on both sides of the split, nor are
groups that seem to show the same footage. Faces at the same time are different people. Otherwise a group is one person
if the user says what groups the videos; if not, people are told apart by grey patches of their faces. This is no face
recognition: the same person is only noticed if light and pose are similar too.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ALIKE = 0.965  # least correlation of patches if two groups show the same footage or session
SAME_PERSON = 0.75  # least correlation of patches if two faces in a group are the same person
MOST_COMPARED = 1000  # groups; among more, chains of similar people would join almost all of them
NAMED = ("folder", "prefix")  # rules by which a user names people
SLACK = 1.2  # factor by which the validation part may exceed its share


@dataclass(frozen=True, eq=False)
class AcceptedClip:
    """A clip for the datasets. source: name of its video; entry: in the video's record; patch: (P,) of the face, with
    mean 0 and length 1.
    """

    source: str
    entry: dict[str, Any]
    patch: np.ndarray

    @classmethod
    def of(cls, source: str, entry: dict[str, Any]) -> AcceptedClip:
        """The clip of an entry in a video's record."""
        patch, rest = np.array(entry["look"], np.float32), {key: entry[key] for key in entry if key != "look"}
        return cls(source, rest, _unit(patch - patch.mean()))

    @property
    def stop(self) -> int:
        """Number of the picture after the last."""
        return self.entry["first"] + self.entry["frames"]


@dataclass(frozen=True)
class People:
    """identity: the person in each clip, by the clip's key; family: what the split keeps together, by the clip's key;
    rule: by which videos were grouped; alike: pairs of groups that were joined since they look alike.
    """

    identity: dict[str, str]
    family: dict[str, str]
    rule: str
    alike: list[tuple[str, str]]


def rule_for(names: Iterable[str], rule: str) -> str:
    """The rule that "auto" stands for with these videos: folder if there are several, otherwise file."""
    folders = {name.split("/")[0] for name in names if "/" in name}
    return rule if rule != "auto" else "folder" if len(folders) > 1 else "file"


def group_of(name: str, rule: str) -> str:
    """The group of a video: its first folder, the name of its file up to the first of ``_ - .`` or a blank, or its
    whole name. With the rule "folder", a video without a folder is a group by itself.
    """
    whole = re.sub(r"\.[^./]*$", "", name)
    if rule == "folder":
        return name.split("/")[0] if "/" in name else whole
    return re.split(r"[_\-. ]", whole.split("/")[-1])[0] or whole if rule == "prefix" else whole


def identify(clips: Sequence[AcceptedClip], rule: str, names: Iterable[str]) -> People:
    """The people in clips; names: of all videos, which decide on the rule "auto"."""
    least = -1.0 if rule in NAMED else SAME_PERSON
    rule = rule_for(names, rule)
    groups: dict[str, list[AcceptedClip]] = defaultdict(list)
    for each in clips:
        groups[group_of(each.source, rule)].append(each)
    identity: dict[str, str] = {}
    patches: dict[str, np.ndarray] = {}
    for name, members in sorted(groups.items()):
        people = _people(members, least)
        for number, person in enumerate(people):
            for each in person:
                identity[each.entry["key"]] = name if len(people) == 1 else f"{name}#{number + 1}"
        patches[name] = np.stack([_unit(np.sum([each.patch for each in person], 0)) for person in people])
    joined = _joined(patches)
    family = {each.entry["key"]: joined[name] for name, members in groups.items() for each in members}
    pairs = sorted((joined[name], name) for name in groups if joined[name] != name)
    return People(identity, family, rule, pairs)


def _unit(patch: np.ndarray) -> np.ndarray:
    return patch / max(float(np.linalg.norm(patch)), 1e-9)


def _people(members: list[AcceptedClip], least: float) -> list[list[AcceptedClip]]:
    """The clips of a group by person: faces at the same time are different people, faces that look alike are one.

    least: correlation of patches that is alike enough; -1: all are.
    """
    people: list[list[AcceptedClip]] = []
    for each in sorted(members, key=lambda clip: clip.entry["key"]):
        possible = [person for person in people if not any(_simultaneous(each, other) for other in person)]
        likeness = [float(_unit(np.sum([other.patch for other in person], 0)) @ each.patch) for person in possible]
        if likeness and max(likeness) >= least:
            possible[int(np.argmax(likeness))].append(each)
        else:
            people.append([each])
    return people


def _simultaneous(one: AcceptedClip, other: AcceptedClip) -> bool:
    return (
        one.source == other.source
        and one.entry["track"] != other.entry["track"]
        and one.entry["first"] < other.stop
        and other.entry["first"] < one.stop
    )


def _joined(patches: dict[str, np.ndarray]) -> dict[str, str]:
    """The family of each group: the first of all groups that look alike, directly or through others."""
    names = sorted(patches)
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for i, one in enumerate(names if len(names) <= MOST_COMPARED else ()):
        for other in names[i + 1 :]:
            if float((patches[one] @ patches[other].T).max()) >= ALIKE:
                first, second = sorted((root(one), root(other)))
                parent[second] = first
    return {name: root(name) for name in names}


def split(clips: Sequence[AcceptedClip], people: People, share: float) -> set[str]:
    """Keys of the clips for validation: whole families with about ``share`` of all frames, chosen by a digest of their
    names. Empty if share is 0 or there is only one family.
    """
    frames: dict[str, int] = defaultdict(int)
    for each in clips:
        frames[people.family[each.entry["key"]]] += each.entry["frames"]
    wanted, taken, chosen = share * sum(frames.values()), 0, set()
    order = sorted(frames, key=lambda name: hashlib.sha256(name.encode()).digest())
    for name in order if share > 0 and len(order) > 1 else ():
        if taken < wanted and taken + frames[name] <= SLACK * wanted:
            chosen.add(name)
            taken += frames[name]
    if not chosen and share > 0 and len(order) > 1:
        chosen = {min(order, key=lambda name: frames[name])}
    return {each.entry["key"] for each in clips if people.family[each.entry["key"]] in chosen}
