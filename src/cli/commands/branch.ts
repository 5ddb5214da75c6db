import { buildCommand, type Command } from '@stricli/core';
import type { Branched } from '../../engine/operations/branch.ts';
import { CoppiceError } from '../../model/errors.ts';
import { shellWord } from '../../model/shell-word.ts';
import { print, reporting } from '../command.ts';
import {
  type CliContext,
  optionalText,
  optionalWord,
  type PoolFlags,
  poolFlags,
  toggle,
  withExamples,
  word,
} from '../context.ts';
import { showProgress } from '../progress.ts';

interface Flags extends PoolFlags {
  readonly noStart: boolean;
  readonly restart: boolean;
  readonly port?: string;
  readonly programs?: string;
}

export const branchCommand: Command<CliContext> = buildCommand<Flags, [string, string?], CliContext>({
  docs: {
    brief: 'Make a writable copy of a volume with a database server of its own',
    fullDescription: withExamples(
      'Clones a snapshot, makes the database in it safe, and starts a server on it, to look, test or migrate on. It reaches nothing outside of the clone: it archives nothing, follows and feeds no other server, runs no subscription, and listens on no network but only on a socket in the clone. Removing the clone ends it. After a reboot --restart starts it again.',
      'coppice branch crypt@before crypt-try',
      'coppice branch crypt@before crypt-try --no-start',
      'coppice branch --restart crypt-try',
      'coppice remove crypt-try',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      noStart: toggle('Only make it safe to be started'),
      restart: toggle('Start the server of a branch again, as after a reboot; name only the branch'),
      port: optionalText('PORT', 'The port in the name of its socket [default = 5432]'),
      programs: optionalText(
        'DIR',
        'Where the programs of the database are, if not in the usual place',
        'directory',
      ),
    },
    positional: {
      kind: 'tuple',
      parameters: [
        word('VOLUME@SNAPSHOT', 'What to branch from; with --restart a branch', 'reference'),
        optionalWord('NAME', 'Name of the new volume'),
      ],
    },
  },
  func: reporting(async (context, flags: Flags, source: string, name?: string) => {
    const { withPool } = await import('../session.ts');
    if (flags.restart) {
      await restart(context, flags, source, name);
      return;
    }
    if (name === undefined)
      throw new CoppiceError('invalid_argument', 'Say what the branch is to be called.');
    const branched = await withPool(context, flags, async (pool) => {
      using progress = showProgress(context, `branch ${source}`, 'from the first progress');
      const { signal, onProgress } = progress;
      return await pool.branch(source, name, {
        start: !flags.noStart,
        signal,
        onProgress,
        ...(flags.port !== undefined && { port: portOf(flags.port) }),
        ...(flags.programs !== undefined && { programs: flags.programs }),
      });
    });
    print(context, flags, branched, () => {
      const along = branched.with ? ` (with ${branched.with.join(', ')})` : '';
      return [
        `Branched ${name}${along} from ${source}.`,
        ...branched.servers.map(describe),
        `To end it: coppice remove ${name}`,
      ].join('\n');
    });
  }),
});

async function restart(context: CliContext, flags: Flags, name: string, other?: string): Promise<void> {
  const { withPool } = await import('../session.ts');
  if (other !== undefined || flags.noStart || flags.port !== undefined)
    throw new CoppiceError('invalid_argument', '--restart takes only the name of a branch, and --programs.');
  const started = await withPool(context, flags, async (pool) => {
    using progress = showProgress(context, `start ${name}`, 'from the first progress');
    const { signal, onProgress } = progress;
    const programs = flags.programs === undefined ? {} : { programs: flags.programs };
    return await pool.startBranch(name, { ...programs, signal, onProgress });
  });
  print(context, flags, started, () => started.servers.map(describe).join('\n'));
}

function describe({ socketDirectory, port, user, isRunning }: Branched['servers'][number]): string {
  return isRunning
    ? `Its server runs: psql -h ${shellWord(socketDirectory)} -p ${port} -U ${shellWord(user)}`
    : `Its server is safe to be started; its socket will be in ${socketDirectory}.`;
}

function portOf(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) > 0 && Number(text) < 65_536) return Number(text);
  throw new CoppiceError('invalid_argument', `"${text}" is no port.`);
}
