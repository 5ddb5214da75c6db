import { buildCommand, type Command } from '@stricli/core';
import type { SnapshotGroup } from '../../engine/operations/snapshot-together.ts';
import { print, reporting } from '../command.ts';
import { type CliContext, optionalText, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';
import { named } from '../names.ts';

interface Flags extends PoolFlags {
  readonly name?: string;
}

export const snapshotCommand: Command<CliContext> = buildCommand<Flags, string[], CliContext>({
  docs: {
    brief: 'Take an immutable snapshot of volumes',
    fullDescription: withExamples(
      'Takes an immutable snapshot of a volume, which may be in use: it holds what a power cut at that instant would have left. Without a name it is named after the time. Of several volumes all snapshots are taken or none; they are as close to each other as can be, but not of the same instant.',
      'coppice snapshot vm-1@before-upgrade',
      'coppice snapshot vm-1',
      'coppice snapshot vm-1 vm-2 vm-3 --name before-upgrade',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      name: optionalText('NAME', 'The name of the snapshot, for each volume without one'),
    },
    positional: {
      kind: 'array',
      minimum: 1,
      parameter: word('VOLUME[@NAME]', 'A volume, and the name of its snapshot', 'entry'),
    },
  },
  func: reporting(async (context, flags: Flags, ...references: string[]) => {
    const { withPool, warnOfSpace } = await import('../session.ts');
    const options = flags.name === undefined ? {} : { name: flags.name };
    const [reference = '', ...others] = references;
    await withPool(context, flags, async (pool) => {
      if (others.length === 0) {
        const taken = await pool.snapshot(reference, options);
        print(context, flags, taken, () => `Took snapshot ${taken.reference}.`);
      } else {
        const group = await pool.snapshot(references, options);
        print(context, flags, group, () => describe(group));
      }
      await warnOfSpace(context, pool);
    });
  }),
});

function describe({ group, snapshots, apartMilliseconds, sameInstant }: SnapshotGroup): string {
  if (snapshots.length < 2) return `Took snapshot ${snapshots[0]?.reference}.`;
  const taken = `Took snapshots ${named(snapshots.map((snapshot) => snapshot.reference))}.`;
  const apart = sameInstant
    ? 'They hold the same instant'
    : `They do not hold the same instant: they were taken within ${apartMilliseconds.toFixed(1)} ms`;
  return `${taken}\n${apart}; group ${group}.`;
}
