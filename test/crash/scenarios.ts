import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Pool } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { type FileSystem, fileSystems } from '../conformance/backends.ts';
import { diskBytes, extended, overwrite, overwritten } from './content.ts';
import {
  apartFiles,
  base,
  first,
  makeApart,
  makeChain,
  makeDisks,
  makeOriginals,
  makePolicy,
  makeTree,
  makeVolume,
  second,
  third,
  treeFiles,
} from './making.ts';
import { line, originalsIn, readState, type State, treeBytes, withLines, without } from './state.ts';

/**
 * The operations that crash tests interrupt, each with what was there before, what must be there once it has returned, and, where
 * it is not one atomic step, what may be there in between. `base`, a template, is in every pool; the rest is made here.
 */
export interface Scenario {
  readonly name: string;
  prepare?(pool: Pool, scratch: string): Promise<void>;
  call(pool: Pool, scratch: string): readonly [method: string, ...args: unknown[]];
  after(before: State): State;
  between?(before: State): readonly State[];
  /** Returned before it is durable: a power cut may undo it. */
  readonly deferred?: boolean;
  /** The volume `vm` has a write that was not flushed: before the operation has returned, a power cut may take that. */
  readonly unflushed?: { readonly with: Buffer; readonly without: Buffer };
  /** The capability without which there is nothing to interrupt. */
  readonly needs?: string;
  /** A test of its own kills it and has calls of it fail; here the power is cut. */
  readonly isKilledElsewhere?: true;
  /** What the check of the pool rightly finds, because the scenario damages it. */
  readonly damaged?: readonly string[];
}

const snapshotOf = (volume: string, name: string): string =>
  line(`${volume}@${name}`, 'user', overwritten(base, volume));

const autoSnapshot = line('vm@auto', 'policy', third);

const rolledBack = (before: State, ...kept: string[]): State =>
  withLines(without(before, 'vm'), line('vm', 'volume', first), ...kept);

