"""The list of nodes for ComfyUI."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .audio import EncodeAudio
from .dub_video import DubVideo
from .edit_motion import EditMotion, Expression
from .evaluate import EvaluateTalkingHead
from .example_dataset import ExampleDataset
from .examples import ExamplePortraitAndVoice
from .head_motion import HeadMotion, MotionFromVideo
from .identity import LoadIdentity
from .lip_crop_loss import LipCropLoss
from .load_model import LoadModel, register_folder
from .motion_files import LoadMotion, PreviewMotion
from .paste_back import PasteBack
from .prepare_dataset import PrepareDataset
from .sampler import DiffusedHeadsSampler
from .sampling_options import SamplingOptionsNode
from .several_speakers import SeveralSpeakers
from .talking_portrait import TalkingPortrait
from .train import TrainDiffusedHeads
from .video_combine import VideoCombine

NODES: list[type[io.ComfyNode]] = [
    TalkingPortrait,
    SeveralSpeakers,
    DubVideo,
    SamplingOptionsNode,
    LoadModel,
    LoadIdentity,
    EncodeAudio,
    DiffusedHeadsSampler,
    PasteBack,
    VideoCombine,
    ExamplePortraitAndVoice,
    HeadMotion,
    MotionFromVideo,
    EditMotion,
    Expression,
    PreviewMotion,
    LoadMotion,
    EvaluateTalkingHead,
    PrepareDataset,
    ExampleDataset,
    LipCropLoss,
    TrainDiffusedHeads,
]


class DiffusedHeadsExtension(ComfyExtension):
    """The pack as ComfyUI sees it."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes. First registers models/diffused_heads, whose files they list.

        It is done here and not in ``on_load``, which old hosts (0.12) do not call.
        """
        register_folder()
        return NODES
