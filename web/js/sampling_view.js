/** On nodes that sample: the frame, the time left, and the curves of the head's motion. */
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { addPanel, drawing, findNode, textLine } from "./panels.js";

const LINES = { yaw: "#5aa9e6", pitch: "#f4a259", roll: "#7fc97f" };
const BLINK = "#9e9e9e";
const LEAST_DEGREES = 5; // of the scale, so that a still head gives flat lines
const LEGEND_HEIGHT = 14;
const TEXT_HEIGHT = 24;
const CURVES_HEIGHT = 110;

const views = new WeakMap(); // node -> view

/** "8 s", "3 min 05 s". */
function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}

function statusText({ frame, frames, seconds, finished }) {
  if (finished) return `${frames} frames in ${duration(seconds)}`;
  const left = seconds === null ? "" : `, ${duration(seconds)} left`;
  return `Frame ${frame} of ${frames}${left}`;
}

/** Draw a motion: yaw, pitch and roll as lines about a middle line, blinks as bars from the bottom. */
function drawCurves(context, width, height, motion) {
  const { seconds, blink } = motion;
  const degrees = Object.keys(LINES).flatMap((name) => motion[name]);
  const scale = degrees.reduce((most, value) => Math.max(most, Math.abs(value)), LEAST_DEGREES);
  const top = LEGEND_HEIGHT;
  const middle = (top + height) / 2;
  const x = (index) => ((index + 0.5) / blink.length) * width;

  context.fillStyle = BLINK;
  context.globalAlpha = 0.45;
  const bar = Math.max(1, width / blink.length);
  blink.forEach((closed, index) => {
    const tall = closed * 0.3 * (height - top);
    context.fillRect(x(index) - bar / 2, height - tall, bar, tall);
  });
  context.globalAlpha = 0.3;
  context.fillRect(0, middle, width, 1);
  context.globalAlpha = 1;

  context.lineWidth = 1.5;
  context.lineJoin = "round";
  for (const [name, colour] of Object.entries(LINES)) {
    context.strokeStyle = colour;
    context.beginPath();
    motion[name].forEach((value, index) =>
      context.lineTo(x(index), middle - (value / scale) * ((height - top) / 2 - 2)),
    );
    context.stroke();
  }
  drawLegend(context, width, `±${scale.toFixed(0)}°, ${seconds.toFixed(1)} s`);
}

function drawLegend(context, width, note) {
  context.font = "11px sans-serif";
  context.textBaseline = "top";
  let left = 0;
  for (const [name, colour] of Object.entries({ ...LINES, blink: BLINK })) {
    context.fillStyle = colour;
    context.fillText(name, left, 0);
    left += context.measureText(name).width + 8;
  }
  context.fillStyle = BLINK;
  context.textAlign = "right";
  context.fillText(note, width, 0);
}

/** The panel of a node, made when it is first needed. */
function viewOf(node) {
  if (views.has(node)) return views.get(node);
  const view = { motion: null, status: null };
  const text = textLine();
  const { frame, redraw } = drawing((context, width, height) => {
    if (!view.motion) return;
    drawCurves(context, width, height, view.motion);
    if (view.status && !view.status.finished) {
      context.fillRect((view.status.frame / view.status.frames) * width, LEGEND_HEIGHT, 1, height);
    }
  });
  const height = () => TEXT_HEIGHT + (view.motion ? CURVES_HEIGHT : 0);
  const fit = addPanel(node, "sampling", [text, frame], () => ({ least: height(), greatest: height() + 20 }));
  view.showStatus = (words) => {
    text.textContent = words;
    redraw();
  };
  view.showMotion = (motion) => {
    view.motion = motion;
    fit();
    redraw();
  };
  views.set(node, view);
  return view;
}

const running = new Set(); // views of nodes that sample now

function onProgress({ detail }) {
  const node = findNode(detail.node);
  if (!node) return;
  const view = viewOf(node);
  detail.finished ? running.delete(view) : running.add(view);
  view.status = detail;
  view.showStatus(statusText(detail));
}

/** detail.motion is null if the model makes up its own: curves of a run before go. */
function onMotion({ detail }) {
  const node = findNode(detail.node);
  if (node && (detail.motion || views.has(node))) viewOf(node).showMotion(detail.motion);
}

function onStop() {
  for (const view of running) view.showStatus(`Stopped at frame ${view.status.frame} of ${view.status.frames}`);
  running.clear();
}

app.registerExtension({
  name: "DiffusedHeads.SamplingView",
  setup() {
    api.addEventListener("diffused_heads.progress", onProgress);
    api.addEventListener("diffused_heads.motion", onMotion);
    api.addEventListener("execution_interrupted", onStop);
    api.addEventListener("execution_error", onStop);
  },
});
