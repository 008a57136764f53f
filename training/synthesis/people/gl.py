"""OpenGL without a window: one context per process, its programs, meshes and targets to draw to."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import numpy as np

from ....diffused_heads_core.errors import DiffusedHeadsError
from . import shaders

# Attributes of vertices: those that are written once, and those that change from frame to frame.
FIXED = ("in_uv", "in_follow", "in_extra", "in_t0", "in_t1", "in_t2")
MOVING = ("in_place", "in_normal")


def _library() -> Any:
    try:
        import moderngl
    except ImportError:
        raise DiffusedHeadsError('synthetic people need moderngl: pip install "diffused-heads[people]"') from None
    return moderngl


@lru_cache(maxsize=4)
def _context(process: int) -> Any:
    moderngl, failures = _library(), []
    for options in ({"backend": "egl"}, {}):
        try:
            return moderngl.create_context(standalone=True, require=330, **options)
        except Exception as error:  # each backend raises errors of its own
            failures.append(f"{options.get('backend', 'default')}: {error}")
    raise DiffusedHeadsError(
        f"OpenGL 3.3 without a window: expected EGL or the system's own, found {'; '.join(failures)}"
    )


@lru_cache(maxsize=4)
def _programs(process: int) -> dict[str, Any]:
    context = _context(process)
    stages = {"hair": shaders.HAIR_VERTEX, "skin": shaders.SKIN_VERTEX}
    made = {
        name: context.program(stages.get(name, shaders.VERTEX), source) for name, source in shaders.MATERIALS.items()
    }
    made["identify"] = context.program(shaders.VERTEX, shaders.IDENTIFY)
    made["shadow"] = context.program(shaders.SHADOW_VERTEX, shaders.SHADOW_FRAGMENT)
    made["back"] = context.program(shaders.BACK_VERTEX, shaders.BACK_FRAGMENT)
    made["unwrap"] = context.program(shaders.UNWRAP_VERTEX, shaders.UNWRAP_FRAGMENT)
    return made


def context() -> Any:
    """The OpenGL context of this process; raises DiffusedHeadsError if moderngl or OpenGL 3.3 is missing."""
    return _context(os.getpid())


def program(name: str) -> Any:
    """The program of a material of ``shaders.MATERIALS``, or "shadow", "identify", "back" or "unwrap"."""
    return _programs(os.getpid())[name]


@lru_cache(maxsize=64)
def _uniforms(target: Any) -> dict[str, Any]:
    return {name: target[name] for name in target}


def put(target: Any, **values: Any) -> None:
    """Set uniforms, ignoring those that the program does not have: numbers, tuples, or arrays (matrices by columns)."""
    known = _uniforms(target)
    for name, value in values.items():
        uniform = known.get(name)
        if uniform is not None:
            if isinstance(value, np.ndarray):
                uniform.write(np.ascontiguousarray(value, np.float32).tobytes())
            else:
                uniform.value = value


def texture(image: np.ndarray, mipmap: bool = True, repeat: bool = False) -> Any:
    """A texture from (h, w, 3 or 4) uint8 or float32 values; the first row is at v = 0."""
    moderngl = _library()
    height, width, channels = image.shape
    kind = "f1" if image.dtype == np.uint8 else "f4"
    made = context().texture((width, height), channels, np.ascontiguousarray(image).tobytes(), alignment=1, dtype=kind)
    made.repeat_x = made.repeat_y = repeat
    if mipmap:
        made.build_mipmaps()
        made.filter = (moderngl.LINEAR_MIPMAP_NEAREST, moderngl.LINEAR)
    return made


class Canvas:
    """A square picture of ``size`` pixels, not multisampled: in software that costs as much as drawing larger."""

    def __init__(self, size: int) -> None:
        gl = context()
        self.size = size
        self._parts = [gl.renderbuffer((size, size), 4), gl.depth_renderbuffer((size, size))]
        self.buffer = gl.framebuffer([self._parts[0]], self._parts[1])

    def picture(self) -> np.ndarray:
        """The picture that was drawn, (size, size, 3) uint8."""
        return np.frombuffer(self.buffer.read(components=3, alignment=1), np.uint8).reshape(self.size, self.size, 3)

    def release(self) -> None:
        """Free the memory."""
        for part in (self.buffer, *self._parts):
            part.release()


class DepthMap:
    """A target for depth only, which shaders read as a shadow map."""

    def __init__(self, size: int) -> None:
        gl = context()
        self.size = size
        self.texture = gl.depth_texture((size, size))
        self.texture.compare_func = "<="
        self.texture.repeat_x = self.texture.repeat_y = False
        self.buffer = gl.framebuffer(depth_attachment=self.texture)

    def depths(self) -> np.ndarray:
        """Depths (size, size) float32 0..1; 1 where nothing was drawn."""
        read = self.buffer.read(components=1, attachment=-1, dtype="f4")
        return np.frombuffer(read, np.float32).reshape(self.size, self.size)

    def release(self) -> None:
        """Free the memory."""
        self.buffer.release()
        self.texture.release()


class Mesh:
    """Triangles on the GPU, and those fewer that cast shadows. Most values of the vertices are written once; positions
    and normals change from frame to frame.
    """

    def __init__(
        self,
        material: str,
        triangles: np.ndarray,
        casting: np.ndarray,
        uv: np.ndarray,
        follow: np.ndarray,
        extra: np.ndarray,
    ) -> None:
        gl, self.material = context(), material
        count = len(uv)
        self._values, self._places = np.zeros((count, 15), np.float32), np.zeros((count, 6), np.float32)
        self._values[:, :2], self._values[:, 2], self._values[:, 3:6] = uv, follow, extra
        self._values[:, 6] = 0.282095
        self._fixed = gl.buffer(self._values.tobytes())
        self._moving = gl.buffer(reserve=count * 24, dynamic=True)
        self._index, self._casting = (
            gl.buffer(np.ascontiguousarray(t, np.int32).tobytes()) if len(t) else None for t in (triangles, casting)
        )
        self._array, self._names = self._bound(material), self._bound("identify")
        self._shadow = None
        if self._casting is not None:
            content = [(self._moving, "3f 12x", "in_place"), (self._fixed, "8x 1f 48x", "in_follow")]
            self._shadow = gl.vertex_array(program("shadow"), content, self._casting)
        self.textures: dict[str, Any] = {}
        self.uniforms: dict[str, Any] = {}

    def _bound(self, name: str) -> Any:
        wanted, bindings = program(name), []
        for buffer, names, sizes in ((self._moving, MOVING, (3, 3)), (self._fixed, FIXED, (2, 1, 3, 3, 3, 3))):
            layout = " ".join(f"{size}f" if name in wanted else f"{4 * size}x" for name, size in zip(names, sizes))
            bindings.append((buffer, layout, *[name for name in names if name in wanted]))
        return context().vertex_array(wanted, bindings, self._index)

    def move(self, points: np.ndarray, normals: np.ndarray) -> None:
        """Set positions and normals (n, 3)."""
        self._places[:, :3], self._places[:, 3:] = points, normals
        self._moving.write(self._places)

    def light(self, transfer: np.ndarray) -> None:
        """Set how the sky reaches each vertex: transfer (n, 9) as of ``light.bake``."""
        self._values[:, 6:] = transfer
        self._fixed.write(self._values)

    def draw(self) -> None:
        """Draw with the mesh's textures and uniforms; shared uniforms must be set already."""
        target = program(self.material)
        for unit, (name, image) in enumerate(self.textures.items(), 1):
            image.use(unit)
            put(target, **{name: unit})
        put(target, **self.uniforms)
        self._array.render()

    def identify(self, first: int, channel: int) -> None:
        """Draw each triangle's number, counted from ``first``, where that channel of the paint is opaque (-1: all)."""
        if channel >= 0:
            self.textures["paint"].use(1)
        put(program("identify"), first=first, channel=channel, paint=1)
        self._names.render()

    def cast(self) -> None:
        """Draw the depth of what casts shadows."""
        if self._shadow is not None:
            self._shadow.render()

    def release(self) -> None:
        """Free the memory, textures included."""
        arrays, buffers = (
            (self._array, self._names, self._shadow),
            (self._fixed, self._moving, self._index, self._casting),
        )
        for part in (*arrays, *buffers, *self.textures.values()):
            if part is not None:
                part.release()
