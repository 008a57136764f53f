"""Node: Diffused Heads Sampler."""

from __future__ import annotations

from comfy_api.latest import io

from ..diffused_heads_core.motion import MotionOptions
from ..diffused_heads_core.samplers import SAMPLERS
from . import clips, runtime
from .sockets import AUDIO_EMBEDDING, CATEGORY, IDENTITY, MODEL, AudioEmbedding, Identity, Model


class DiffusedHeadsSampler(io.ComfyNode):
    """Sample the frames of a talking head, one after the other."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_Sampler",
            display_name="Diffused Heads Sampler",
            category=CATEGORY,
            description="Paints the video frame by frame: the identity speaks what the audio embedding says.",
            search_aliases=["talking head", "lip sync", "generate video"],
            inputs=_inputs(),
            outputs=[
                io.Image.Output(
                    "images",
                    is_output_list=True,
                    tooltip=(
                        "The frames. With several identities there is one batch of frames for each, and the nodes behind this one "
                        "run once for each of them: Video Combine writes one video for each identity."
                    ),
                ),
                io.Float.Output("fps", tooltip="The model's frame rate, for Video Combine."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Model,
        identity: Identity,
        audio_embedding: AudioEmbedding,
        seed: int,
        sampler_name: str,
        steps: int,
        audio_guidance: float,
        head_motion: float = 1.0,
        blinks: float = 0.28,
        eta: float = 0.0,
        colour_lock: float = 0.0,
        motion_anchor: float = -1.0,
        temperature: float = -1.0,
    ) -> io.NodeOutput:
        head = model.head
        clips.check_match(head, model.name, identity, audio_embedding)
        options = clips.sampling_options(
            head,
            sampler_name,
            steps,
            seed,
            audio_guidance,
            eta=eta,
            colour_lock=colour_lock,
            motion_anchor=_own(motion_anchor),
            temperature=_own(temperature),
        )
        motion = MotionOptions(head=head_motion, blinks=blinks)
        runtime.bring_to_device(head, model.patcher, len(identity.pictures))
        progress = runtime.Progress(len(audio_embedding.frames), options.steps)
        images = clips.sample_clips(
            head, identity, audio_embedding, options, motion, progress, runtime.intermediate_device()
        )
        return io.NodeOutput(images, float(head.config.fps))


def _own(value: float) -> float | None:
    """-1 stands for the model's own; anything else is checked as it is."""
    return None if value == -1 else value


def _inputs() -> list[io.Input]:
    return [
        io.Custom(MODEL).Input("model", tooltip="From Load Diffused Heads Model."),
        io.Custom(IDENTITY).Input(
            "identity",
            tooltip=(
                "From Load Identity. Several identities (a batch of pictures) speak the same recording and are sampled together."
            ),
        ),
        io.Custom(AUDIO_EMBEDDING).Input("audio_embedding", tooltip="From Encode Audio, made with the same model."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**64 - 1,
            control_after_generate=True,
            tooltip=("Another seed gives other head movements and other details. The same seed gives the same frames."),
        ),
        io.Combo.Input(
            "sampler_name",
            options=[clips.OWN, *SAMPLERS],
            default=clips.OWN,
            tooltip=(
                "How noise becomes a frame. Every model knows what suits it; ddim and dpm++2m need fewer steps than ancestral."
            ),
        ),
        io.Int.Input(
            "steps",
            default=0,
            min=0,
            max=1000,
            tooltip=("Denoising steps for each frame: more steps, more time. 0 takes the model's own number."),
        ),
        io.Float.Input(
            "audio_guidance",
            default=1.0,
            min=0.0,
            max=10.0,
            step=0.05,
            tooltip=(
                "Above 1, the mouth follows the speech more strongly; too much distorts it. Any value but 1 doubles the time."
            ),
        ),
        io.Float.Input(
            "head_motion",
            default=1.0,
            min=0.0,
            max=2.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip=(
                "How lively the head is: 0 keeps it still, 1 is natural, 2 is strong. Without effect on models that make up their own motion."
            ),
        ),
        io.Float.Input(
            "blinks",
            default=0.28,
            min=0.0,
            max=2.0,
            step=0.01,
            optional=True,
            advanced=True,
            tooltip=("Blinks in a second, on average. Without effect on models that make up their own motion."),
        ),
        io.Float.Input(
            "eta",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip=(
                "Fresh noise at each step of the ddim sampler: 0 is none, 1 as much as in ancestral. Other samplers ignore it."
            ),
        ),
        io.Float.Input(
            "colour_lock",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip=(
                "Against colours that drift in long clips: 1 holds brightness, contrast and tint of the frames to the identity's, 0 is off."
            ),
        ),
        io.Float.Input(
            "motion_anchor",
            default=-1.0,
            min=-1.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip=(
                "Against damage that grows from frame to frame: the identity's share in the previous frames that the model looks at. "
                "0 is off, 0.1 to 0.3 lets errors die out, more makes the movement stiff. -1 takes the model's own."
            ),
        ),
        io.Float.Input(
            "temperature",
            default=-1.0,
            min=-1.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip=(
                "Scale of the noise that each frame starts from: 0 keeps details still from frame to frame, 1 is the paper's way. "
                "-1 takes the model's own."
            ),
        ),
    ]
