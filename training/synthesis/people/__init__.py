"""Rendered people: heads of the ICT Face Model Light with painted textures and random appearance, drawn by OpenGL.

``person`` chooses the appearance (with ``light`` and ``camera``). ``face_model`` → ``head`` → ``skull`` is the
geometry, and ``blend_shapes`` moves it. Textures come from ``skin``, ``painted_hair``, ``eyes`` and ``backdrop``,
painted with ``paint``; meshes (``piece``) from ``parts``, ``hair``, ``beard``, ``clothes`` and ``wear``. ``gl`` and
``shaders`` → ``scene`` draw them, ``render`` is the entry; ``sheet`` makes a contact sheet.
"""
