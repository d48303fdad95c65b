// What the emulator remembers beside what workerd itself stores; control.js changes it.

export const state = {
  faults: [],
  log: [],
  // Milliseconds by which the tests have turned the clock forwards.
  clockOffsetMs: 0,
  config: {
    // How long a KV read keeps answering what it answered first, milliseconds; 0 is never.
    kvStaleMs: 0,
    // Shortest time between two writes of one KV key, milliseconds; 0 is no limit.
    kvWriteLimitMs: 0,
    // How long until a Vectorize mutation is visible, milliseconds.
    vectorizeDelayMs: 0,
  },
  kvRemembered: new Map(),
  kvWrittenAt: new Map(),
  vectorIndexes: new Map(),
};

export function now() {
  return Date.now() + state.clockOffsetMs;
}
