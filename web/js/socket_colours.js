/** Colours of the pack's own sockets and of their links, in both canvases. */
import { app } from "../../../scripts/app.js";

const COLOURS = {
  DH_MODEL: "#b39ddb",
  DH_IDENTITY: "#f4a259",
  DH_AUDIO_EMBEDDING: "#4db6ac",
  DH_SAMPLING_OPTIONS: "#90a4ae",
  DH_MOTION: "#f06292",
  DH_DATASET: "#aed581",
  DH_LOSS: "#e57373",
};

/**
 * Give a type a colour in a table of the classic canvas. Each change of the palette writes "" for types that the palette
 * does not know; a setter keeps our colour then, and takes the colour of a palette that does know the type.
 */
function setColour(table, type, colour) {
  let chosen = table[type] || colour;
  Object.defineProperty(table, type, {
    configurable: true,
    enumerable: true,
    get: () => chosen,
    set: (value) => { chosen = value || colour; },
  });
}

app.registerExtension({
  name: "DiffusedHeads.SocketColours",
  setup() {
    for (const [type, colour] of Object.entries(COLOURS)) {
      setColour(app.canvas.default_connection_color_byType, type, colour);
      setColour(app.canvas.constructor.link_type_colors, type, colour);
    }
    // Nodes 2.0 reads CSS variables. A palette's own colours are inline styles, which come before a style sheet.
    const sheet = document.createElement("style");
    const rules = Object.entries(COLOURS).map(([type, colour]) => `--color-datatype-${type}: ${colour};`);
    sheet.textContent = `:root { ${rules.join(" ")} }`;
    document.head.append(sheet);
  },
});
