// @ts-check
/**
 * What outlives a reload: the session's token and the pictures uploaded into it (per tab), and preferences (per
 * browser). Storage may be forbidden or full; then nothing is remembered and everything else works.
 */

/**
 * @param {() => Storage} area
 * @param {string} key
 * @returns {any} what was stored; null where there is nothing
 */
function read(area, key) {
  try {
    return JSON.parse(area().getItem(`quickchange.${key}`) ?? "null");
  } catch {
    return null;
  }
}

/**
 * @param {() => Storage} area
 * @param {string} key
 * @param {unknown} value
 */
function write(area, key, value) {
  try {
    if (value === null) area().removeItem(`quickchange.${key}`);
    else area().setItem(`quickchange.${key}`, JSON.stringify(value));
  } catch {
    // private mode or full: see above
  }
}

/**
 * A store on top of the browser's. `area` may throw: asking for a forbidden storage already does.
 * @param {() => Storage} area
 */
const store = (area) => ({
  /** @param {string} key */
  get: (key) => read(area, key),
  /** @param {string} key @param {unknown} value null removes it */
  set: (key, value) => write(area, key, value),
});

export const tab = store(() => sessionStorage);
export const browser = store(() => localStorage);
