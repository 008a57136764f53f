/**
 * On the nodes that look for a head: the picture with the square around it. Dragging on it writes the widgets x, y and
 * size; a double click gives the choice back to the face detector.
 */
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { addPanel, drawing, extend, findNode, textLine } from "./panels.js";
import { clampSquare, cornerAt, grow, inside, move, outline, span } from "./square.js";

const BY_HAND = "#ffb74d";
const FOUND = "#4fc3f7";
const PICTURE_HEIGHT = 220;
const WIDGETS = ["x", "y", "size", "face"];
const HANDLE = 8; // pixels of the screen within which a corner is taken hold of

/** The page's address of a file in one of the server's folders. */
function viewAddress({ filename, subfolder = "", type = "input" }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/** The node that is connected to an input, or null. */
function sourceOf(node, name) {
  const slot = node.findInputSlot(name);
  return slot < 0 ? null : node.getInputNode(slot);
}

/** Address of the picture that comes in, as far as the page knows it without a run: that of a Load Image node. */
function incomingPicture(node) {
  const source = sourceOf(node, "image");
  if (source?.comfyClass !== "LoadImage") return "";
  const value = String(source.widgets?.find((widget) => widget.name === "image")?.value ?? "");
  const [, path, type = "input"] = value.match(/^(.*?)(?: \[(\w+)\])?$/s);
  const cut = path.lastIndexOf("/");
  if (!path) return "";
  return viewAddress({ filename: path.slice(cut + 1), subfolder: path.slice(0, Math.max(cut, 0)), type });
}

class HeadEditor {
  constructor(node) {
    this.node = node;
    this.picture = new Image();
    this.picture.onload = () => this.show();
    this.found = null; // the square of the last run, and the incoming picture that it belongs to
    this.address = "";
    this.drag = null;
  }

  widget(name) {
    return this.node.widgets.find((widget) => widget.name === name);
  }

  /** The square that the widgets set, or null. */
  get byHand() {
    const [x, y, size] = ["x", "y", "size"].map((name) => Number(this.widget(name).value));
    const rule = this.widget("face").value;
    return size > 0 && (rule === "auto" || rule === "box") ? { x, y, size, angle: 0 } : null;
  }

  /** Take the picture that comes in now, unless the last run's picture is of the same source. */
  refresh() {
    const incoming = incomingPicture(this.node);
    if (this.found && this.found.incoming !== incoming) this.found = null;
    this.load(this.found?.address ?? incoming);
    this.redraw?.();
  }

  /** head: what the node sent when it had found it. */
  showFound(head) {
    this.found = { square: head, address: viewAddress(head), incoming: incomingPicture(this.node) };
    this.refresh();
  }

  load(address) {
    if (address && address !== this.address) this.picture.src = address;
    this.address = address || this.address;
  }

  /** Draw the picture; the panel is made when there is one. */
  show() {
    if (!this.redraw) this.makePanel();
    this.redraw();
  }

  makePanel() {
    this.text = textLine();
    const { frame, canvas, redraw } = drawing((...place) => this.draw(...place));
    this.canvas = canvas;
    this.redraw = redraw;
    canvas.style.touchAction = "none";
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.pull(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", (event) => this.release(event));
    // Not "dblclick", which comes too late for the page: it notes a step to undo when the mouse button goes up.
    canvas.addEventListener("mousedown", (event) => event.detail === 2 && this.reset());
    addPanel(this.node, "head", [frame, this.text], () => ({ least: PICTURE_HEIGHT }));
    for (const name of WIDGETS) extend(this.widget(name), "callback", () => this.redraw());
  }

  draw(context, width, height) {
    const { naturalWidth, naturalHeight } = this.picture;
    if (!naturalWidth) return;
    const scale = Math.min(width / naturalWidth, height / naturalHeight);
    const area = { width: naturalWidth * scale, height: naturalHeight * scale };
    area.left = (width - area.width) / 2;
    area.top = (height - area.height) / 2;
    this.area = { ...area, panel: width };
    context.drawImage(this.picture, area.left, area.top, area.width, area.height);
    const byHand = this.byHand;
    const square = byHand ?? this.found?.square;
    if (square) drawSquare(context, area, square, byHand ? BY_HAND : FOUND, Boolean(byHand));
    this.text.textContent = byHand ? "Set by hand. Double-click: automatic." : "Automatic. Drag to set the square.";
  }

  /** Where the pointer is, in pixels of the picture as it is drawn. The page may have scaled the canvas. */
  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.area.panel / box.width;
    return {
      x: (event.clientX - box.left) * scale - this.area.left,
      y: (event.clientY - box.top) * scale - this.area.top,
    };
  }

  press(event) {
    if (event.button !== 0 || !this.area) return;
    event.stopPropagation(); // but no preventDefault, which would take "mouseup" from the page
    this.canvas.setPointerCapture(event.pointerId);
    const start = this.point(event);
    const square = this.byHand ?? (this.found && { ...this.found.square, angle: 0 });
    const corner = square && cornerAt(this.area, square, start, HANDLE);
    if (corner) this.drag = (point) => grow(this.area, square, point);
    else if (square && inside(this.area, square, start)) this.drag = (point) => move(this.area, square, start, point);
    else this.drag = (point) => span(this.area, start, point);
    this.start = start;
  }

  pull(event) {
    if (!this.drag) return;
    event.stopPropagation();
    const point = this.point(event);
    // A click alone changes nothing: a double click begins with two.
    if (Math.hypot(point.x - this.start.x, point.y - this.start.y) < 3 && !this.moved) return;
    this.moved = true;
    this.write(clampSquare(this.area, this.drag(point)));
  }

  release(event) {
    if (!this.drag) return;
    event.stopPropagation();
    this.drag = null;
    this.moved = false;
  }

  reset() {
    if (!this.byHand) return;
    this.set("size", 0);
    if (this.widget("face").value === "box") this.set("face", "auto");
    this.redraw();
  }

  write({ x, y, size }) {
    this.set("x", x);
    this.set("y", y);
    this.set("size", size);
    if (!this.byHand) this.set("face", "box"); // another rule would ignore the square
    this.redraw();
  }

  set(name, value) {
    const widget = this.widget(name);
    widget.value = typeof value === "number" ? Math.round(value * 1000) / 1000 : value;
    widget.callback?.(widget.value);
    this.node.graph?.setDirtyCanvas(true, true);
  }
}

function drawSquare(context, area, square, colour, handles) {
  const corners = outline(area, square);
  context.save();
  context.translate(area.left, area.top);
  context.beginPath();
  context.rect(0, 0, area.width, area.height);
  context.clip();
  // Outside the square the picture is darker.
  corners.forEach(({ x, y }, index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.closePath();
  context.fillStyle = "rgba(0, 0, 0, 0.45)";
  context.fill("evenodd");
  context.restore();

  context.save();
  context.translate(area.left, area.top);
  context.strokeStyle = colour;
  context.fillStyle = colour;
  context.lineWidth = 2;
  if (!handles) context.setLineDash([6, 4]);
  context.beginPath();
  corners.forEach(({ x, y }) => context.lineTo(x, y));
  context.closePath();
  context.stroke();
  if (handles) corners.forEach(({ x, y }) => context.fillRect(x - 4, y - 4, 8, 8));
  context.restore();
}

const editors = new Map(); // node -> editor

app.registerExtension({
  name: "DiffusedHeads.HeadEditor",
  setup() {
    const refresh = () => editors.forEach((editor) => editor.refresh());
    api.addEventListener("graphChanged", refresh); // among others, another picture in Load Image
    api.addEventListener("diffused_heads.head", ({ detail }) => editors.get(findNode(detail.node))?.showFound(detail));
  },
  afterConfigureGraph() {
    editors.forEach((editor) => editor.refresh());
  },
  nodeCreated(node) {
    const names = node.widgets?.map((widget) => widget.name) ?? [];
    if (!node.comfyClass?.startsWith("DH_") || !WIDGETS.every((name) => names.includes(name))) return;
    const editor = new HeadEditor(node);
    editors.set(node, editor);
    extend(node, "onConnectionsChange", () => editor.refresh());
    extend(node, "onRemoved", () => editors.delete(node));
  },
});
