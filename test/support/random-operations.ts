import { hasTrees, type Operation } from './model.ts';

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
  const snapshotReference = (): string => `${pick(names)}@${pick(snapshots)}`;
  const reference = (): string => (random() < 0.3 ? snapshotReference() : pick(names));
  const blocks = 1 + Math.floor(random() * 8);
  const seed = (): number => 1 + Math.floor(random() * 2 ** 31);
  const kinds: ReadonlyArray<readonly [weight: number, make: () => Operation]> = [
    [4, () => ({ kind: 'create', name, blocks })],
    [hasTrees ? 3 : 0, () => ({ kind: 'create', name, blocks, tree: true })],
    [2, () => ({ kind: 'import', name, blocks, seed: seed() })],
    [2, () => ({ kind: 'clone', source, name })],
    [2, () => ({ kind: 'clone', source, snapshot, name })],
    [1, () => ({ kind: 'seal', source, name })],
    [2, () => ({ kind: 'rename', source, name })],
    [6, () => ({ kind: 'write', name, block: blocks, seed: seed() })],
    [2, () => ({ kind: 'grow', name, blocks })],
    [3, () => ({ kind: 'snapshot', name, snapshot })],
    [4, () => ({ kind: 'rollback', name, snapshot })],
    [1, () => ({ kind: 'export', name })],
    [1, () => ({ kind: 'export', name, snapshot })],
    [1, () => ({ kind: 'removeSnapshot', name, snapshot })],
    [2, () => ({ kind: 'remove', name, withSnapshots: random() < 0.7 })],
    [4, () => ({ kind: 'snapshotTogether', names: some(() => pick(names)), snapshot })],
    [1, () => ({ kind: 'removeTogether', references: some(snapshotReference), withSnapshots: true })],
    [1, () => ({ kind: 'removeTogether', references: some(reference), withSnapshots: random() < 0.7 })],
  ];
  return pick(kinds.flatMap(([weight, make]) => Array.from({ length: weight }, () => make)))();
}
