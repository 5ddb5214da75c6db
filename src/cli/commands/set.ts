import { buildCommand, type Command } from '@stricli/core';
import { CoppiceError } from '../../model/errors.ts';
import { print, reporting } from '../command.ts';
import { type CliContext, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';

export const setCommand: Command<CliContext> = buildCommand<PoolFlags, [string, ...string[]], CliContext>({
  docs: {
    brief: 'Say how a volume is to be treated from now on',
    fullDescription: withExamples(
      `Changes the settings of a volume, which every later operation on it goes by. An empty value takes a setting away. They are not handed on to its clones.

  consistency=LEVEL       what snapshots are to reach that ask for nothing: none, sync, freeze, application, cold
  quiesce.KIND=...        an application to bring to rest for a snapshot, by its own means; then that is "application"
  quiesce.KIND.NAME=...   a second one of a kind
  quiesce.order=A,B       in which order they are held; they are let go in the opposite one
  verify.sql=STATEMENT    what its database must answer with true when a snapshot is proven; also verify.sql-NAME
  verify.program=PROGRAM  a program that is given the directory of a copy of a snapshot to prove it
  stop.unit=NAME.service  what runs on it, to stop and start for --consistency cold and rollback --stop
  stop.hook=PROGRAM       the same by a program, which is run with "stop" and with "start"
  stop.timeout=SECONDS    how long it may take to stop, and to start; 300 when absent
  policy.hourly=N         of how many hours a snapshot is kept; also daily, weekly, monthly, yearly, last
  policy.schedule=...     how often one is taken: 15min, hourly, daily, none...; that of the first number when absent
  policy.max-age=90d, policy.min-free=10%, policy.keep-at-least=N: limits to that
  policy.verify=daily: how often the newest snapshot that was taken for a database is proven`,
      'coppice set vm-1 policy.hourly=24 policy.daily=7',
      'coppice set crypt quiesce.postgres=postgres',
      'coppice set crypt consistency=freeze',
      'coppice set crypt consistency=',
    ),
  },
  parameters: {
    flags: poolFlags,
    positional: {
      kind: 'array',
      minimum: 2,
      parameter: word('VOLUME NAME=VALUE', 'A volume, then names with their values', 'entry'),
    },
  },
  func: reporting(async (context, flags: PoolFlags, volume: string, ...changes: string[]) => {
    const { withPool } = await import('../session.ts');
    const after = await withPool(context, flags, (pool) =>
      pool.set(volume, Object.fromEntries(changes.map(parse))),
    );
    print(context, flags, after, () =>
      Object.entries(after)
        .map(([name, value]) => `${name}=${value}`)
        .join('\n'),
    );
  }),
});

function parse(text: string): [string, string | null] {
  const at = text.indexOf('=');
  if (at > 0) return [text.slice(0, at), text.slice(at + 1) || null];
  throw new CoppiceError(
    'invalid_argument',
    `"${text}" is no setting: write NAME=VALUE, or NAME= to take it away.`,
  );
}
