import { buildCommand, type Command } from '@stricli/core';
import type { ManyCloned } from '../../engine/clone-many.ts';
import type { CloneOptions } from '../../engine/operations/clone.ts';
import type { Pool } from '../../engine/pool.ts';
import { CoppiceError } from '../../model/errors.ts';
import { parseSize } from '../../model/sizes.ts';
import { note, print, reporting, warn } from '../command.ts';
import {
  type CliContext,
  optionalSize,
  type PoolFlags,
  poolFlags,
  toggle,
  withExamples,
  word,
} from '../context.ts';
import { exitCodes, Shown } from '../failure.ts';
import { counted, roundedNote, sizeNote } from '../table.ts';

interface Flags extends PoolFlags {
  readonly size?: string;
  readonly count?: number;
  readonly replicable: boolean;
}

export const cloneCommand: Command<CliContext> = buildCommand<Flags, [string, string], CliContext>({
  docs: {
    brief: 'Make a writable volume that shares all blocks with a template, volume or snapshot',
    fullDescription: withExamples(
      'Makes a writable volume that shares all blocks with its source. The time does not depend on the size or the fragmentation of the source. With --count N it makes NAME-1 to NAME-N.',
      'coppice clone debian-12 vm-1',
      'coppice clone debian-12 worker --count 20 --size 20G',
      'coppice clone vm-1@before-upgrade vm-1-test',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      size: optionalSize('Size of the clone, at least that of the source'),
      count: {
        kind: 'parsed',
        parse: wholeNumber,
        brief: 'Make that many, named NAME-1 to NAME-N',
        placeholder: 'N',
        optional: true,
      },
      replicable: toggle('Clone so that incremental replication against the source stays possible'),
    },
    positional: {
      kind: 'tuple',
      parameters: [
        word('SOURCE', 'A template, a volume, or VOLUME@SNAPSHOT', 'reference'),
        word('NAME', 'Name of the new volume'),
      ],
    },
  },
  func: reporting(async (context, flags: Flags, source: string, name: string) => {
    const { withPool, warnOfSpace } = await import('../session.ts');
    const options = {
      replicable: flags.replicable,
      ...(flags.size !== undefined && { bytes: parseSize(flags.size) }),
    };
    await withPool(context, flags, async (pool) => {
      if (flags.count === undefined) {
        const cloned = await pool.clone(source, name, options);
        warn(context, [cloned]);
        print(
          context,
          flags,
          cloned,
          () => `Cloned ${source} to ${name}${sizeNote(cloned.bytes)}${roundedNote(cloned.roundedFrom)}.`,
        );
        return;
      }
      const many = await makeMany(context, pool, source, name, flags.count, options);
      const { cloned, failed, cancelled } = many;
      warn(context, cloned);
      print(context, flags, many, () =>
        cloned.length === 0
          ? ''
          : `Cloned ${source} to ${counted(cloned.length, 'volume')}: ${listed(cloned.map((each) => each.name))}${roundedNote(cloned[0]?.roundedFrom)}.`,
      );
      const [first] = failed;
      if (!first && !cancelled) return await warnOfSpace(context, pool);
      const exitCode = exitCodes[cancelled || !first ? 'cancelled' : first.error.code];
      if (flags.json) {
        context.process.exitCode = exitCode; // the result itself says what failed
        return;
      }
      for (const { error } of failed.slice(0, 10)) note(context, `coppice: ${error.message}`);
      const missing = `${flags.count - cloned.length} of ${flags.count} clones were not made.`;
      throw new Shown(`coppice: ${cancelled ? 'Cancelled: ' : ''}${missing}`, exitCode);
    });
  }),
});

async function makeMany(
  context: CliContext,
  pool: Pool,
  source: string,
  name: string,
  count: number,
  options: CloneOptions,
): Promise<ManyCloned> {
  const { showProgress } = await import('../progress.ts');
  using progress = showProgress(context, `clone ${source}`, 'from the first progress');
  const { signal, onProgress } = progress;
  return await pool.cloneMany(source, name, count, { ...options, signal, onProgress });
}

function wholeNumber(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new CoppiceError('invalid_argument', `"${text}" is not a whole number.`);
}

function listed(names: readonly string[]): string {
  return names.length <= 3 ? names.join(', ') : `${names[0]} to ${names.at(-1)}`;
}
