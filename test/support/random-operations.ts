import type { Operation } from './model.ts';

/** A source of numbers that gives the same ones for the same seed: mulberry32. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const names = ['a', 'b', 'c', 'd'];
const snapshots = ['x', 'y'];

/** Operations on few names, so that they meet. */
export function randomOperation(random: () => number): Operation {
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
  const [name, source, snapshot] = [pick(names), pick(names), pick(snapshots)];
  const some = <T>(make: () => T): T[] => Array.from({ length: 2 + Math.floor(random() * 2) }, make);
  const reference = (): string => (random() < 0.3 ? `${pick(names)}@${pick(snapshots)}` : pick(names));
  const blocks = 1 + Math.floor(random() * 8);
  const seed = (): number => 1 + Math.floor(random() * 2 ** 31);
  return pick<() => Operation>([
    () => ({ kind: 'create', name, blocks }),
    () => ({ kind: 'create', name, blocks }),
    () => ({ kind: 'import', name, blocks, seed: seed() }),
    () => ({ kind: 'export', name }),
    () => ({ kind: 'export', name, snapshot }),
    () => ({ kind: 'write', name, block: blocks, seed: seed() }),
    () => ({ kind: 'write', name, block: blocks, seed: seed() }),
    () => ({ kind: 'write', name, block: blocks, seed: seed() }),
    () => ({ kind: 'clone', source, name }),
    () => ({ kind: 'clone', source, snapshot, name }),
    () => ({ kind: 'seal', source, name }),
    () => ({ kind: 'rename', source, name }),
    () => ({ kind: 'grow', name, blocks }),
    () => ({ kind: 'grow', name, blocks }),
    () => ({ kind: 'snapshot', name, snapshot }),
    () => ({ kind: 'snapshot', name, snapshot }),
    () => ({ kind: 'rollback', name, snapshot }),
    () => ({ kind: 'removeSnapshot', name, snapshot }),
    () => ({ kind: 'remove', name, withSnapshots: random() < 0.7 }),
    () => ({ kind: 'snapshotTogether', names: some(() => pick(names)), snapshot }),
    () => ({ kind: 'snapshotTogether', names: some(() => pick(names)), snapshot }),
    () => ({
      kind: 'removeTogether',
      references: some(() => `${pick(names)}@${pick(snapshots)}`),
      withSnapshots: true,
    }),
    () => ({ kind: 'removeTogether', references: some(reference), withSnapshots: random() < 0.7 }),
  ])();
}
