// @ts-check
/** The line of numbers at the foot of the page. The page counts the frames shown; the server reports the rest. */
import { byId, setText } from "./dom.js";
import { milliseconds } from "./text.js";

const CODECS = { h264: "H.264", vp8: "VP8", jpeg: "JPEG" };

export class Status {
  /** @param {string} name @param {string} value */
  #set(name, value) {
    setText(byId(`stat-${name}`), value);
  }

  /** @param {import("../net/protocol.js").ModelInfo} model */
  model(model) {
    this.#set("model", model.name);
    byId("stat-model").title = `on ${model.device}`;
    const kinds = model.kinds.length ? `It was trained on ${model.kinds.map((kind) => `${kind}s`).join(", ")}.` : "";
    setText(
      byId("about"),
      `${model.name} on ${model.device} generates ${model.width} × ${model.height} pixels at ${model.fps} frames ` +
        `per second. The picture is shown enlarged. ${kinds}`,
    );
  }

  /** @param {import("../net/protocol.js").Video} video @param {import("../net/protocol.js").ModelInfo | null} model */
  video(video, model) {
    const size = model ? `${model.width}×${model.height}` : `${video.width}×${video.height}`;
    this.#set("size", `${size} · ${CODECS[video.codec]}`);
    byId("stat-size").title = `generated ${size}, sent as ${video.width}×${video.height}`;
  }

  /** @param {number} shown @param {boolean} live */
  shown(shown, live) {
    this.#set("shown", live ? shown.toFixed(1) : "–");
  }

  /** @param {import("../net/protocol.js").Stats} stats @param {number} skipped frames that this page left out */
  stats(stats, skipped) {
    this.#set("generated", stats.generated.toFixed(stats.generated < 100 ? 1 : 0));
    this.#set("buffer", milliseconds(stats.buffered_ms));
    this.#set("p50", stats.switch_p50 === null ? "–" : milliseconds(stats.switch_p50));
    this.#set("p95", stats.switch_p95 === null ? "–" : milliseconds(stats.switch_p95));
    this.#set("dropped", String(stats.dropped + skipped));
  }
}
