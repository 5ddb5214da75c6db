import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

/** Bytes for new objects, in each thread: what several calls make while they are under way fits in. */
const enough = 4 * 2 ** 20;

/** Milliseconds between two looks. */
const usualLook = 250;

/**
 * Keeps V8 from giving ever more memory to new objects: it goes up to 128 MB for each thread of a program that makes much garbage, and to clean
 * that takes up to 20 ms in which nothing is answered, against 2 ms with a limit (docs/performance.md).
 * @returns stops looking
 */
export function limitNewSpace(): () => void {
  const timer = setInterval(() => {
    const space = getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space');
    if (!space || space.space_size < enough) return;
    setFlagsFromString('--semi-space-growth-factor=1');
    clearInterval(timer);
  }, usualLook);
  timer.unref();
  return () => clearInterval(timer);
}
