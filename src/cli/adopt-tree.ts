import { resolve } from 'node:path';
import type { AdoptTreeOptions, TreeAdopted } from '../engine/adoption/tree/request.ts';
import type { Pool } from '../engine/pool.ts';
import { CoppiceError } from '../model/errors.ts';
import { shellWord } from '../model/shell-word.ts';
import { formatSize } from '../model/sizes.ts';
import { note, print, warn } from './command.ts';
import type { CliContext, PoolFlags } from './context.ts';
import { priceOfNocow } from './price-of-nocow.ts';
import { showProgress } from './progress.ts';
import { warnOfSpace, withPool } from './session.ts';
import { counted } from './table.ts';

/** What `coppice adopt` takes where the directory itself is adopted. */
export interface TreeFlags {
  readonly copy: boolean;
  readonly force: boolean;
  readonly removeOriginals: boolean;
  readonly dryRun: boolean;
  readonly name?: string;
  readonly nocow?: readonly string[];
  readonly verify: boolean;
  readonly keep: boolean;
  readonly undo: boolean;
}

type Flags = TreeFlags & PoolFlags;

export async function adoptTree(
  context: CliContext,
  flags: Flags,
  sources: readonly string[],
): Promise<void> {
  const [source, another] = sources;
  if (source === undefined || another !== undefined)
    throw new CoppiceError('invalid_argument', 'Name one directory: each tree is adopted for itself.');
  if (flags.undo && flags.removeOriginals)
    throw new CoppiceError(
      'invalid_argument',
      'Either --undo or --remove-originals: one needs what the other removes.',
    );
  const directory = resolve(source);
  await withPool(context, flags, async (pool) => {
    if (flags.undo) await undo(context, flags, pool, directory);
    else if (flags.removeOriginals) await remove(context, flags, pool, directory);
    else await adopt(context, flags, pool, directory);
  });
}

async function adopt(context: CliContext, flags: Flags, pool: Pool, directory: string): Promise<void> {
  const { name, nocow, copy, verify, force, keep, dryRun } = flags;
  if (nocow?.length && !flags.json) note(context, priceOfNocow);
  const options: AdoptTreeOptions = {
    ...(name !== undefined && { name }),
    ...(nocow?.length && { nodatacow: nocow }),
    ...{ copy, verify, force, keep, dryRun },
  };
  const result = await (async () => {
    using progress = showProgress(context, 'adopt');
    const { onProgress, signal } = progress;
    return await pool.adoptTree(directory, { ...options, onProgress, signal });
  })();
  print(context, flags, result, () => (dryRun ? planned(result) : told(result)));
  warn(context, [result]);
  if (!dryRun) await warnOfSpace(context, pool);
}

const ways: Readonly<Record<TreeAdopted['method'], string>> = {
  snapshot: 'by a snapshot, which shares everything',
  reflink: 'sharing its blocks',
  copy: 'copying what can not share its blocks',
};

function planned({ path, volume, entries, bytes, method, blockers = [] }: TreeAdopted): string {
  const what = `${counted(entries, 'name')}, ${formatSize(bytes)}`;
  const but = blockers.map((blocker) => `  but ${blocker.what}: ${blocker.remedy}`);
  return [`Would adopt ${path} as ${volume} (${what}), ${ways[method]}.`, ...but].join('\n');
}

function told({ path, volume, original, before, method }: TreeAdopted): string {
  if (before) return `${path} has been adopted as ${volume} already.`;
  const made = `Adopted ${path} as ${volume}, ${ways[method]}.`;
  if (original === undefined) return `${made} The directory is as it was.`;
  return [
    `${made} It is there through a link now; what was there is ${original}.`,
    `To put that back: coppice adopt --kind tree --undo ${shellWord(path)}`,
    `To remove it:     coppice adopt --kind tree --remove-originals ${shellWord(path)}`,
  ].join('\n');
}

async function undo(context: CliContext, flags: Flags, pool: Pool, directory: string): Promise<void> {
  const { force, dryRun } = flags;
  const undone = await pool.undoAdoption(directory, { force, dryRun });
  const { path, volume } = undone;
  print(context, flags, undone, () =>
    dryRun
      ? `Would put back ${path}, and leave ${volume} in the pool.`
      : `Put back ${path} as it was; ${volume} stays in the pool, with what was written to it since.`,
  );
}

async function remove(context: CliContext, flags: Flags, pool: Pool, directory: string): Promise<void> {
  const removed = await pool.removeOriginal(directory, { dryRun: flags.dryRun });
  print(context, flags, removed, () =>
    flags.dryRun ? `Would remove ${removed.original}.` : `Removed ${removed.original}.`,
  );
}
