"""The twelve shapes of the demo world, as signed distance functions.

Every function takes local coordinates ``u`` (right) and ``v`` (down), in units of the shape's radius, and returns a
value that is negative inside the shape and grows roughly with the distance outside it, in the same units. Arrays of any
one shape go in and come out.
"""

import numpy as np

Array = np.ndarray


def _circle(u: Array, v: Array) -> Array:
    return np.hypot(u, v) - 0.9


def _ring(u: Array, v: Array) -> Array:
    return np.abs(np.hypot(u, v) - 0.7) - 0.25


def _box(u: Array, v: Array, half_width: float, half_height: float) -> Array:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def _square(u: Array, v: Array) -> Array:
    return _box(u, v, 0.8, 0.8)


def _frame(u: Array, v: Array) -> Array:
    outer = _box(u, v, 0.9, 0.9)
    return np.maximum(outer, -outer - 0.42)


def _triangle(u: Array, v: Array) -> Array:
    return np.maximum(0.87 * np.abs(u) - 0.5 * v - 0.5, v - 0.75)


def _diamond(u: Array, v: Array) -> Array:
    return (1.5 * np.abs(u) + np.abs(v) - 1.0) / 1.8


def _star(u: Array, v: Array) -> Array:
    angle = np.mod(np.arctan2(u, -v) + np.pi / 5, 2 * np.pi / 5) - np.pi / 5
    radius = np.hypot(u, v)
    along, across = radius * np.cos(angle), np.abs(radius * np.sin(angle))
    return 0.5 * (along - 1.0) + 0.8 * across


def _heart(u: Array, v: Array) -> Array:
    lobes = np.hypot(np.abs(u) - 0.45, v + 0.3) - 0.5
    tip = np.maximum(0.75 * np.abs(u) + 0.66 * v - 0.62, -v - 0.3)
    return np.minimum(lobes, tip)


def _moon(u: Array, v: Array) -> Array:
    return np.maximum(np.hypot(u, v) - 0.95, 0.75 - np.hypot(u - 0.5, v))


def _plus(u: Array, v: Array) -> Array:
    return np.minimum(_box(u, v, 0.3, 0.95), _box(u, v, 0.95, 0.3))


def _arrow(u: Array, v: Array) -> Array:
    head = np.maximum(0.7 * np.abs(u) - 0.7 * v - 0.66, v - 0.05)
    return np.minimum(head, _box(u, v - 0.4, 0.27, 0.55))


def _hourglass(u: Array, v: Array) -> Array:
    return np.maximum(0.8 * (np.abs(u) - np.abs(v)), np.abs(v) - 0.85)


SHAPES = {
    "arrow": _arrow,
    "circle": _circle,
    "diamond": _diamond,
    "frame": _frame,
    "heart": _heart,
    "hourglass": _hourglass,
    "moon": _moon,
    "plus": _plus,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "triangle": _triangle,
}
