/** What the other scripts share: to find a node, to add to its methods, and to put a panel into it. */
import { app } from "../../../scripts/app.js";

/** The node that a message of the server names, or undefined; "5:3" is node 3 of the subgraph node 5. */
export function findNode(id) {
  let graph = app.rootGraph ?? app.graph;
  let node;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(Number(part)) ?? undefined;
    graph = node?.subgraph;
  }
  return node;
}

/** Call `more` with the same arguments after a node's method, which may not exist yet. */
export function extend(node, method, more) {
  const before = node[method];
  node[method] = function (...args) {
    const result = before?.apply(this, args);
    more.apply(this, args);
    return result;
  };
}

/** Whether the page draws nodes as elements (Nodes 2.0) and not on the classic canvas. */
const inNodes2 = () => Boolean(globalThis.LiteGraph?.vueNodesMode);

/** A text in the page's own font. */
export function textLine() {
  const line = document.createElement("div");
  line.style.cssText =
    "flex:none; height:20px; line-height:20px; font-size:12px; overflow:hidden; white-space:nowrap; " +
    "text-overflow:ellipsis; color:var(--input-text, #ddd);";
  return line;
}

/**
 * A panel below a node's widgets, in both canvases. It is not saved with the workflow.
 *
 * `heights()` gives its least and its greatest height in pixels, the latter undefined if it may grow with the node;
 * call the function that is returned when they have changed.
 */
export function addPanel(node, name, children, heights) {
  const panel = document.createElement("div");
  panel.style.cssText =
    "display:flex; flex-direction:column; width:100%; height:100%; box-sizing:border-box; overflow:hidden;";
  panel.append(...children);
  const widget = node.addDOMWidget(name, "diffused_heads_panel", panel, {
    serialize: false, // not a part of the prompt
    hideInPanel: true, // the element can be in one place only
    hideOnZoom: false,
    getMinHeight: () => heights().least,
    getMaxHeight: () => heights().greatest,
  });
  widget.serialize = false; // not a part of the workflow
  // The classic canvas lays elements over itself, so that it does not see the wheel; Nodes 2.0 does.
  panel.addEventListener("wheel", (event) => {
    if (!inNodes2()) app.canvas.processMouseWheel(event);
  });
  const fit = () => {
    const { least, greatest } = heights();
    panel.style.minHeight = `${least}px`;
    panel.style.maxHeight = greatest ? `${greatest}px` : "";
    if (!inNodes2()) {
      // Nodes 2.0 goes by the element's style.
      const [width, height] = node.computeSize();
      node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
    }
    node.graph?.setDirtyCanvas(true, true);
  };
  fit();
  return fit;
}

/**
 * A canvas that fills the rest of a panel. `draw(context, width, height)` works in CSS pixels; it is called when the
 * size changes, and by the function `redraw` that is returned.
 */
export function drawing(draw) {
  const frame = document.createElement("div");
  frame.style.cssText = "position:relative; flex:1 1 0; min-height:0;";
  const canvas = document.createElement("canvas");
  canvas.style.cssText = "position:absolute; inset:0; width:100%; height:100%;";
  frame.append(canvas);
  const redraw = () => {
    const { clientWidth: width, clientHeight: height } = frame;
    if (!width || !height) return;
    const sharpness = 2 * (globalThis.devicePixelRatio || 1); // the graph may be zoomed in
    canvas.width = width * sharpness;
    canvas.height = height * sharpness;
    const context = canvas.getContext("2d");
    context.scale(sharpness, sharpness);
    draw(context, width, height);
  };
  new ResizeObserver(redraw).observe(frame);
  return { frame, canvas, redraw };
}