export const scenarios: readonly Scenario[] = [
  {
    name: 'create',
    call: () => ['create', 'new', { bytes: diskBytes }],
    after: (before) => withLines(before, line('new', 'volume', Buffer.alloc(diskBytes))),
  },
  {
    name: 'clone by reflink',
    call: () => ['clone', 'base', 'copy', {}],
    after: (before) => withLines(before, line('copy', 'volume', base)),
  },
  {
    name: 'clone by reflink, deferred',
    call: () => ['clone', 'base', 'copy', { durability: 'deferred' }],
    after: (before) => withLines(before, line('copy', 'volume', base)),
    deferred: true,
  },
  {
    name: 'clone by snapshot',
    needs: 'replicableClones',
    call: () => ['clone', 'base', 'copy', { replicable: true }],
    after: (before) => withLines(before, line('copy', 'volume', base)),
  },
  {
    name: 'clone to a bigger size',
    call: () => ['clone', 'base', 'copy', { bytes: 2 * diskBytes }],
    after: (before) => withLines(before, line('copy', 'volume', extended(base, 2 * diskBytes))),
  },
  {
    name: 'clone to a bigger size by snapshot',
    needs: 'replicableClones',
    call: () => ['clone', 'base', 'copy', { bytes: 2 * diskBytes, replicable: true }],
    after: (before) => withLines(before, line('copy', 'volume', extended(base, 2 * diskBytes))),
  },
  {
    name: 'clone of a snapshot',
    prepare: makeVolume,
    call: () => ['clone', 'vm@s1', 'copy', {}],
    after: (before) => withLines(before, line('copy', 'volume', first)),
  },
  {
    name: 'clone of a volume that was just written to',
    async prepare(pool) {
      await makeDisks(pool, 'vm');
      overwrite(await pool.diskPath('vm'), 'first', false);
    },
    call: () => ['clone', 'vm', 'copy', {}],
    after: (before) => withLines(before, line('copy', 'volume', first)),
    unflushed: { with: first, without: overwritten(base, 'vm') },
  },
  {
    name: 'snapshot',
    prepare: (pool) => makeDisks(pool, 'vm'),
    call: () => ['snapshot', 'vm@s1'],
    after: (before) => withLines(before, line('vm@s1', 'user', overwritten(base, 'vm'))),
  },
  {
    name: 'following a policy',
    prepare: makePolicy,
    call: () => ['applyPolicies', {}],
    after: (before) => without(withLines(before, autoSnapshot), 'vm@s1', 'vm@s2'),
    between: (before) => [
      withLines(before, autoSnapshot),
      // For want of space none is taken, and what is over goes all the same.
      without(before, 'vm@s1'),
      // Where both can't go in one step, each goes by itself.
      without(withLines(before, autoSnapshot), 'vm@s1'),
      without(withLines(before, autoSnapshot), 'vm@s2'),
    ],
  },
  {
    name: 'holding a snapshot',
    prepare: makeVolume,
    call: () => ['hold', 'vm@s1', { reason: 'still wanted' }],
    after: (before) => before,
  },
  {
    name: 'snapshot with a generated name',
    prepare: makeVolume,
    call: () => ['snapshot', 'vm'],
    after: (before) => withLines(before, line('vm@snap', 'user', third)),
  },
  {
    name: 'snapshot of several volumes',
    prepare: (pool) => makeDisks(pool, 'vm-a', 'vm-b', 'vm-c'),
    call: () => ['snapshot', ['vm-c@s', 'vm-a@s', 'vm-b@s'], {}],
    after: (before) => withLines(before, ...['vm-a', 'vm-b', 'vm-c'].map((name) => snapshotOf(name, 's'))),
  },
  {
    name: 'snapshot of several volumes with a generated name',
    prepare: (pool) => makeDisks(pool, 'vm-a', 'vm-b'),
    call: () => ['snapshot', ['vm-a', 'vm-b'], {}],
    after: (before) => withLines(before, snapshotOf('vm-a', 'snap'), snapshotOf('vm-b', 'snap')),
  },
  {
    name: 'rollback',
    prepare: makeVolume,
    call: () => ['rollback', 'vm@s1', {}],
    after: (before) => rolledBack(before, line('vm@pre-rollback', 'rollback', third)),
  },
  {
    name: 'rollback of a volume whose disk is gone',
    async prepare(pool) {
      await makeVolume(pool);
      rmSync(join(pool.path, 'volumes/vm/data/disk.raw'));
      await pool.sync();
    },
    call: () => ['rollback', 'vm@s1', {}],
    after: (before) => rolledBack(before),
    damaged: ['vm'],
  },
  {
    name: 'rollback of a volume whose data is gone',
    async prepare(pool) {
      await makeVolume(pool);
      const { tools } = await backendOf(pool);
      tools.removeData(await pool.diskPath('vm'));
      await pool.sync();
    },
    call: () => ['rollback', 'vm@s1', {}],
    after: (before) => rolledBack(before),
    damaged: ['vm'],
  },
  {
    name: 'rename',
    prepare: makeVolume,
    call: () => ['rename', 'vm', 'moved'],
    after: (before) => before.map((entry) => entry.replace(/^vm/, 'moved')).sort(),
  },
  {
    name: 'grow',
    prepare: (pool) => makeDisks(pool, 'vm'),
    call: () => ['grow', 'vm', { bytes: 2 * diskBytes }],
    after: (before) =>
      withLines(
        without(before, 'vm'),
        line('vm', 'volume', extended(overwritten(base, 'vm'), 2 * diskBytes)),
      ),
  },
  {
    name: 'seal',
    async prepare(pool) {
      await makeDisks(pool, 'vm');
      overwrite(await pool.diskPath('vm'), 'first', false);
    },
    call: () => ['seal', 'vm', 'sealed'],
    after: (before) => withLines(before, line('sealed', 'template', first)),
    unflushed: { with: first, without: overwritten(base, 'vm') },
  },
  {
    name: 'remove a volume',
    prepare: (pool) => makeDisks(pool, 'vm'),
    call: () => ['remove', 'vm', {}],
    after: (before) => without(before, 'vm'),
  },
  {
    name: 'remove a volume with its snapshots',
    prepare: makeVolume,
    call: () => ['remove', 'vm', { withSnapshots: true }],
    after: (before) => without(before, 'vm', 'vm@s1', 'vm@s2'),
  },
  {
    name: 'remove several volumes',
    prepare: (pool) => makeDisks(pool, 'vm-a', 'vm-b', 'vm-c'),
    call: () => ['remove', ['vm-c', 'vm-a', 'vm-b'], {}],
    after: (before) => without(before, 'vm-a', 'vm-b', 'vm-c'),
  },
  {
    name: 'remove several volumes and snapshots',
    async prepare(pool) {
      await makeVolume(pool);
      await makeDisks(pool, 'vm-a', 'vm-b');
      await pool.snapshot(['vm-a@s', 'vm-b@s']);
    },
    call: () => ['remove', ['vm-b', 'vm@s2', 'vm-a@s'], { withSnapshots: true }],
    after: (before) => without(before, 'vm-b', 'vm-b@s', 'vm@s2', 'vm-a@s'),
  },
  {
    name: 'remove a snapshot',
    prepare: makeVolume,
    call: () => ['remove', 'vm@s1', {}],
    after: (before) => without(before, 'vm@s1'),
  },
  {
    name: 'remove one of a deep lineage',
    prepare: makeChain,
    call: () => ['remove', 'depth-17', {}],
    after: (before) => withLines(without(before, 'depth-17'), 'depth-17 tombstone'),
  },
  {
    name: 'import of a raw image',
    async prepare(_pool, scratch) {
      writeFileSync(join(scratch, 'image.raw'), first);
    },
    call: (_pool, scratch) => ['import', 'image', join(scratch, 'image.raw'), {}],
    after: (before) => withLines(before, line('image', 'template', first)),
  },
  {
    name: 'import of a raw image on the same file system',
    prepare: (pool) => makeDisks(pool, 'vm'),
    call: (pool) => ['import', 'image', join(pool.path, 'volumes/vm/data/disk.raw'), {}],
    after: (before) => withLines(before, line('image', 'template', overwritten(base, 'vm'))),
  },
  {
    name: 'import of a qcow2 image',
    async prepare(_pool, scratch) {
      const [raw, qcow2] = [join(scratch, 'image.raw'), join(scratch, 'image.qcow2')];
      writeFileSync(raw, second);
      runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2]);
    },
    call: (_pool, scratch) => ['import', 'image', join(scratch, 'image.qcow2'), {}],
    after: (before) => withLines(before, line('image', 'template', second)),
  },
  {
    name: 'adopt',
    prepare: (pool) => makeOriginals(pool, { a: first, b: second }),
    call: (pool) => ['adopt', originalsIn(pool.path)],
    after: (before) => withLines(before, line('a', 'volume', first), line('b', 'volume', second)),
    // One that fails does not stop the other.
    between: (before) => [
      withLines(before, line('a', 'volume', first)),
      withLines(before, line('b', 'volume', second)),
    ],
  },
  {
    name: 'adopt as template, and remove the original',
    prepare: (pool) => makeOriginals(pool, { a: first }),
    call: (pool) => ['adopt', originalsIn(pool.path), { as: 'template', removeOriginals: true }],
    after: (before) => withLines(without(before, 'originals/a.raw'), line('a', 'template', first)),
    between: (before) => [withLines(before, line('a', 'template', first))],
  },
  {
    name: 'adopt again, and remove the originals',
    async prepare(pool) {
      await makeOriginals(pool, { a: first, b: second });
      await pool.adopt(originalsIn(pool.path));
    },
    call: (pool) => ['adopt', originalsIn(pool.path), { removeOriginals: true }],
    after: (before) => without(before, 'originals/a.raw', 'originals/b.raw'),
    between: (before) => [without(before, 'originals/a.raw'), without(before, 'originals/b.raw')],
  },
  {
    name: 'create a directory tree',
    needs: 'treeVolumes',
    call: () => ['create', 'new', { kind: 'tree', nodatacow: ['postgres'] }],
    after: (before) => withLines(before, line('new', 'volume', treeBytes([]))),
  },
  {
    name: 'snapshot of a directory tree',
    needs: 'treeVolumes',
    prepare: makeTree,
    call: () => ['snapshot', 'tree@s2'],
    after: (before) => withLines(before, line('tree@s2', 'user', treeBytes(treeFiles('second')))),
  },
  {
    name: 'rollback of a directory tree',
    needs: 'treeVolumes',
    prepare: makeTree,
    call: () => ['rollback', 'tree@s1', {}],
    after: (before) =>
      withLines(
        without(before, 'tree'),
        line('tree', 'volume', treeBytes(treeFiles('first'))),
        line('tree@pre-rollback', 'rollback', treeBytes(treeFiles('second'))),
      ),
  },
  {
    name: 'rollback of directory trees that belong together',
    needs: 'treeVolumes',
    isKilledElsewhere: true,
    prepare: makeApart,
    call: () => ['rollback', 'db@s1', {}],
    after: (before) =>
      withLines(
        without(before, 'db', 'far'),
        ...['db', 'far'].flatMap((name) => [
          line(name, 'volume', treeBytes(apartFiles(name, 'first'))),
          line(`${name}@pre-rollback`, 'rollback', treeBytes(apartFiles(name, 'second'))),
        ]),
      ),
  },
  {
    name: 'clone of a directory tree',
    needs: 'treeVolumes',
    prepare: makeTree,
    call: () => ['clone', 'tree@s1', 'copy', {}],
    after: (before) => withLines(before, line('copy', 'volume', treeBytes(treeFiles('first')))),
  },
  {
    name: 'remove a directory tree with its snapshots',
    needs: 'treeVolumes',
    prepare: makeTree,
    call: () => ['remove', 'tree', { withSnapshots: true }],
    after: (before) => without(before, 'tree', 'tree@s1'),
  },
  {
    name: 'change the settings of a volume',
    prepare: makeVolume,
    call: () => ['set', 'vm', { consistency: 'none' }],
    after: (before) => before,
  },
  {
    name: 'usage --exact',
    prepare: makeVolume,
    call: () => ['usage', [], { exact: true }],
    after: (before) => before,
  },
];

