// @ts-check
/**
 * Values that survive a reload: the session's token and its uploads (per tab), and preferences (per browser). Where the
 * browser forbids storage or has no room, the page works but remembers nothing.
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
    // forbidden or full, see above
  }
}

/**
 * A store on top of a browser storage. `area` is a function because the browser throws on access to a forbidden
 * storage.
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
