"""Node: Example Portrait and Voice, so that every workflow runs on a fresh install."""

from __future__ import annotations

from comfy_api.latest import io

from ..diffused_heads_core.assets import ASSETS, DEFAULTS
from ..diffused_heads_core.media.audio import load_audio
from ..diffused_heads_core.media.pictures import load_picture
from .audio import DAY, trim
from .convert import audio_to_host, uint8_to_image
from .sockets import CATEGORY

PORTRAIT, VOICE = (name.split("-")[1] for name in DEFAULTS)


class ExamplePortraitAndVoice(io.ComfyNode):
    """A choice of the portraits and recordings in the core's assets."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_ExamplePortraitAndVoice",
            display_name="Example Portrait and Voice",
            category=CATEGORY,
            description="A synthetic portrait and a synthetic voice to try things with. Put Load Image and Load Audio "
            "in its place for your own.",
            inputs=[
                io.Combo.Input(
                    "portrait",
                    options=example_names("portrait", ".png"),
                    default=PORTRAIT,
                    tooltip="One of the bundled portraits.",
                ),
                io.Combo.Input(
                    "voice",
                    options=example_names("speech", ".wav"),
                    default=VOICE,
                    tooltip="One of the bundled recordings, spoken by a speech synthesiser.",
                ),
                io.Float.Input(
                    "duration",
                    display_name="duration (s)",
                    default=2.8,
                    min=0.2,
                    max=DAY,
                    step=0.1,
                    optional=True,
                    tooltip="How much of the recording is taken, in seconds from its beginning. The recordings last "
                    "about ten seconds.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The portrait, 512 x 512."),
                io.Audio.Output("audio", tooltip="The recording's beginning."),
            ],
        )

    @classmethod
    def execute(cls, portrait: str, voice: str, duration: float = DAY) -> io.NodeOutput:
        image = uint8_to_image(load_picture(ASSETS / f"portrait-{portrait}.png"))[None]
        recording = audio_to_host(load_audio(ASSETS / f"speech-{voice}.wav"))
        return io.NodeOutput(image, trim(recording, duration=duration))


def example_names(kind: str, suffix: str) -> list[str]:
    """Names of the bundled files of a kind, in alphabetical order."""
    return sorted(path.stem.removeprefix(f"{kind}-") for path in ASSETS.glob(f"{kind}-*{suffix}"))