export function scenariosOn({ capabilities }: FileSystem): Scenario[] {
  return scenarios.filter(({ needs }) => needs === undefined || capabilities[needs] === true);
}

/** Those that are to be killed, and to have calls fail. */
export function killedOn(backend: FileSystem): Scenario[] {
  return scenariosOn(backend).filter(({ isKilledElsewhere }) => !isKilledElsewhere);
}

async function backendOf(pool: Pool): Promise<FileSystem> {
  const { driver } = await pool.describe();
  const backend = fileSystems.find(({ name }) => name === driver);
  if (!backend) throw new Error(`no backend ${driver}`);
  return backend;
}

/** Takes away what was made before, and makes what a scenario works on. Returns what the pool then holds. */
export async function prepared(scenario: Scenario, pool: Pool, scratch: string): Promise<State> {
  const held = (await pool.listSnapshots()).filter(({ hold }) => hold).map(({ reference }) => reference);
  if (held.length > 0) await pool.release(held);
  const names = (await pool.list()).map((volume) => volume.name).filter((name) => name !== 'base');
  if (names.length > 0) await pool.remove(names, { withSnapshots: true, durability: 'deferred' });
  rmSync(originalsIn(pool.path), { recursive: true, force: true });
  expect(await readState(pool), 'when all else was removed').toEqual([line('base', 'template', base)]);
  await scenario.prepare?.(pool, scratch);
  return readState(pool);
}

/** The states that a crash may leave. */
export function allowed(scenario: Scenario, before: State): readonly State[] {
  return [before, ...(scenario.between?.(before) ?? []), scenario.after(before)];
}
