import { buildCommand, type Command } from '@stricli/core';
import { guardsInEnvironment, guardVariable } from '../../engine/guards/family.ts';
import { Undone } from '../../engine/guards/guard.ts';
import type { Recovered } from '../../engine/guards/recover.ts';
import type { TreeDiff } from '../../engine/operations/diff.ts';
import type { GuardState } from '../../engine/operations/guard-records.ts';
import type { Pool } from '../../engine/pool.ts';
import { CoppiceError } from '../../model/errors.ts';
import { type Consistency, consistencies } from '../../model/metadata.ts';
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
import { diffText } from '../diff-text.ts';
import { Shown } from '../failure.ts';
import { CommandFailed, type GuardedCommand, requirePrograms, runGuarded } from '../guarded-command.ts';

interface Flags extends PoolFlags {
  readonly check?: string;
  readonly timeout?: string;
  readonly consistency?: Consistency;
  readonly allowWeaker: boolean;
  readonly recover: boolean;
  readonly accept: boolean;
  readonly status: boolean;
}

/** As of timeout(1). */
const timedOut = 124;

export const guardCommand: Command<CliContext> = buildCommand<Flags, [string, ...string[]], CliContext>({
  docs: {
    brief: 'Try a change to a volume, and undo it if it fails',
    fullDescription: withExamples(
      `Takes a snapshot of a volume, runs a command that changes it, and then a check. If one of them fails, is ended by a signal or takes too long, the volume is rolled back to the snapshot; otherwise the change stays, and so does the snapshot. The exit code is that of what has failed.

What runs on the volume is stopped for the rollback and started after it where the settings stop.unit or stop.hook say how; otherwise nothing may have it open then. A process outside undoes the change also when this command is killed; after a power cut --recover does. One change at a time can be tried on a volume; the command may itself try another within, by the variable ${guardVariable} that it is given.`,
      'coppice guard crypt -- ./upgrade.sh',
      'coppice guard crypt --check /usr/local/bin/healthy --timeout 600 -- ./upgrade.sh --all',
      'coppice guard crypt --status',
      'coppice guard crypt --recover',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      check: optionalText('COMMAND', 'What must succeed afterwards; its words are split at spaces'),
      timeout: optionalText('SECONDS', 'Undo the change if command and check take longer'),
      consistency: {
        kind: 'enum',
        values: consistencies,
        optional: true,
        brief: 'What the snapshot is to reach; as for any snapshot of the volume when absent',
      },
      allowWeaker: toggle('Go on with a weaker snapshot where that can not be reached'),
      recover: toggle('Undo a change that was under way when whoever tried it was killed, or the power went'),
      accept: toggle('The same, but leave the change as it is'),
      status: toggle('Say whether a change is being tried'),
    },
    positional: {
      kind: 'array',
      minimum: 1,
      parameter: word('VOLUME -- COMMAND', 'A volume, then what changes it', 'entry'),
    },
  },
  func: reporting(async (context, flags: Flags, volume: string, ...command: string[]) => {
    const { withPool } = await import('../session.ts');
    const modes = [flags.recover, flags.accept, flags.status].filter(Boolean).length;
    if (modes > 1 || (modes === 1) === command.length > 0) {
      throw new CoppiceError(
        'invalid_argument',
        `Say what is to be run, as in "coppice guard ${volume} -- COMMAND", or one of --recover, --accept and --status.`,
      );
    }
    await withPool(context, flags, async (pool) => {
      if (flags.status) showStatus(context, flags, volume, await pool.guards(volume));
      else if (modes === 1) {
        const recovered = await pool.recoverGuard(volume, flags.recover ? 'undo' : 'accept');
        print(context, flags, recovered, () => describe(volume, recovered));
      } else await tryChange(context, flags, pool, { volume, ...commandOf(flags, command) });
    });
  }),
});

interface Change extends GuardedCommand {
  readonly volume: string;
}

function commandOf({ check: line, json }: Flags, command: readonly string[]): GuardedCommand {
  const check = line?.split(' ').filter(Boolean);
  if (check?.length === 0) throw new CoppiceError('invalid_argument', 'The check is empty.');
  return { command, isForProgram: json, ...(check && { check }) };
}

