// Shows on Video Combine only the widgets that matter for the chosen format and rate control. Which they are comes from
// the node's schema (widgets_of); without this file all are shown. On the classic canvas, it also removes the player
// when the next file is a picture, and the other way round, which the page does not do.
import { app } from "../../../scripts/app.js";
import { extend } from "./panels.js";

function isShown(name, used, rateControl) {
  if (!used.includes(name)) return false;
  const rates = ["quality", "crf", "bitrate"];
  return !used.includes("rate_control") || !rates.includes(name) || name === rateControl;
}

function update(node, widgetsOf) {
  const widget = Object.fromEntries(node.widgets.map((widget) => [widget.name, widget]));
  const used = widgetsOf[widget.format.value];
  if (!used) return;
  for (const name of new Set(Object.values(widgetsOf).flat())) {
    const hidden = !isShown(name, used, widget.rate_control.value);
    widget[name].hidden = hidden; // the classic canvas reads this,
    widget[name].options.hidden = hidden; // Nodes 2.0 that
  }
  const height = node.computeSize()[1];
  if (node.size[1] < height) node.setSize([node.size[0], height]);
  node.setDirtyCanvas?.(true, true);
}

const PREVIEWS = ["video-preview", "$$canvas-image-preview", "$$comfy_animation_preview"];

function removeOtherPreview(node, output) {
  const isPicture = !output?.animated?.[0] || /\.(png|webp)$/.test(output.images?.[0]?.filename ?? "");
  if (isPicture ? !node.videoContainer : !node.imgs?.length) return;
  for (const widget of node.widgets.filter((widget) => PREVIEWS.includes(widget.name))) node.removeWidget(widget);
  node.imgs = node.videoContainer = node.previewMediaType = undefined;
}

app.registerExtension({
  name: "DiffusedHeads.VideoCombine",
  nodeCreated(node) {
    const widgetsOf = node.constructor.nodeData?.input?.required?.format?.[1]?.widgets_of;
    if (node.comfyClass !== "DH_VideoCombine" || !widgetsOf) return;
    const refresh = () => update(node, widgetsOf);
    for (const widget of node.widgets)
      if (["format", "rate_control"].includes(widget.name)) extend(widget, "callback", refresh);
    extend(node, "onConfigure", refresh);
    extend(node, "onExecuted", (output) => removeOtherPreview(node, output));
    // The first drawing with a player makes the node larger, the next one shows it.
    extend(node, "addDOMWidget", () => setTimeout(() => node.setDirtyCanvas(true, true), 200));
    refresh();
    node.setSize([node.size[0], node.computeSize()[1]]);
  },
});
