/**
 * Geometry of the head's square, without the page.
 *
 * A square is as the widgets have it: x, y are its centre as fractions of width and height, size its side as a fraction
 * of the shorter side, angle its turn in radians. Points and areas {width, height} are in pixels of the drawn picture.
 */

const LEAST = 0.02; // of the shorter side

export const shorter = (area) => Math.min(area.width, area.height);

function centre(area, { x, y }) {
  return { x: x * area.width, y: y * area.height };
}

/** The four corners, clockwise from the top left. */
export function outline(area, square) {
  const { x, y } = centre(area, square);
  const half = (square.size * shorter(area)) / 2;
  const [cos, sin] = [Math.cos(square.angle ?? 0) * half, Math.sin(square.angle ?? 0) * half];
  return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([a, b]) => ({ x: x + a * cos - b * sin, y: y + a * sin + b * cos }));
}

/** Whether a point is near a corner. */
export function cornerAt(area, square, point, reach) {
  return outline(area, square).some(({ x, y }) => Math.hypot(x - point.x, y - point.y) <= reach);
}

/** Whether a point is in an upright square. */
export function inside(area, square, point) {
  const { x, y } = centre(area, square);
  return Math.max(Math.abs(point.x - x), Math.abs(point.y - y)) <= (square.size * shorter(area)) / 2;
}

/** The square about the same centre that reaches as far as a point. */
export function grow(area, square, point) {
  const { x, y } = centre(area, square);
  const half = Math.max(Math.abs(point.x - x), Math.abs(point.y - y));
  return { ...square, size: (2 * half) / shorter(area) };
}

/** The square moved by the way from one point to another. */
export function move(area, square, from, to) {
  return { ...square, x: square.x + (to.x - from.x) / area.width, y: square.y + (to.y - from.y) / area.height };
}

/** The square with a corner at one point that reaches as far as another. */
export function span(area, from, to) {
  const side = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y));
  return {
    x: (from.x + (Math.sign(to.x - from.x) * side) / 2) / area.width,
    y: (from.y + (Math.sign(to.y - from.y) * side) / 2) / area.height,
    size: side / shorter(area),
  };
}

/** The square inside the picture, as the node takes it. */
export function clampSquare(area, square) {
  const size = Math.min(Math.max(square.size, LEAST), 1);
  const clamp = (value, length) => {
    const margin = (size * shorter(area)) / 2 / length;
    return Math.min(Math.max(value, margin), 1 - margin);
  };
  return { x: clamp(square.x, area.width), y: clamp(square.y, area.height), size };
}
