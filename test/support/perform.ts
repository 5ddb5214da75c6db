import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CoppiceError, type CreateOptions, type Pool } from '../../src/index.ts';
import { bytesOf, readDisk, readTree, writeBlock } from './guest.ts';
import {
  blockBytes,
  type Disk,
  type ModelState,
  type Operation,
  type Outcome,
  type Success,
} from './model.ts';

/** What operations need of a pool. */
export type PerformingPool = Pick<
  Pool,
  | 'create'
  | 'clone'
  | 'seal'
  | 'rename'
  | 'grow'
  | 'snapshot'
  | 'rollback'
  | 'remove'
  | 'import'
  | 'export'
  | 'diskPath'
  | 'sync'
>;

/**
 * Does an operation on a real pool. Undefined when nobody can know what became of it.
 * @param scratch a directory outside the pool
 */
export async function perform(
  pool: PerformingPool,
  operation: Operation,
  scratch: string,
): Promise<Outcome | undefined> {
  try {
    if (operation.kind === 'write')
      return await writeBlock(pool, operation.name, operation.block, operation.seed);
    return await succeed(pool, operation, scratch);
  } catch (error) {
    if (!(error instanceof CoppiceError)) throw error;
    return { failed: error.code, message: error.message };
  }
}

async function succeed(
  pool: PerformingPool,
  operation: Exclude<Operation, { kind: 'write' }>,
  scratch: string,
): Promise<Success> {
  switch (operation.kind) {
    case 'create':
      return { bytes: (await pool.create(operation.name, what(operation))).bytes };
    case 'clone':
      return {
        bytes: (await pool.clone(referenceOf(operation.source, operation.snapshot), operation.name)).bytes,
      };
    case 'seal':
      return { bytes: (await pool.seal(operation.source, operation.name)).bytes };
    case 'rename':
      await pool.rename(operation.source, operation.name);
      return {};
    case 'grow': {
      const { bytes, previousBytes } = await pool.grow(operation.name, {
        bytes: operation.blocks * blockBytes,
      });
      return { bytes, previousBytes };
    }
    case 'snapshot':
      await pool.snapshot(referenceOf(operation.name, operation.snapshot));
      return {};
    case 'rollback': {
      const { undo } = await pool.rollback(referenceOf(operation.name, operation.snapshot));
      return { undo: undo?.split('@')[1] ?? '' };
    }
    case 'removeSnapshot':
      await pool.remove(referenceOf(operation.name, operation.snapshot));
      return {};
    case 'remove':
      await pool.remove(operation.name, { withSnapshots: operation.withSnapshots });
      return {};
    case 'snapshotTogether':
      await pool.snapshot(operation.names, { name: operation.snapshot });
      return {};
    case 'removeTogether':
      await pool.remove(operation.references, { withSnapshots: operation.withSnapshots });
      return {};
    case 'import': {
      using directory = scratchIn(scratch);
      const image = join(directory.path, 'image');
      writeFileSync(image, bytesOf({ bytes: operation.blocks * blockBytes, written: { 0: operation.seed } }));
      return { bytes: (await pool.import(operation.name, image)).bytes };
    }
    case 'export': {
      using directory = scratchIn(scratch);
      const file = join(directory.path, 'disk');
      await pool.export(referenceOf(operation.name, operation.snapshot), file);
      return { exported: readDisk(file) };
    }
  }
}

function what({ tree, blocks }: Extract<Operation, { kind: 'create' }>): CreateOptions {
  return tree ? { kind: 'tree' } : { bytes: blocks * blockBytes };
}

export function referenceOf(volume: string, snapshot: string | undefined): string {
  return snapshot === undefined ? volume : `${volume}@${snapshot}`;
}

/** A new directory, which goes with everything in it. */
export function scratchIn(parent: string): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(parent, 'one-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

/** What a pool really holds, in the model's words. */
export async function observe(pool: Pool): Promise<ModelState> {
  const state: Record<string, ModelState[string]> = {};
  for (const { name, type, kind } of await pool.list()) {
    const read = kind === 'tree' ? readTreeOf : readDiskOf;
    const snapshots: Record<string, Disk> = {};
    for (const snapshot of await pool.listSnapshots(name))
      snapshots[snapshot.name] = await read(pool, snapshot.reference);
    const tree = kind === 'tree' && { tree: true as const };
    state[name] = { ...(await read(pool, name)), ...tree, sealed: type === 'template', snapshots };
  }
  return state;
}

async function readDiskOf(pool: Pool, reference: string): Promise<Disk> {
  return readDisk(await pool.diskPath(reference));
}

async function readTreeOf(pool: Pool, reference: string): Promise<Disk> {
  try {
    return readTree(await pool.diskPath(reference));
  } catch (error) {
    // A snapshot of a former state, whose files only a clone shows.
    if (!(error instanceof CoppiceError) || error.code !== 'unsupported') throw error;
    await pool.clone(reference, 'to-look-at');
    const found = readTree(await pool.diskPath('to-look-at'));
    await pool.remove('to-look-at');
    return found;
  }
}
