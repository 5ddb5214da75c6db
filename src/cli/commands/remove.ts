import { buildCommand, type Command } from '@stricli/core';
import { print, reporting, warn } from '../command.ts';
import { type CliContext, type PoolFlags, poolFlags, toggle, withExamples, word } from '../context.ts';
import { eachNamed, named } from '../names.ts';

interface Flags extends PoolFlags {
  readonly withSnapshots: boolean;
  readonly force: boolean;
  readonly ifExists: boolean;
  readonly dryRun: boolean;
}

export const removeCommand: Command<CliContext> = buildCommand<Flags, string[], CliContext>({
  docs: {
    brief: 'Remove volumes, templates and snapshots',
    fullDescription: withExamples(
      "Removes volumes, templates and snapshots. If one can't go, none goes; all are gone in one step. Clones of what is removed live on. A volume that has snapshots or is in use is refused.",
      'coppice remove vm-1@before-upgrade',
      'coppice remove vm-1 vm-2 --with-snapshots',
      'coppice remove vm-1 --dry-run',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      withSnapshots: toggle('Remove the snapshots of a volume with it'),
      force: toggle('Go on although a disk is open; what is written to it later is lost'),
      ifExists: toggle('A name that is not there is fine'),
      dryRun: toggle('Say what would happen, and change nothing'),
    },
    positional: {
      kind: 'array',
      minimum: 1,
      parameter: word('NAME[@SNAPSHOT]', 'What to remove', 'reference'),
    },
  },
  func: reporting(async (context, flags: Flags, ...references: string[]) => {
    const { withPool } = await import('../session.ts');
    const { withSnapshots, force, ifExists, dryRun } = flags;
    const { showProgress } = await import('../progress.ts');
    const result = await withPool(context, flags, async (pool) => {
      using progress = showProgress(context, 'remove', 'never');
      const { onProgress } = progress;
      return await pool.remove(references, { withSnapshots, force, ifExists, dryRun, onProgress });
    });
    print(context, flags, result, () => {
      const names = [...result.removed, ...result.snapshots];
      if (!dryRun) return names.length === 0 ? 'Nothing to remove.' : `Removed ${named(names)}.`;
      const blockers = (result.blockers ?? []).map((blocker) => `\n  but ${blocker.what}: ${blocker.remedy}`);
      return `Would remove ${eachNamed(names)}${blockers.join('')}`;
    });
    warn(context, [result]);
  }),
});
