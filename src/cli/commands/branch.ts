import { buildCommand, type Command } from '@stricli/core';
import { CoppiceError } from '../../model/errors.ts';
import { shellWord } from '../../model/shell-word.ts';
import { print, reporting } from '../command.ts';
import {
  type CliContext,
  optionalText,
  type PoolFlags,
  poolFlags,
  toggle,
  withExamples,
  word,
} from '../context.ts';
import { showProgress } from '../progress.ts';

interface Flags extends PoolFlags {
  readonly noStart: boolean;
  readonly port?: string;
  readonly programs?: string;
}

export const branchCommand: Command<CliContext> = buildCommand<Flags, [string, string], CliContext>({
  docs: {
    brief: 'Make a writable copy of a volume with a database server of its own',
    fullDescription: withExamples(
      'Clones a snapshot, makes the database in it safe, and starts a server on it, to look, test or migrate on. It reaches nothing outside of the clone: it archives nothing, follows and feeds no other server, runs no subscription, and listens on no network but only on a socket in the clone. Removing the clone ends it.',
      'coppice branch crypt@before crypt-try',
      'coppice branch crypt@before crypt-try --no-start',
      'coppice remove crypt-try',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      noStart: toggle('Only make it safe to be started'),
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
        word('VOLUME@SNAPSHOT', 'What to branch from', 'reference'),
        word('NAME', 'Name of the new volume'),
      ],
    },
  },
  func: reporting(async (context, flags: Flags, source: string, name: string) => {
    const { withPool } = await import('../session.ts');
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
      const servers = branched.servers.map(({ socketDirectory, port, user, isRunning }) =>
        isRunning
          ? `Its server runs: psql -h ${shellWord(socketDirectory)} -p ${port} -U ${shellWord(user)}`
          : `Its server is safe to be started; its socket will be in ${socketDirectory}.`,
      );
      const along = branched.with ? ` (with ${branched.with.join(', ')})` : '';
      return [
        `Branched ${name}${along} from ${source}.`,
        ...servers,
        `To end it: coppice remove ${name}`,
      ].join('\n');
    });
  }),
});

function portOf(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) > 0 && Number(text) < 65_536) return Number(text);
  throw new CoppiceError('invalid_argument', `"${text}" is no port.`);
}
