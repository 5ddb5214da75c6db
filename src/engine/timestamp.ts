let written = -1;
let text = '';

/** The present time as metadata has it: UTC, ISO 8601, milliseconds. Written out once a millisecond, in which a thread makes several clones. */
export function timestamp(): string {
  const now = Date.now();
  if (now !== written) {
    text = new Date(now).toISOString();
    written = now;
  }
  return text;
}
