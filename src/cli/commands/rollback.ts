import { buildCommand, type Command } from '@stricli/core';
import { print, reporting, warn } from '../command.ts';
import { type CliContext, type PoolFlags, poolFlags, toggle, withExamples, word } from '../context.ts';

interface Flags extends PoolFlags {
  readonly force: boolean;
  readonly dryRun: boolean;
  readonly stop: boolean;
  readonly alone: boolean;
}

export const rollbackCommand: Command<CliContext> = buildCommand<Flags, [string], CliContext>({
  docs: {
    brief: 'Put a volume back to one of its snapshots',
    fullDescription: withExamples(
      'Puts a volume back to one of its snapshots in one atomic step. Newer snapshots stay. The state that is replaced is kept as a snapshot too, and rolling back to that one undoes this. The volume must not be in use. The volumes that its database lies in, too, go back with it: all or none, and until all have the database can not be started.',
      'coppice rollback vm-1@before-upgrade',
      'coppice rollback vm-1@before-upgrade --dry-run',
      'coppice rollback crypt@before --stop',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      force: toggle(
        'Go on although the disk is open; whoever has it open goes on writing to the replaced state, and those writes are lost',
      ),
      stop: toggle(
        'Stop what runs on the volume, as its settings stop.unit or stop.hook say, and start it again afterwards, whatever happens',
      ),
      alone: toggle('Put back only this volume, and not the others that its database lies in, too'),
      dryRun: toggle('Say what would happen, and change nothing'),
    },
    positional: {
      kind: 'tuple',
      parameters: [word('VOLUME@SNAPSHOT', 'The snapshot to go back to', 'snapshot')],
    },
  },
  func: reporting(async (context, flags: Flags, reference: string) => {
    const { withPool } = await import('../session.ts');
    const result = await withPool(context, flags, (pool) =>
      pool.rollback(reference, {
        force: flags.force,
        dryRun: flags.dryRun,
        stop: flags.stop,
        alone: flags.alone,
      }),
    );
    warn(context, [result]);
    print(context, flags, result, () => {
      const along = (result.with ?? []).map(({ volume }) => volume);
      const what = [result.volume, ...along].join(', ');
      if (!flags.dryRun && result.undo === undefined)
        return `Rolled ${what} back to ${result.snapshot}.\nNothing was replaced: its disk was gone.`;
      if (result.undo !== undefined)
        return `Rolled ${what} back to ${result.snapshot}.\nThe replaced state is kept; to undo: coppice rollback ${result.undo}`;
      const blockers = (result.blockers ?? []).map((blocker) => `\n  but ${blocker.what}: ${blocker.remedy}`);
      return `Would roll ${what} back to ${result.snapshot}, and keep the replaced state as a snapshot.${blockers.join('')}`;
    });
  }),
});
