// @ts-check
/** Numbers and the server's words as texts of this page. Pure. */

/** @param {number} ms */
export function milliseconds(ms) {
  return ms < 9995 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** @param {number} seconds */
export function clockTime(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** The server's words as a sentence of this page. @param {string} text */
export function sentence(text) {
  const trimmed = text.trim();
  if (!trimmed) return "";
  return trimmed[0].toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}

/** What an error says to the viewer. @param {unknown} error */
export function errorText(error) {
  return sentence(error instanceof Error ? error.message : String(error));
}
