// Fills %date:yyyy-MM-dd% and %Node.widget% into file names when a prompt is sent. The page does so by itself only for
// a fixed list of ComfyUI's own nodes. The saved workflow keeps the tokens.
import { app } from "../../../scripts/app.js";

app.registerExtension({
  name: "DiffusedHeads.Tokens",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("DH_")) return;
    const widget = node.widgets?.find((widget) => widget.name === "filename_prefix");
    if (!widget) return;
    const replaced = window.comfyAPI?.utils?.applyTextReplacements;
    if (replaced) widget.serializeValue = () => replaced(app, String(widget.value ?? ""));
  },
});
