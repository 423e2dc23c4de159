// @ts-check
/**
 * What outlives a reload: the session's token and the pictures uploaded into it (per tab), and preferences (per
 * browser). Storage may be forbidden or full; then nothing is remembered and everything else works.
 */

/**
 * @param {Storage} store
 * @param {string} key
 */
function read(store, key) {
  try {
    return JSON.parse(store.getItem(`quickchange.${key}`) ?? "null");
  } catch {
    return null;
  }
}

/**
 * @param {Storage} store
 * @param {string} key
 * @param {any} value
 */
function write(store, key, value) {
  try {
    if (value === null) store.removeItem(`quickchange.${key}`);
    else store.setItem(`quickchange.${key}`, JSON.stringify(value));
  } catch {
    // private mode or full: see above
  }
}

/** @param {"session" | "localStorage"} kind */
const area = (kind) => {
  try {
    return kind === "session" ? sessionStorage : localStorage;
  } catch {
    return /** @type {any} */ (undefined);
  }
};

export const tab = {
  /** @param {string} key */
  get: (key) => read(area("session"), key),
  /** @param {string} key @param {any} value */
  set: (key, value) => write(area("session"), key, value),
};

export const browser = {
  /** @param {string} key */
  get: (key) => read(area("localStorage"), key),
  /** @param {string} key @param {any} value */
  set: (key, value) => write(area("localStorage"), key, value),
};
