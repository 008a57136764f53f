/**
 * The player of Video Combine. It is the page's own, which repeats by itself and has controls. Here it also starts by
 * itself, without sound, which browsers allow and neighbours like; with the pointer on it, it has its sound.
 */
import { app } from "../../../scripts/app.js";
import { extend } from "./panels.js";

const TRIES = 40;
const PAUSE = 250; // milliseconds between two tries

/** The player in a node, once it shows the file: in a widget of the classic canvas, or in the node's own element. */
function findPlayer(node, filename) {
  const places = [node.videoContainer, document.querySelector(`[data-node-id="${CSS.escape(String(node.id))}"]`)];
  const players = places.flatMap((place) => [...(place?.querySelectorAll("video") ?? [])]);
  return players.find((player) => new URL(player.src, location.href).searchParams.get("filename") === filename);
}

function start(player) {
  if (player.dataset.diffusedHeads !== player.src) {
    player.dataset.diffusedHeads = player.src;
    let chosen = false; // whether the user has set the sound by the player's controls
    let expected = true;
    const mute = (muted) => {
      if (chosen || player.muted === muted) return;
      expected = muted;
      player.muted = muted;
    };
    player.addEventListener("volumechange", () => { chosen ||= player.muted !== expected; });
    player.addEventListener("pointerenter", () => mute(false));
    player.addEventListener("pointerleave", () => mute(true));
    player.loop = true;
    player.muted = true;
  }
  player.play().catch(() => {}); // a browser that refuses leaves the play button
}

/** The page makes the player some time after the node has run, and gives no sign when it has. */
async function startWhenShown(node, filename) {
  for (let count = 0; count < TRIES; count++) {
    const player = findPlayer(node, filename);
    if (player) return start(player);
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

app.registerExtension({
  name: "DiffusedHeads.Player",
  nodeCreated(node) {
    if (node.comfyClass !== "DH_VideoCombine") return;
    extend(node, "onExecuted", (output) => {
      const filename = output?.images?.[0]?.filename;
      if (filename && output.animated?.[0]) startWhenShown(node, filename);
    });
  },
});