async function tryChange(
  context: CliContext,
  flags: Flags,
  pool: Pool,
  { volume, ...command }: Change,
): Promise<void> {
  const { process } = context;
  const [within] = await innermost(pool, volume, guardsInEnvironment(process.env));
  const cancelled = new AbortController();
  // A terminal sends them to the command, too; another sender only to us.
  const passing = (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).map((signal) => {
    const cancel = (): void => cancelled.abort();
    process.on(signal, cancel);
    return () => process.removeListener(signal, cancel);
  });
  try {
    requirePrograms(context, command);
    const kept = await pool.guard(volume, (guarded) => runGuarded(context, command, guarded), {
      allowWeaker: flags.allowWeaker,
      signal: cancelled.signal,
      ...(flags.consistency !== undefined && { consistency: flags.consistency }),
      ...(flags.timeout !== undefined && { timeoutMilliseconds: milliseconds(flags.timeout) }),
      ...(within !== undefined && { within }),
    });
    const { snapshot, changes } = kept;
    if (flags.json) print(context, flags, { kept: true, snapshot, changes }, () => '');
    else {
      report(context, changes);
      note(context, `coppice: The change to ${volume} stays; to undo it: coppice rollback ${snapshot}`);
    }
  } catch (error) {
    const failure = failureIn(error);
    if (!failure) throw error;
    const message = error instanceof Error ? error.message : String(error);
    if (!flags.json && error instanceof Undone) report(context, error.changes);
    throw new Shown(
      flags.json ? JSON.stringify({ error: errorData(error) }) : `coppice: ${message}`,
      failure.exitCode,
    );
  } finally {
    for (const stop of passing) stop();
  }
}

/** The guard of this volume that this is run in; one of another volume, or that is over, is none. */
async function innermost(pool: Pool, volume: string, ids: readonly string[]): Promise<readonly string[]> {
  if (ids.length === 0) return [];
  const present = (await pool.guards(volume)).at(-1);
  return present && ids.includes(present.id) ? [present.id] : [];
}

/** As many as a person looks through. */
const fewChanges = 20;

/** Beside what the command itself has printed. */
function report(context: CliContext, changes: TreeDiff | undefined): void {
  if (!changes) return;
  const few = changes.changes.slice(0, fewChanges);
  const more = changes.changes.length + changes.omitted - few.length;
  for (const line of diffText({ ...changes, changes: few }).split('\n')) note(context, line);
  if (more > 0) note(context, `and ${more} more, which "coppice diff ${changes.from}" lists.`);
}

/** What the command or the check has failed with; undefined where it was neither. */
function failureIn(error: unknown): { readonly exitCode: number } | undefined {
  if (error instanceof CommandFailed) return error;
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof CommandFailed) return cause;
  if (!(error instanceof Undone) || !(cause instanceof CoppiceError)) return undefined;
  return { exitCode: cause.code === 'cancelled' ? 130 : timedOut };
}

function errorData(error: unknown): unknown {
  if (!(error instanceof CoppiceError)) return { message: String(error) };
  const undone =
    error instanceof Undone ? { snapshot: error.snapshot, undo: error.undo, changes: error.changes } : {};
  return { ...error.toJSON(), ...undone };
}

function milliseconds(seconds: string): number {
  if (/^\d+(\.\d+)?$/.test(seconds) && Number(seconds) > 0) return Number(seconds) * 1000;
  throw new CoppiceError('invalid_argument', `"${seconds}" is no number of seconds, such as 60 or 0.5.`);
}

function showStatus(context: CliContext, flags: Flags, volume: string, guards: readonly GuardState[]): void {
  print(context, flags, guards, () =>
    guards.length === 0
      ? `No change to ${volume} is being tried.`
      : guards
          .map(({ keeper, since, snapshot, isAlive, failed }) =>
            isAlive && !failed
              ? `Process ${keeper.pid} has been trying a change since ${since}; it can be undone to ${volume}@${snapshot}.`
              : `A change was begun at ${since}, and ${failed ? 'has failed and is not undone yet' : 'who tried it was killed'}; undo it with "coppice guard ${volume} --recover", or leave it with --accept.`,
          )
          .join('\n'),
  );
}

function describe(volume: string, { outcome, snapshot, undo }: Recovered): string {
  if (outcome === 'nothing') return `Nothing of ${volume} had been changed.`;
  if (outcome === 'accepted')
    return `The change to ${volume} stays; to undo it: coppice rollback ${snapshot}`;
  return `${volume} is back at ${snapshot}.${undo === undefined ? '' : `\nWhat the change had come to is kept in ${undo}.`}`;
}
