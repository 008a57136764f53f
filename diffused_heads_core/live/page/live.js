// The page of `diffused-heads live`: chooses a portrait and a source of sound, and shows the head that says it.
const at = (id) => document.getElementById(id);
const [stage, video, still, message] = ["stage", "video", "still", "message"].map(at);
// Milliseconds that sound and pictures wait in the browser: as long as each other from the start, and enough for both.
const BUFFER = 120;
let chosen = null; // name of a portrait
let call = null; // { peer, id, stopSource, polling }

async function asked(path, options = {}) {
  const response = await fetch(path, options);
  if (!response.ok) throw new Error((await response.text()) || response.statusText);
  return response.status === 204 ? null : response.json();
}

function say(text) {
  message.textContent = text;
}

async function listPortraits(select) {
  const { portraits } = await asked("portraits");
  at("portraits").replaceChildren(...portraits.map(({ name, label }) => {
    const button = document.createElement("button");
    const picture = document.createElement("img");
    Object.assign(picture, { src: `portraits/${encodeURIComponent(name)}`, alt: label });
    Object.assign(button, { title: label, onclick: () => choose(name) });
    button.dataset.name = name;
    button.setAttribute("role", "option");
    button.append(picture);
    return button;
  }));
  choose(select ?? portraits[0].name);
}

function choose(name) {
  chosen = name;
  still.src = `portraits/${encodeURIComponent(name)}`;
  for (const button of at("portraits").children) button.setAttribute("aria-selected", button.dataset.name === name);
  if (call) start(call.source);
}

async function upload(file) {
  say("looking for the face …");
  const label = encodeURIComponent(file.name);
  const { name } = await asked(`portraits?label=${label}`, { method: "POST", body: await file.arrayBuffer() });
  say("");
  await listPortraits(name);
}

async function microphone() {
  const wanted = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  if (!navigator.mediaDevices) throw new Error("browsers give no microphone to this page: open it on this machine, or drop a recording");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
  return { track: stream.getAudioTracks()[0], stop: () => stream.getTracks().forEach((track) => track.stop()), again: microphone };
}

function recording(file) {
  return async () => {
    const context = new AudioContext({ sampleRate: 48000 });
    const decoded = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
      context.close();
      throw new Error(`${file.name}: this browser finds no sound in it`);
    });
    const target = context.createMediaStreamDestination();
    const source = new AudioBufferSourceNode(context, { buffer: decoded });
    source.connect(target);
    const played = () => source.start();
    return { track: target.stream.getAudioTracks()[0], stop: () => context.close(), again: recording(file), played };
  };
}

async function start(makeSource) {
  await stop();
  say("connecting …");
  const mine = (call = { source: makeSource });
  try {
    const source = await makeSource();
    mine.stopSource = source.stop;
    if (call !== mine) return source.stop();
    const peer = (mine.peer = new RTCPeerConnection());
    const shown = new MediaStream();
    peer.ontrack = ({ track, receiver }) => {
      receiver.jitterBufferTarget = BUFFER;
      shown.addTrack(track);
      video.srcObject = shown;
    };
    peer.addTrack(source.track, new MediaStream([source.track]));
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.onconnectionstatechange = () => {
      if (peer.connectionState === "connected") {
        say("");
        source.played?.();
        stage.classList.add("talking");
        mine.polling = [setInterval(() => figures(mine), 1000), setInterval(() => follow(mine), 400)];
      } else if (peer.connectionState === "failed") {
        stop().then(() => say("the connection failed: is a firewall between this browser and this machine's own address?"));
      }
    };
    await peer.setLocalDescription(await peer.createOffer());
    await gathered(peer);
    const offer = { sdp: peer.localDescription.sdp, portrait: chosen };
    const answer = await asked("connect", { method: "POST", body: JSON.stringify(offer) });
    mine.id = answer.id;
    await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
    at("stop").disabled = false;
    await video.play().catch(() => {});
  } catch (error) {
    await stop();
    say(error.name === "NotAllowedError" ? "the browser did not allow the microphone" : error.message);
  }
}

function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((done) => {
    setTimeout(done, 2000);
    peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
  });
}

async function stop() {
  const ended = call;
  call = null;
  stage.classList.remove("talking");
  at("stop").disabled = true;
  at("figures").hidden = true;
  if (!ended) return;
  ended.polling?.forEach(clearInterval);
  ended.stopSource?.();
  ended.peer?.close();
  video.srcObject = null;
  if (ended.id) await asked(`close/${ended.id}`, { method: "POST" }).catch(() => {});
}

async function figures(mine) {
  const status = await asked(`status/${mine.id}`).catch(() => null);
  if (!status || call !== mine) return;
  const network = await networkDelay(mine.peer);
  at("delay").textContent = `${(status.delay + network).toFixed(2)} s (head ${status.delay.toFixed(2)}, network and browser ${network.toFixed(2)})`;
  at("fps").textContent = `${status.fps} (${Math.round(1000 * status.painting)} ms per frame)`;
  at("left-out").textContent = `${status.left_out} of ${status.left_out + status.shown} frames`;
  at("pages").textContent = `${status.connected} of at most ${status.viewers}`;
  at("figures").hidden = false;
}

// The browser lets sound wait longer when it comes irregularly, and pictures follow slowly: they are told at once.
async function follow(mine) {
  const receivers = mine.peer.getReceivers();
  const [sound, picture] = ["audio", "video"].map((kind) => receivers.find(({ track }) => track.kind === kind));
  const report = [...(await sound.getStats()).values()].find(({ type }) => type === "inbound-rtp");
  if (!report || call !== mine) return;
  const { jitterBufferDelay: waited, jitterBufferEmittedCount: samples } = report;
  const before = mine.waited ?? { waited: 0, samples: 0 };
  mine.waited = { waited, samples };
  const now = (waited - before.waited) / Math.max(1, samples - before.samples);
  picture.jitterBufferTarget = Math.min(1000, Math.max(BUFFER, 1000 * now));
}

// What the browser's own buffers and the way to this machine add, in seconds.
async function networkDelay(peer) {
  let seconds = 0;
  for (const report of (await peer.getStats()).values()) {
    if (report.type === "candidate-pair" && report.nominated) seconds += report.currentRoundTripTime ?? 0;
    if (report.type === "inbound-rtp" && report.kind === "audio" && report.jitterBufferEmittedCount)
      seconds += report.jitterBufferDelay / report.jitterBufferEmittedCount;
  }
  return seconds;
}

function taken(file) {
  if (!file) return;
  if (file.type.startsWith("image/")) upload(file).catch((error) => say(error.message));
  else start(recording(file));
}

at("speak").onclick = () => start(microphone);
at("stop").onclick = () => stop().then(() => say(""));
at("upload").onchange = ({ target }) => { taken(target.files[0]); target.value = ""; };
at("recording").onchange = ({ target }) => { taken(target.files[0]); target.value = ""; };
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    stage.classList.toggle("dropping", kind === "dragover");
    if (kind === "drop") taken(event.dataTransfer.files[0]);
  });
}
addEventListener("pagehide", () => call?.id && navigator.sendBeacon(`close/${call.id}`));
listPortraits().catch((error) => say(error.message));
