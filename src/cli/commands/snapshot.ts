import { buildCommand, type Command } from '@stricli/core';
import type { Frozen } from '../../consistency/freeze-guest.ts';
import type { SnapshotGroup } from '../../engine/operations/snapshot-together.ts';
import type { Snapshotted, Stillness } from '../../engine/taking.ts';
import { CoppiceError } from '../../model/errors.ts';
import { parseExpiry } from '../../model/expiry.ts';
import { type Consistency, consistencies } from '../../model/metadata.ts';
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
import { named as listed } from '../names.ts';
import { showProgress } from '../progress.ts';

interface Flags extends PoolFlags {
  readonly name?: string;
  readonly consistency?: Consistency;
  readonly allowWeaker: boolean;
  readonly expires?: string;
  readonly freeze?: string;
  readonly freezeTimeout?: string;
}

export const snapshotCommand: Command<CliContext> = buildCommand<Flags, string[], CliContext>({
  docs: {
    brief: 'Take an immutable snapshot of volumes',
    fullDescription: withExamples(
      'Takes an immutable snapshot of a volume, which may be in use: it holds what a power cut at that instant would have left. Without a name it is named after the time. Of several volumes all snapshots are taken or none; they are as close to each other as can be, but not of the same instant.',
      'coppice snapshot vm-1@before-upgrade',
      'coppice snapshot vm-1',
      'coppice snapshot vm-1 vm-2 vm-3 --name before-upgrade',
      'coppice snapshot crypt@before --consistency application',
      'coppice snapshot vm-1@before-upgrade --expires 7d',
      'coppice snapshot vm-1 --freeze qemu-ga:/run/vm-1/qga.sock',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      name: optionalText('NAME', 'The name of the snapshot, for each volume without one'),
      consistency: {
        kind: 'enum',
        values: consistencies,
        optional: true,
        brief:
          'What it is to reach: none, sync (what was written before is in it), freeze (the writers are stopped meanwhile), application (as declared by "coppice set VOLUME quiesce..."), cold (not running); the setting of the volume when absent',
      },
      allowWeaker: toggle('Take a weaker one where that level cannot be reached, and say so'),
      expires: optionalText(
        'WHEN',
        'From when "coppice policy apply" removes it: 7d, 12h, 2027-01-31 [default = never]',
      ),
      freeze: optionalText(
        'TARGET',
        'Freeze the file systems of the guest meanwhile, by its agent: qemu-ga:SOCKET',
      ),
      freezeTimeout: optionalText(
        'SECONDS',
        'With --freeze: thaw the guest after so long, whatever happens [default = 10]',
      ),
    },
    positional: {
      kind: 'array',
      minimum: 1,
      parameter: word('VOLUME[@NAME]', 'A volume, and the name of its snapshot', 'entry'),
    },
  },
  func: reporting(async (context, flags: Flags, ...references: string[]) => {
    const { withPool, warnOfSpace } = await import('../session.ts');
    const named = {
      ...(flags.name !== undefined && { name: flags.name }),
      ...(flags.consistency !== undefined && { consistency: flags.consistency }),
      ...(flags.allowWeaker && { allowWeaker: true }),
      ...(flags.expires !== undefined && { expires: parseExpiry(flags.expires) }),
    };
    const frozen = await freezer(flags);
    const [reference = '', ...others] = references;
    await withPool(context, flags, async (pool) => {
      using progress = showProgress(context, 'snapshot', 'from the first progress');
      const long = { signal: progress.signal, onProgress: progress.onProgress };
      if (others.length === 0) {
        const { result: taken, ...how } = await frozen(
          (still) => pool.snapshot(reference, { ...named, ...still, ...long }),
          (snapshot) => pool.remove(snapshot.reference),
        );
        print(
          context,
          flags,
          { ...taken, ...how },
          () => `Took snapshot ${taken.reference}${along(taken)}.${frozenFor(how)}${reachedBy(taken)}`,
        );
      } else {
        const { result: group, ...how } = await frozen(
          (still) => pool.snapshot(references, { ...named, ...still, ...long }),
          ({ snapshots }) => pool.remove(snapshots.map((snapshot) => snapshot.reference)),
        );
        print(context, flags, { ...group, ...how }, () => `${describe(group)}${frozenFor(how)}`);
      }
      await warnOfSpace(context, pool);
    });
  }),
});

type Freezer = <T>(
  take: (still: Stillness) => Promise<T>,
  undo: (taken: T) => Promise<unknown>,
) => Promise<{ readonly result: T } & Partial<Frozen<T>>>;

/** Takes what is taken while the guest is frozen, if that was asked for. */
async function freezer({ freeze, freezeTimeout }: Flags): Promise<Freezer> {
  if (freeze === undefined) {
    if (freezeTimeout === undefined) return async (take) => ({ result: await take({}) });
    throw new CoppiceError(
      'invalid_argument',
      '--freeze-timeout is for --freeze, which says whom to freeze.',
    );
  }
  const { parseFreezeTarget } = await import('../../consistency/freeze-target.ts');
  const { freezeGuest } = await import('../../consistency/freeze-guest.ts');
  const target = parseFreezeTarget(freeze);
  const options = freezeTimeout === undefined ? {} : { timeoutMilliseconds: milliseconds(freezeTimeout) };
  return (take, undo) =>
    freezeGuest(target, options, {
      take: (frozenUntil) => take({ heldStill: 'freeze', frozenUntil }),
      undo,
    });
}

function along({ with: others }: Snapshotted): string {
  return others ? `, with ${listed(others)}, in which parts of its application lie` : '';
}

/** What each application was brought to, and what a start from the snapshot rests on. */
function reachedBy({ consistency, applications = [], heldMilliseconds, weaker }: Snapshotted): string {
  const lines = applications.map(({ name, level, recovery }) => `${name}: ${level}, recovery: ${recovery}.`);
  const held = heldMilliseconds === undefined ? [] : [`Held for ${heldMilliseconds} ms.`];
  const warning = weaker === undefined ? [] : [`It is only "${consistency}": ${weaker}`];
  // A database that recovers by itself was not held at all.
  const wasHeld = applications.some(({ details }) => details['recipe'] === undefined);
  return [...lines, ...(wasHeld ? held : []), ...warning].map((line) => `\n${line}`).join('');
}

function milliseconds(seconds: string): number {
  if (/^\d+(\.\d+)?$/.test(seconds)) return Number(seconds) * 1000;
  throw new CoppiceError('invalid_argument', `"${seconds}" is no number of seconds, such as 5 or 0.5.`);
}

function frozenFor({ frozenMilliseconds, frozenFileSystems }: Partial<Frozen<unknown>>): string {
  if (frozenMilliseconds === undefined) return '';
  const systems = frozenFileSystems === 1 ? '1 file system' : `${frozenFileSystems} file systems`;
  return `\nThe guest was frozen for ${frozenMilliseconds} ms (${systems}), and is thawed.`;
}

function describe({ group, snapshots, apartMilliseconds, sameInstant }: SnapshotGroup): string {
  if (snapshots.length < 2) return `Took snapshot ${snapshots[0]?.reference}.`;
  const taken = `Took snapshots ${listed(snapshots.map((snapshot) => snapshot.reference))}.`;
  const apart = sameInstant
    ? 'They hold the same instant'
    : `They do not hold the same instant: they were taken within ${apartMilliseconds.toFixed(1)} ms`;
  return `${taken}\n${apart}; group ${group}.`;
}
