"""Nodes: Preview Motion, which also writes a motion into a file, and Load Motion."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io, ui

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.files import as_path
from ..diffused_heads_core.media.pictures import save_picture
from ..diffused_heads_core.motion import MotionClip, read_motion, write_motion
from ..diffused_heads_core.motion.files import SUFFIXES
from ..diffused_heads_core.motion.plot import plot, summary
from .convert import uint8_to_image
from .edit_motion import given
from .head_motion import motion_output
from .inputs import motion_input
from .output_files import next_target
from .page_messages import send_motion
from .sockets import MOTIONS

NO_FILE = "no file"
PREFIX = "motion"


class PreviewMotion(io.ComfyNode):
    """The curves of a motion."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_PreviewMotion",
            display_name="Preview Motion",
            category=MOTIONS,
            description="Draws the curves of a head motion, says how far each column goes, and saves it as a file that "
            "can be edited and loaded again.",
            search_aliases=["plot motion", "save motion", "motion curves", "Diffused Heads"],
            inputs=[
                motion_input("The motion to look at.", optional=False),
                io.Combo.Input(
                    "save_as",
                    display_name="save as",
                    options=[NO_FILE, *SUFFIXES],
                    default=NO_FILE,
                    tooltip="Whether the motion is saved in ComfyUI's output folder: .json and .csv for people, .npz "
                    "for programs.",
                ),
                io.String.Input(
                    "filename_prefix",
                    display_name="filename prefix",
                    default=PREFIX,
                    tooltip="Beginning of the file's name, which may name a folder; a number follows.",
                ),
            ],
            outputs=[
                io.Image.Output("plot", tooltip="The curves as a picture."),
                io.String.Output("summary", tooltip="Length, blinks, and the range of each column."),
                io.String.Output("file", tooltip="The file that was written, empty if none was."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, motion: MotionClip, save_as: str = NO_FILE, filename_prefix: str = PREFIX) -> io.NodeOutput:
        clip = given(motion)
        curves, file = plot(clip), ""
        if save_as != NO_FILE:
            target = next_target(filename_prefix, (0, 0), save_as, True)
            write_motion(target.path, clip)
            file = str(target.path)
        send_motion(clip.track, clip.fps)
        shown = next_target("diffused_heads/motion", curves.shape[:2], ".png", False)
        save_picture(shown.path, curves)
        pictures = ui.SavedImages([ui.SavedResult(shown.path.name, shown.subfolder, shown.folder)])
        return io.NodeOutput(uint8_to_image(curves)[None], "\n".join(summary(clip)), file, ui=pictures)


class LoadMotion(io.ComfyNode):
    """A motion from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_LoadMotion",
            display_name="Load Motion",
            category=MOTIONS,
            description="A head motion from a .json, .csv or .npz file, such as Preview Motion or the command line "
            "write.",
            search_aliases=["open motion", "motion file", "Diffused Heads"],
            inputs=[
                io.String.Input(
                    "file", default="", tooltip="The file: a name in ComfyUI's input or output folder, or a whole path."
                )
            ],
            outputs=[motion_output("The motion.")],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None, **more: Any) -> str:
        """A text that changes with the file's contents; ``file`` is None if it comes from another node."""
        found = find_motion_file(file or "")
        return hashlib.sha256(found.read_bytes()).hexdigest() if found and found.is_file() else str(file)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        found = find_motion_file(file)
        if found is None:
            raise DiffusedHeadsError("file: expected the name of a motion file, found none")
        clip = read_motion(found)
        send_motion(clip.track, clip.fps)
        return io.NodeOutput(clip)


def find_motion_file(name: str) -> Path | None:
    """The file that a user means: in the host's input folder, its output folder, or at a whole path; None if empty."""
    asked = as_path(name.strip()) if name.strip() else None
    if asked is None:
        return None
    places = [Path(root) / asked for root in (folder_paths.get_input_directory(), folder_paths.get_output_directory())]
    return next((place for place in places if place.is_file()), asked)
