"""Provenance: the standard, machine-readable statement that a file is synthetic, and reading it from any file.

The statement is IPTC's digital source type in an XMP packet. Text tags repeat it, because FFmpeg copies only some of
them from container to container, and drops the XMP of MP4.
"""

from __future__ import annotations

import json
import mmap
import re
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import av
from PIL import ExifTags, Image

from ..files import readable_file
from .streams import open_media

VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SYNTHETIC = VOCABULARY + "trainedAlgorithmicMedia"
PROPERTY = "Iptc4xmpExt:DigitalSourceType"
AI_GENERATED = f"AI-generated: synthetic video made by Diffused Heads; digital source type {SYNTHETIC}"
XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/">
   <{PROPERTY}>{SYNTHETIC}</{PROPERTY}>
   <Iptc4xmpExt:AISystemUsed>Diffused Heads</Iptc4xmpExt:AISystemUsed>
   <xmp:CreatorTool>Diffused Heads</xmp:CreatorTool>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""
PNG_KEYWORD = "XML:com.adobe.xmp"  # of the iTXt chunk
# An MP4 that FFmpeg makes a MOV of gets an XMP atom from the tag xmp.
VIDEO_TAGS = {"comment": AI_GENERATED, PROPERTY: SYNTHETIC, "xmp": XMP}
_MP4_UUID = UUID("BE7ACFCB-97A9-42E8-9C71-999491E3AFAC").bytes

_MEDIA = rb"....ftyp|....(moov|wide|mdat|free)|\x1aE\xdf\xa3|GIF8|\x89PNG|RIFF....WEBP|\xff\xd8\xff|II\*\0|MM\0\*"
_PACKET = re.compile(rb"<x:xmpmeta.{0,65536}?</x:xmpmeta>", re.DOTALL)
_SOURCE_TYPE = re.compile(rb"https?://cv\.iptc\.org/newscodes/digitalsourcetype/([A-Za-z]+)")
_GIF_NOTE = re.compile(rb"!\xfe.(AI-generated[ -~]*)", re.DOTALL)  # behind the frames, where Pillow does not look
_MANIFEST = re.compile(rb"jumb.{0,64}?c2pa", re.DOTALL)


def append_mp4_xmp(path: Path) -> None:
    """Put the XMP packet behind the last box of an MP4 or MOV file."""
    packet = XMP.encode()
    with path.open("ab") as file:
        file.write((24 + len(packet)).to_bytes(4, "big") + b"uuid" + _MP4_UUID + packet)


def gif_xmp() -> bytes:
    """The XMP packet as a GIF's application extension: the packet, and bytes that lead every reader to its end."""
    trailer = bytes([1, *range(255, -1, -1), 0])
    return b"\x21\xff\x0bXMP DataXMP" + XMP.encode() + trailer


@dataclass(frozen=True)
class Provenance:
    """What a file says of its origin.

    source_types: names in IPTC's vocabulary of digital source types, each with the places that say it. notes: texts for
    people that say AI-generated. manifest: what is known of a C2PA manifest, "" if the file holds none.
    """

    source_types: dict[str, list[str]]
    notes: list[str]
    manifest: str


def is_media(path: Path) -> bool:
    """Whether a file begins as a video or picture does."""
    with path.open("rb") as file:
        return re.match(_MEDIA, file.read(16), re.DOTALL) is not None


def read_provenance(path: Path) -> Provenance:
    """What a video or picture says, or an .xmp file beside it. Raises DiffusedHeadsError if it cannot be read."""
    file = readable_file(path, "a video or picture")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        packets = [match[0] for match in _PACKET.finditer(data)]
        texts = [match[1] for match in _GIF_NOTE.finditer(data)]
        signed = _MANIFEST.search(data) is not None
    for text in _tags(file):
        (packets if b"<x:xmpmeta" in text else texts).append(text)
    places = {"XMP": packets, "tags": texts}
    for beside in (file.with_suffix(".xmp"), file.with_name(f"{file.name}.xmp")):
        if beside.is_file():
            places[beside.name] = [beside.read_bytes()]
    found: dict[str, list[str]] = {}
    for place, parts in places.items():
        for name in dict.fromkeys(match[1].decode() for part in parts for match in _SOURCE_TYPE.finditer(part)):
            found.setdefault(name, []).append(place)
    notes = dict.fromkeys(text.decode("utf-8", "replace") for text in texts if b"AI-generated" in text)
    return Provenance(found, list(notes), _manifest_state(file) if signed else "")


def _tags(file: Path) -> list[bytes]:
    """The texts that Pillow or FFmpeg finds in a file, in UTF-8; none if neither reads it."""
    try:
        with Image.open(file) as picture:
            found = [*picture.info.values(), picture.getexif().get(ExifTags.Base.Software)]
    except Exception:  # on damaged bytes, Pillow raises errors of all kinds
        try:
            with open_media(file) as container:
                found = list(container.metadata.values())
        except (av.error.FFmpegError, ValueError):
            return []
    texts = [value.encode("utf-8", "replace") if isinstance(value, str) else value for value in found]
    return [text for text in texts if isinstance(text, bytes)]


def _manifest_state(file: Path) -> str:
    """In one phrase, whether a C2PA manifest is valid."""
    try:
        from c2pa import Reader
    except ImportError:
        return "present; to verify it, install c2pa-python"
    try:
        with Reader(str(file)) as reader:
            state = json.loads(reader.json()).get("validation_state", "")
    except Exception as error:
        return f"present, cannot be read ({error})"
    states = {"Trusted": "intact, its signer is trusted", "Valid": "intact, its signer is on no list of trust"}
    return f"present, {states.get(state, 'invalid: the file or the manifest was changed')}"
