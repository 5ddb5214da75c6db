import type { FileSystem } from '../conformance/backends.ts';
import type { Outcome } from './run-child.ts';

/** Whether to take the time for every single step. */
export const long: boolean = process.env['COPPICE_LONG'] === '1';

/** Which of the steps that are left to chance are taken: printed when the tests begin, and given to play them again. */
const seed = Number(process.env['COPPICE_SEED'] ?? 0);

/**
 * The steps before which a process is killed: all that may change something, and the one behind the last of them. What a kill leaves
 * before any other is what it leaves before the next of these, so of the others only every eighth is taken, each commit another. On
 * the second backend, where the engine does the same again, they are none, and of those that change something every second.
 * `npm run test:long` takes them all.
 */
export function killSteps(
  { steps, changing }: Pick<Outcome, 'steps' | 'changing'>,
  backend: Pick<FileSystem, 'name'> = { name: 'btrfs' },
): number[] {
  const all = steps.map((_, index) => index + 1);
  if (long) return all;
  const behind = (changing.at(-1) ?? 0) + 1;
  const known = [...changing, behind].filter((step) => step <= steps.length);
  if (backend.name !== 'btrfs') return known.filter((_, index) => (index + seed) % 2 === 0);
  return all.filter((step) => known.includes(step) || (step + seed) % 8 === 0);
}

/**
 * The steps that fail: every one, or of many the first and last twelve and every fourth between, each commit another fourth. On the
 * second backend, where the engine does the same again, every fourth. `npm run test:long` takes them all.
 */
export function failingSteps(count: number, backend: Pick<FileSystem, 'name'> = { name: 'btrfs' }): number[] {
  const all = Array.from({ length: count }, (_, index) => index + 1);
  if (long) return all;
  const isDrawn = (step: number): boolean => (step + seed) % 4 === 0;
  if (backend.name !== 'btrfs') return all.filter(isDrawn);
  return count <= 30 ? all : all.filter((step) => step <= 12 || step > count - 12 || isDrawn(step));
}
