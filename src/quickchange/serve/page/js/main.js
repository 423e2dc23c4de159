// @ts-check
/** Puts the page together and connects its parts. Every other script has one job and does not know the rest. */
import * as api from "./net/api.js";
import { Connection } from "./net/connection.js";
import { Controller } from "./state/controller.js";
import { tab } from "./state/storage.js";
import { Announcements } from "./ui/announcements.js";
import { Controls } from "./ui/controls.js";
import { byId } from "./ui/dom.js";
import { startDrop } from "./ui/drop.js";
import { Inspector } from "./ui/inspector.js";
import { startKeyboard } from "./ui/keyboard.js";
import { Overlay } from "./ui/overlay.js";
import { People } from "./ui/people.js";
import { Prompt } from "./ui/prompt.js";
import { Rack } from "./ui/rack.js";
import { Stage } from "./ui/stage.js";
import { Status } from "./ui/status.js";
import { sentence } from "./ui/text.js";
import { startTheme } from "./ui/theme.js";
import { Timing } from "./ui/timing.js";
import { dismissToast, startToasts, toast } from "./ui/toast.js";
import { Uploads } from "./ui/upload.js";
import { supportedCodecs } from "./video/decoder.js";
import { Receiver } from "./video/receiver.js";

startTheme();
startToasts();

const connection = new Connection(await supportedCodecs(), tab);
const stage = new Stage();
const status = new Status();
const timing = new Timing();
const rack = new Rack({
  onpick: (garment, start) => controller.wear(garment, start),
  onadd: (kind) => uploads.choose(kind),
});
const people = new People({
  onpick: (person, start) => controller.person(person, start),
  onadd: () => uploads.choosePerson(),
});
const prompt = new Prompt((text, start) => controller.say(text, start));
const receiver = new Receiver({
  draw: (picture) => stage.draw(picture),
  onshow: (header, now) => controller.displayed(header, now),
  onack: (frame) => connection.send({ type: "ack", frame, switched: controller.times() }),
  onneedkey: () => connection.send({ type: "keyframe" }),
  onbroken: () => {
    toast("The video decoder of this browser keeps failing, so the page switches to still pictures (JPEG).");
    connection.fallBackToJpeg();
  },
});
const controller = new Controller({
  connection, receiver, stage, rack, people, prompt,
  announcements: new Announcements({ stage, rack, people, prompt, timing }),
  notify: (text, tone) => void toast(sentence(text), { tone }),
});
const controls = new Controls({
  send: (message) => connection.send(message),
  take: (start) => controller.take(start),
  session: () => connection.token,
  frame: () => receiver.shown?.number ?? null,
  flash: () => stage.flash(),
});
const overlay = new Overlay({
  resume: () => connection.send({ type: "resume" }),
  connect: () => connection.connect(),
  startOver: () => {
    controller.lost();
    connection.startOver();
  },
  reload: () => location.reload(),
});
const inspector = new Inspector((message) => connection.send(message));
const uploads = new Uploads({
  trained: () => controller.model?.kinds ?? [],
  session: () => (connection.online ? connection.token : null),
  ongarment: (upload, name, start) => controller.wearUpload(upload, name, start),
  onperson: (upload, name, start) => controller.personUpload(upload, name, start),
});

// -- what the server says ---------------------------------------------------------------------------------------------

connection.on("phase", (phase) => {
  if (phase.name !== "online") controller.interrupted();
  overlay.show({ phase });
  controls.show(connection.online, controller.state);
});
connection.on("welcome", (welcome) => {
  status.model(welcome.model);
  stage.shape(welcome.model);
  controller.welcome(welcome);
  controls.recorded({ type: "recording", on: welcome.recording, url: null, seconds: 0 });
  connection.send({ type: "visible", visible: !document.hidden }); // on a reload the old page has just said "hidden"
  inspector.welcome();
});
connection.on("lost", () => controller.lost());
connection.on("state", ({ state }) => controller.changed(state));
connection.on("accepted", (accepted) => controller.accepted(accepted));
connection.on("video", (video) => {
  receiver.describe(video);
  status.video(video, controller.model);
});
connection.on("stats", (stats) => {
  status.stats(stats, receiver.skipped);
  controller.stats = stats;
});
connection.on("cache", (message) => inspector.add(message));
connection.on("recording", (message) => controls.recorded(message));
connection.on("problem", (trouble) => {
  controller.trouble(trouble);
  if (trouble.fatal) overlay.show({ problem: trouble.problem });
});
connection.on("frame", (data) => receiver.receive(data));
controller.onstate = (state) => {
  overlay.show({ state, ...(state === "opening" ? { problem: null } : {}) });
  controls.show(connection.online, state);
};

// -- what the viewer does ---------------------------------------------------------------------------------------------

startDrop((file, role, kind) => uploads.take(file, role, kind));
startKeyboard({
  digit: (event) => {
    const garment = rack.numbered(Number(event.key));
    if (garment) controller.wear(garment, event.timeStamp);
  },
  " ": () => controls.togglePause(),
  n: (event) => controller.take(event.timeStamp),
  s: () => controls.snapshot(),
  r: () => controls.toggleRecord(),
  f: () => controls.toggleFullscreen(),
  i: () => inspector.toggle(),
  p: () => prompt.focus(),
  "/": () => prompt.focus(),
  u: () => uploads.choose(),
  escape: () => dismissToast() || (inspector.open && inspector.toggle(false)),
});
byId("add-garment").addEventListener("click", () => uploads.choose());
document.addEventListener("visibilitychange", () => {
  connection.send({ type: "visible", visible: !document.hidden });
  controller.stretched();
  receiver.rebase();
});
setInterval(() => {
  status.shown(receiver.rate, controller.state === "live" && connection.online);
  connection.watch(controller.state === "live" && !document.hidden);
}, 1000);

// Read only, for tests and engineers.
Object.defineProperty(window, "quickchange", {
  value: Object.freeze({
    state: () => ({
      connection: connection.phase.name,
      sessionState: controller.state,
      codec: receiver.codec,
      frame: receiver.shown?.number ?? null,
      obeys: receiver.shown?.obeys ?? 0,
      shownFps: receiver.rate,
      generatedFps: controller.stats?.generated ?? null,
      wearing: rack.on,
      lastSwitch: controller.lastSwitch,
      dropped: (controller.stats?.dropped ?? 0) + receiver.skipped,
      resumed: connection.resumes,
      delayMs: receiver.delay,
    }),
    dropSocket: () => connection.drop(),
  }),
});

// -- start -----------------------------------------------------------------------------------------------------------

/** Loads garments and people and retries until it works: without them no session can open. */
async function load() {
  for (let wait = 500; ; wait = Math.min(5000, wait * 1.5)) {
    try {
      const [garments, persons] = await Promise.all([api.garments(), api.people()]);
      rack.fill(garments);
      people.fill(persons);
      controller.loaded();
      return;
    } catch (error) {
      const problem = error instanceof api.ProblemError ? error.problem : null;
      if (problem && (problem.status === 401 || problem.status === 403)) return; // the overlay says what to do
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

load();
connection.connect();
