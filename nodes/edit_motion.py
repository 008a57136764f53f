"""Nodes: Edit Motion and Expression."""

from __future__ import annotations

from comfy_api.latest import io

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.motion import ENDS, MotionClip, editing
from ..diffused_heads_core.motion.columns import GROUPS
from ..diffused_heads_core.motion.track import COLUMNS
from .head_motion import MOST_SECONDS, motion_output, slider
from .inputs import motion_input
from .page_messages import send_motion
from .sockets import MOTION, MOTIONS

CHOICES = list(dict.fromkeys((*GROUPS, *COLUMNS)))
REPLACE, ADD = "set", "add"
# Sliders of Expression, by their columns: what each does, its largest value and its step.
SLIDERS = {
    "smile": ("Corners of the mouth up and out.", 1.0, 0.05),
    "frown": ("Corners of the mouth down.", 1.0, 0.05),
    "furrow": ("Brows drawn together.", 1.0, 0.05),
    "squint": ("Lower lids raised.", 1.0, 0.05),
    "brows": ("Brows up, or down below 0.", 1.0, 0.05),
    "gaze_x": ("Eyes to the image's right, or left below 0.", 1.0, 0.05),
    "gaze_y": ("Eyes down, or up below 0.", 1.0, 0.05),
    "yaw": ("Nose to the image's right, degrees.", 45.0, 1.0),
    "pitch": ("Nose down, degrees.", 45.0, 1.0),
    "roll": ("Head tilted clockwise, degrees.", 45.0, 1.0),
}


class EditMotion(io.ComfyNode):
    """A motion, changed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_EditMotion",
            display_name="Edit Motion",
            category=MOTIONS,
            description="Changes a head motion: part, strength, smoothness, keyframes, mixture with another one, "
            "length. The changes are made from the top to the bottom of the node; several nodes make several changes.",
            search_aliases=[
                "keyframes",
                "motion strength",
                "smooth motion",
                "loop motion",
                "mix motion",
                "Diffused Heads",
            ],
            inputs=_inputs(),
            outputs=[motion_output("The changed motion.")],
        )

    @classmethod
    def execute(
        cls,
        motion: MotionClip,
        columns: str,
        start: float,
        duration: float,
        scale: float,
        offset: float,
        smooth: float,
        hold: bool,
        hold_at: float,
        keyframes: str,
        keys: str,
        share: float,
        length: float,
        end: str,
        other: MotionClip | None = None,
    ) -> io.NodeOutput:
        clip = given(motion)
        if start or duration:
            clip = editing.cut(clip, start, duration or None)
        clip = editing.scale(clip, scale, columns) if scale != 1 else clip
        clip = editing.offset(clip, offset, columns) if offset else clip
        clip = editing.smooth(clip, smooth, columns)
        clip = editing.hold(clip, hold_at, columns) if hold else clip
        if keyframes.strip():
            clip = editing.with_keyframes(clip, editing.parse_keyframes(keyframes), added=keys == ADD)
        if other is not None:
            clip = editing.mix(clip, given(other, "other"), share, columns)
        clip = editing.lengthened(clip, seconds=length or None, end=end)
        send_motion(clip.track, clip.fps)
        return io.NodeOutput(clip)


class Expression(io.ComfyNode):
    """A constant expression and pose, alone or added to a motion."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_Expression",
            display_name="Expression",
            category=MOTIONS,
            description="Holds an expression, a gaze or a pose: added to a motion, or alone, with a head that is "
            "otherwise still. The mouth follows the speech as well.",
            search_aliases=["smile", "emotion", "happy", "sad", "expression editor", "eyes", "Diffused Heads"],
            inputs=_expression_inputs(),
            outputs=[motion_output("The motion with this expression.")],
        )

    @classmethod
    def execute(
        cls,
        smile: float = 0.0,
        frown: float = 0.0,
        furrow: float = 0.0,
        squint: float = 0.0,
        brows: float = 0.0,
        gaze_x: float = 0.0,
        gaze_y: float = 0.0,
        yaw: float = 0.0,
        pitch: float = 0.0,
        roll: float = 0.0,
        motion: MotionClip | None = None,
    ) -> io.NodeOutput:
        face = {"smile": smile, "frown": frown, "furrow": furrow, "squint": squint, "brows": brows}
        head = {"gaze_x": gaze_x, "gaze_y": gaze_y, "yaw": yaw, "pitch": pitch, "roll": roll}
        constant = editing.constant({**face, **head})
        return io.NodeOutput(constant if motion is None else editing.add(given(motion), constant))


def given(motion: MotionClip | None, name: str = "motion") -> MotionClip:
    """The motion. Raises DiffusedHeadsError if there is none."""
    if not isinstance(motion, MotionClip):
        raise DiffusedHeadsError(f"{name}: expected a motion, found {type(motion).__name__}")
    return motion


def _inputs() -> list[io.Input]:
    return [
        motion_input("From Head Motion, Motion from Video or Load Motion.", optional=False),
        io.Combo.Input(
            "columns",
            options=CHOICES,
            default="all",
            tooltip="What scale, offset, smooth, hold and the mixture change: all, a group (pose is turn, place and "
            "size) or one column. Left and right are the image's.",
        ),
        slider("start", "start (s)", 0.0, MOST_SECONDS, 0.04, "Begin at this second."),
        slider("duration", "duration (s)", 0.0, MOST_SECONDS, 0.04, "Take so many seconds; 0 takes all to the end."),
        slider("scale", "scale", 1.0, 4.0, 0.05, "Multiplies columns: 0 stills them, -1 mirrors them.", -4.0),
        slider("offset", "offset", 0.0, 45.0, 0.05, "Added to columns; degrees for yaw, pitch and roll.", -45.0),
        slider("smooth", "smooth (s)", 0.0, 10.0, 0.02, "Seconds over which columns are averaged; 0 is not at all."),
        io.Boolean.Input("hold", default=False, tooltip="Columns keep the value that they have at hold at."),
        slider("hold_at", "hold at (s)", 0.0, MOST_SECONDS, 0.04, "The second whose values are held."),
        io.String.Input(
            "keyframes",
            default="",
            multiline=True,
            tooltip="Values at some seconds, with smooth ways between them: a line of names such as time, yaw, smile, "
            "then a line of numbers for each key. Angles are degrees; an empty place leaves its column alone.",
        ),
        io.Combo.Input(
            "keys",
            display_name="keyframes are",
            options=[REPLACE, ADD],
            default=REPLACE,
            tooltip="Whether keyframes take the place of their columns, or are added to them.",
        ),
        slider("share", "share of other", 0.5, 1.0, 0.05, "Share of the other motion in columns, if one is connected."),
        slider("length", "length (s)", 0.0, MOST_SECONDS, 0.04, "Cut or continue it to so many seconds; 0: as it is."),
        io.Combo.Input(
            "end",
            display_name="goes on",
            options=list(ENDS),
            default=ENDS[0],
            tooltip="How a motion that becomes longer goes on: back and forth, from its beginning, held, or back to "
            "the portrait's own pose.",
        ),
        io.Custom(MOTION).Input("other", optional=True, tooltip="Another motion, to mix with."),
    ]


def _expression_inputs() -> list[io.Input]:
    tooltip = "A motion to which the expression is added. Unconnected, the head is otherwise still."
    sliders = [
        slider(name, name.replace("_", " "), 0.0, most, step, text, -most)
        for name, (text, most, step) in SLIDERS.items()
    ]
    return [*sliders, motion_input(tooltip)]
