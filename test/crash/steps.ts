import type { FileSystem } from '../conformance/backends.ts';

/** Whether to take the time for every single step. */
export const long: boolean = process.env['COPPICE_LONG'] === '1';

/**
 * The steps to test: every one, or of many the first and last twelve and every fourth between. On the second backend, where the engine
 * does the same again, every fourth. `npm run test:long` takes them all.
 */
export function chosenSteps(count: number, backend: Pick<FileSystem, 'name'> = { name: 'btrfs' }): number[] {
  const all = Array.from({ length: count }, (_, index) => index + 1);
  if (long) return all;
  if (backend.name !== 'btrfs') return all.filter((step) => step % 4 === count % 4);
  return count <= 30 ? all : all.filter((step) => step <= 12 || step > count - 12 || step % 4 === 0);
}
