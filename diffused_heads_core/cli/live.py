"""``diffused-heads live``: a page on this machine that talks back."""

from __future__ import annotations

import argparse
import asyncio
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..assets import DEFAULT_MODEL
from ..errors import DiffusedHeadsError
from .parser import add_command, add_threads, positive

NEEDED = ("aiohttp", "aiortc")


def add_commands(commands: Any) -> None:
    """Add ``live``."""
    parser = add_command(
        commands,
        "live",
        live,
        "serve a page whose portrait says what you say",
        "Serve a page on this machine on which a portrait says at once what you say into the microphone, or what a\n"
        "recording says that you drop on it. Needs the extra live. Only this machine reaches the page, by the address\n"
        "that is printed. Ctrl-C ends it.",
        "diffused-heads live",
        "diffused-heads live --portrait me.jpg --open",
    )
    add = parser.add_argument
    text = "pictures that the page offers before the bundled ones; it also takes uploads"
    add("--portrait", type=Path, nargs="+", default=[], metavar="FILE", help=text)
    add("--open", action="store_true", help="open the page in the browser")
    add("--port", type=int, default=0, metavar="N", help="port of the page (default: a free one)")
    text = (
        "where the page is served (default: %(default)s, which only this machine reaches; 0.0.0.0: for all that reach "
        "this machine and know the address)"
    )
    add("--host", default="127.0.0.1", metavar="ADDRESS", help=text)
    add("--viewers", type=positive, default=4, metavar="N", help="pages that may be connected at once (default: 4)")
    text = "make a picture with a longer side smaller first (default: %(default)s)"
    add("--max-side", type=positive, default=640, metavar="PX", help=text)
    add("--model", default=DEFAULT_MODEL, metavar="NAME_OR_PATH", help="the model (default: %(default)s)")
    add("--steps", type=positive, metavar="N", help="denoising steps per frame (default: the model's own)")
    add("--seed", type=int, default=0, metavar="N", help="another seed is another head motion (default: 0)")
    add("--head-motion", type=float, metavar="X", help="0 a still head, 1 natural, 2 strong (default: 1)")
    add("--blinks", type=float, metavar="X", help="blinks per second, 0 to 2 (default: 0.28)")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: %(default)s)")
    add("--engine", default="auto", metavar="NAME", help="as of generate (default: %(default)s)")
    add_threads(parser)


def live(options: argparse.Namespace) -> None:
    """Run ``live`` until it is interrupted. Raises DiffusedHeadsError if the extra is missing, or the port is taken."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise DiffusedHeadsError(
            f'live: expected the packages {" and ".join(missing)} (pip install "diffused-heads[live]")'
        )
    from ..live.server import LiveOptions, LiveServer
    from ..motion import MotionOptions
    from ..streaming.head import check_painting
    from ..talking_head import load_model

    asked = {"head": options.head_motion, "blinks": options.blinks}
    motion = MotionOptions(**{name: value for name, value in asked.items() if value is not None})
    model = load_model(options.model, options.device, engine=options.engine)
    check_painting(model)
    steps = {} if options.steps is None else {"steps": options.steps}
    sampling = model.options(seed=options.seed, **steps)
    settings = LiveOptions(options.host, options.port, options.viewers, options.max_side)
    asyncio.run(_serve(LiveServer(model, options.portrait, settings, sampling, motion), options.open))


async def _serve(server: Any, opened: bool) -> None:
    await server.start()
    try:
        print(f"the page is {server.address}", flush=True)
        if not server.options.local:
            print(
                f"it is served at {server.options.host} to every machine that knows the address; on other machines "
                "browsers give no microphone to pages without HTTPS, and only recordings can be dropped",
                flush=True,
            )
        if opened:
            webbrowser.open(server.address)
        await asyncio.Event().wait()
    finally:
        await server.stop()
