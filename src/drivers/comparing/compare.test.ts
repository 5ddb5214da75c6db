import { expect, test } from 'vitest';
import { compareTrees } from './compare.ts';
import type { Entry, Inode, Link, TreeState } from './trees.ts';

const many = 150_000;

/** A tree of one directory, as deep or as wide as it takes. */
function state(names: ReadonlyArray<readonly [name: string, number: number, directory: number]>): TreeState {
  const entries = new Map<number, Map<number, Entry>>([[1, new Map()]]);
  const links = new Map<number, Link[]>();
  for (const [name, number, directory] of names) {
    const own = entries.get(directory) ?? new Map<number, Entry>();
    entries.set(directory, own.set(number, { name, target: number, isSubvolume: false }));
    links.set(number, [...(links.get(number) ?? []), { directory, name }]);
  }
  const directories = new Set(names.map(([, , directory]) => directory));
  const inode = (number: number): Inode | undefined => {
    if (number !== 1 && !links.has(number)) return undefined;
    return { number, identity: number, type: number === 1 || directories.has(number) ? 'directory' : 'file' };
  };
  return {
    root: 1,
    inode,
    entries: (directory) => entries.get(directory) ?? new Map(),
    namesOf: (number) => links.get(number) ?? [],
    dataBytes: () => 1,
  };
}

function compared(from: TreeState, to: TreeState): ReturnType<typeof compareTrees> {
  const pair = { from, to, candidates: () => [1], difference: () => undefined, [Symbol.dispose]() {} };
  return compareTrees(pair);
}

test('a directory may be as wide as it likes', () => {
  const full = state(Array.from({ length: many }, (_, index) => [`file-${index}`, index + 2, 1] as const));
  expect(compared(state([]), full)).toHaveLength(many);
  expect(compared(full, state([]))).toHaveLength(many);
});

test('a tree may be as deep as it likes', () => {
  const depth = 3000;
  const deep = state(Array.from({ length: depth }, (_, index) => ['d', index + 2, index + 1] as const));
  const changes = compared(state([]), deep);
  expect(changes).toHaveLength(depth);
  expect(changes.at(-1)?.path).toHaveLength(2 * depth - 1);
});

test('a file may have as many names as it likes', () => {
  const names = (stem: string): TreeState => {
    const all = Array.from({ length: 1000 }, (_, index) => ({ name: `${stem}-${index}`, directory: 1 }));
    const base = state([['x', 2, 1]]);
    return {
      ...base,
      entries: () => new Map(all.map(({ name }) => [name, { name, target: 2, isSubvolume: false }])),
      namesOf: () => all,
    };
  };
  const changes = compared(names('a'), names('b'));
  expect(changes.map(({ kind }) => kind)).toEqual(Array(1000).fill('renamed'));
});
