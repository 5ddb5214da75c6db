import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

/** Bytes for new objects, in each thread: what several calls make while they are under way fits in. */
const enough = 8 * 2 ** 20;

/** Milliseconds between two looks. */
const usualLook = 20;

/**
 * Has V8 clean more often, and less at once. Left alone, it gives up to 128 MB to the new objects of each thread, which takes up to 20 ms to
 * clean, in which nothing is answered; and lets what it holds grow to several times of what is in use, with the buffers of all connections
 * behind it (docs/performance.md). For threads that are started later, too.
 */
export function keepHeapSmall(): void {
  setFlagsFromString('--heap-growing-percent=40');
  // Smaller than that from the beginning, what is only needed for a call would count as old: clones took half as long again.
  const timer = setInterval(() => {
    const space = getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space');
    if (!space || space.space_size < enough) return;
    setFlagsFromString('--semi-space-growth-factor=1');
    clearInterval(timer);
  }, usualLook);
  timer.unref();
}
