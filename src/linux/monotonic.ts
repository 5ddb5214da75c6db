/** Milliseconds since the start of the machine: the same in every thread and process, and set back by nobody. */
export function monotonicMilliseconds(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}
