"""Random English sentences: a small grammar, and word lists that cover the sounds of English."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.replace("_", " ") for word in text.split())


# An underscore stands for a space.
WORDS: dict[str, tuple[str, ...]] = {
    "name": _words(
        "Martha Phoebe Boris Vivian Thomas Joyce Hugo Beatrice Pablo Wanda George Yvonne Felix Maeve Oscar Judith "
        "Casper Naomi Barney Zelda Owen Patrick Shirley Quentin Amber Winifred Chad Fiona"
    ),
    "noun": _words(
        "boat bucket mushroom feather hammer violin pumpkin valley theatre pebble magpie window paper church monkey "
        "bubble whistle kitchen thumb jacket puppy harbour mirror television apple chimney garage umbrella river bath "
        "cushion voice leather compass oyster shepherd factory blueberry measure vase mailbox wheel beach tooth "
        "village zebra orange fish cloud bear map moth"
    ),
    "adjective": _words(
        "brave purple wooden thirsty famous bossy smooth empty yellow thoughtful humble shiny vague joyful warm cheap "
        "poor weird happy mild huge fresh very_small good usual blue lovely broad tame foamy pleased awful loud tired "
        "early"
    ),
    "verb": _words(
        "measures pushes borrows paints follows watches imagines carries moves whispers_about buys ignores throws "
        "polishes photographs unwraps remembers sharpens admires opens chooses loves burns finds brings thanks_me_for "
        "weighs catches fears leaves repairs"
    ),
    "go": _words(
        "walked swam hurried drove jumped wandered moved flew waved marched stumbled rode climbed sailed voyaged "
        "turned went ran"
    ),
    "place": _words(
        "by_the_river behind_the_church through_the_mist above_the_village under_the_bridge in_Boston at_the_theatre "
        "between_two_farms beyond_the_harbour near_my_mother's_house over_the_moor around_the_huge_oak on_the_beach "
        "up_the_chimney into_the_cave"
    ),
    "time": _words(
        "this_morning on_Thursday before_breakfast in_February after_the_show every_other_week all_the_time "
        "at_half_past_five long_ago tomorrow tonight once_in_a_while"
    ),
    "adverb": _words(
        "slowly obviously bravely very_quietly probably of_course hopefully almost_always maybe barely perfectly "
        "thoughtfully usually"
    ),
    "exclaim": _words(
        "Oh! Wow! Mmm. Hooray! Yes! No, no. Well, Really? Bravo! Aha! Oops. Brilliant! What? Thank_you! Goodbye! "
        "Hello! Good_morning! Never_mind. Perhaps! Beautiful!"
    ),
    "unit": _words("metres thumbs years people voices apples miles pounds bubbles minutes pages fish thieves"),
    "rhyme": (
        "big blue bubbles pop above my bed",
        "five fine fishermen found fresh fish",
        "Peter put the paper back in the box",
        "she saw six shiny shells by the sea",
        "we were away where the wolves howl",
        "thirty thin thieves thanked the others",
        "Mummy made me mop up the mess",
        "loud owls avoid boys and toys",
        "you knew who chewed the new shoe",
        "please be at ease beneath the trees",
        "father's car is parked far apart",
        "the measure of pleasure is a casual treasure",
        "my voice is mine, I choose how I move it",
        "go slow, the old road is frozen",
        "a yellow yacht used to yaw near you",
    ),
}
TEMPLATES = (
    "The {adjective} {noun} {verb} the {noun}.",
    "{name} {verb} my {adjective} {noun} {time}.",
    "We {go} {place}, and {name} {verb} a {noun}.",
    "I {adverb} {go} {place} {time}.",
    "Why would {name} leave the {noun} {place}?",
    "There were {number} {unit} {place}.",
    "{name} and {name} {go} {place} with {number} {unit}.",
    "{exclaim} That {noun} is {adjective}, {adverb}.",
    "{exclaim}",
    "{rhyme}.",
    "{time}, {rhyme}.",
    "If the {noun} is {adjective}, {name} {verb} it {adverb}.",
    "Do you think {name} {verb} the {noun}, or the {adjective} {noun}?",
    "They said: {rhyme}!",
    "{number}, {number}, {number}, {name}!",
    "Give me the {noun}, please, not the {noun}.",
    "My {noun} costs {number} pounds, but yours is {adjective}.",
    "What a {adjective} {noun}!",
)


def _number(rng: np.random.Generator) -> str:
    return str(int(rng.integers(1, (10, 100, 1000, 2100)[rng.integers(4)])))


def sentence(rng: np.random.Generator) -> str:
    """One random English sentence, capitalised and punctuated."""
    text = TEMPLATES[rng.integers(len(TEMPLATES))]
    while "{" in text:
        slot = text[text.index("{") + 1 : text.index("}")]
        word = _number(rng) if slot == "number" else WORDS[slot][rng.integers(len(WORDS[slot]))]
        text = text.replace("{" + slot + "}", word, 1)
    return text[0].upper() + text[1:]


def script(rng: np.random.Generator) -> Iterator[str | float]:
    """Endlessly alternates between pauses, in seconds, and texts; it begins with a pause.

    Some sentences are broken at a random space, so that there are pauses within phrases too.
    """
    yield float(rng.uniform(0.4, 1.5) if rng.random() < 0.15 else rng.uniform(0.0, 0.4))
    while True:
        words = sentence(rng).split(" ")
        cut = int(rng.integers(2, len(words) - 1)) if len(words) > 4 and rng.random() < 0.15 else 0
        if cut:
            yield " ".join(words[:cut])
            yield float(rng.uniform(0.15, 0.6))
        yield " ".join(words[cut:])
        yield float(rng.uniform(0.5, 1.2) if rng.random() < 0.15 else rng.uniform(0.0, 0.4))
