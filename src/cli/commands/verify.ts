import { buildCommand, type Command } from '@stricli/core';
import type { Verified } from '../../engine/operations/verify.ts';
import { CoppiceError } from '../../model/errors.ts';
import { note, print, reporting } from '../command.ts';
import {
  type CliContext,
  optionalText,
  type PoolFlags,
  poolFlags,
  toggle,
  withExamples,
  word,
} from '../context.ts';
import { exitCodes, Shown } from '../failure.ts';
import { showProgress } from '../progress.ts';
import { describeChecks } from '../proof-text.ts';

interface Flags extends PoolFlags {
  readonly sql?: readonly string[];
  readonly newest: boolean;
  readonly timeout?: string;
  readonly programs?: string;
}

export const verifyCommand: Command<CliContext> = buildCommand<Flags, string[], CliContext>({
  docs: {
    brief: 'Prove snapshots: start the database on a copy, and check it',
    fullDescription: withExamples(
      `Starts the database that is declared for a volume on a throw-away clone of a snapshot, waits until it has recovered, reads all of it (pg_amcheck, checksums) and asks what you want asked. The result is recorded on the snapshot, whatever it is; "coppice list --type snapshot" shows which are proven, and no policy removes the newest that is.

The settings verify.sql, verify.sql-NAME and verify.program say for a volume once what is always asked: statements that must answer with true, and a program that is given the directory of the copy.`,
      'coppice verify crypt@before',
      'coppice verify crypt --newest',
      'coppice verify crypt@before --sql "SELECT count(*) > 0 FROM accounts"',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      newest: toggle('Of each volume that is named, the newest snapshot that a database was held still for'),
      sql: {
        kind: 'parsed',
        parse: String,
        variadic: true,
        optional: true,
        brief: 'A statement that must answer with true; may be given several times',
        placeholder: 'STATEMENT',
      },
      timeout: optionalText('SECONDS', 'How long the recovery may take [default = 600]'),
      programs: optionalText(
        'DIR',
        'Where the programs of the database are, if not in the usual place',
        'directory',
      ),
    },
    positional: {
      kind: 'array',
      minimum: 1,
      parameter: word('VOLUME@SNAPSHOT', 'The snapshots to prove', 'reference'),
    },
  },
  func: reporting(async (context, flags: Flags, ...references: string[]) => {
    const { withPool } = await import('../session.ts');
    const options = {
      ...(flags.sql && { sql: flags.sql }),
      ...(flags.programs !== undefined && { programs: flags.programs }),
      ...(flags.timeout !== undefined && { timeoutMilliseconds: milliseconds(flags.timeout) }),
    };
    const results = await withPool(context, flags, async (pool) => {
      using progress = showProgress(context, 'verify');
      const { signal, onProgress } = progress;
      const all: Verified[] = [];
      for (const reference of references) {
        const wanted = flags.newest ? newestOf(reference, await pool.listSnapshots(reference)) : reference;
        const verified = await pool.verify(wanted, { ...options, signal, onProgress });
        if (!flags.json) note(context, `coppice: ${verified.reference}: ${verified.result}`);
        all.push(verified);
      }
      return all;
    });
    print(context, flags, results, () => results.map(describeChecks).join('\n'));
    const failed = results.filter(({ result }) => result === 'failed');
    if (failed.length === 0) return;
    const names = failed.map(({ reference }) => reference).join(', ');
    if (flags.json) context.process.exitCode = exitCodes.damaged;
    else throw new Shown(`coppice: ${names} can not be relied on.`, exitCodes.damaged);
  }),
});

function newestOf(
  volume: string,
  snapshots: ReadonlyArray<{ readonly reference: string; readonly consistency?: string }>,
): string {
  const found = snapshots.findLast(
    ({ consistency }) => consistency === 'application' || consistency === 'cold',
  );
  if (found) return found.reference;
  throw new CoppiceError(
    'not_found',
    `${volume} has no snapshot that was taken for its database; take one with "coppice snapshot ${volume}".`,
  );
}

function milliseconds(seconds: string): number {
  if (/^\d+(\.\d+)?$/.test(seconds) && Number(seconds) > 0) return Number(seconds) * 1000;
  throw new CoppiceError('invalid_argument', `"${seconds}" is no number of seconds, such as 60 or 0.5.`);
}
