"""Node: Example Portrait and Voice, so that every workflow runs on a fresh install."""

from __future__ import annotations

from comfy_api.latest import io

from ..diffused_heads_core.assets import ASSETS
from ..diffused_heads_core.media.audio import load_audio
from ..diffused_heads_core.media.pictures import load_picture
from .convert import audio_to_host, uint8_to_image
from .sockets import CATEGORY


class ExamplePortraitAndVoice(io.ComfyNode):
    """A choice of the portraits and recordings in the core's assets."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_ExamplePortraitAndVoice",
            display_name="Example Portrait and Voice",
            category=CATEGORY,
            description="A drawn portrait and a synthetic voice to try things with. Put Load Image and Load Audio in "
            "its place for your own.",
            inputs=[
                io.Combo.Input(
                    "portrait", options=example_names("portrait", ".png"), tooltip="One of the bundled drawn portraits."
                ),
                io.Combo.Input(
                    "voice",
                    options=example_names("speech", ".wav"),
                    tooltip="One of the bundled recordings, spoken by a speech synthesiser.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The portrait, 512 x 512."),
                io.Audio.Output("audio", tooltip="The recording."),
            ],
        )

    @classmethod
    def execute(cls, portrait: str, voice: str) -> io.NodeOutput:
        image = uint8_to_image(load_picture(ASSETS / f"portrait-{portrait}.png"))[None]
        return io.NodeOutput(image, audio_to_host(load_audio(ASSETS / f"speech-{voice}.wav")))


def example_names(kind: str, suffix: str) -> list[str]:
    """Names of the bundled files of a kind, in alphabetical order."""
    return sorted(path.stem.removeprefix(f"{kind}-") for path in ASSETS.glob(f"{kind}-*{suffix}"))
