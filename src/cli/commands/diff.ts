import { buildCommand, type Command } from '@stricli/core';
import { CoppiceError } from '../../model/errors.ts';
import { note, print, reporting } from '../command.ts';
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
import { diffText } from '../diff-text.ts';

interface Flags extends PoolFlags {
  readonly summary: boolean;
  readonly limit?: string;
}

export const diffCommand: Command<CliContext> = buildCommand<Flags, [string, string?], CliContext>({
  docs: {
    brief: 'Show which files of a directory tree have changed',
    fullDescription: withExamples(
      'Shows which files were added (+), removed (-), changed (M) and renamed (R) between two snapshots of a directory tree, or between a snapshot and now, with the bytes that this has changed. On btrfs only what was written since is read, however many files there are.',
      'coppice diff data@before data@after',
      'coppice diff data@before',
      'coppice diff data@before --summary',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      summary: toggle('Only count the changes'),
      limit: optionalText('COUNT', 'List at most so many changes; all are counted'),
    },
    positional: {
      kind: 'tuple',
      parameters: [
        word('FROM', 'A snapshot, as VOLUME@SNAPSHOT, or a volume', 'reference'),
        optionalWord('TO', 'The same; the present state of the volume when left out', 'reference'),
      ],
    },
  },
  func: reporting(async (context, flags: Flags, from: string, to?: string) => {
    const { withPool } = await import('../session.ts');
    const limit = flags.summary ? 0 : parseLimit(flags.limit);
    const result = await withPool(context, flags, (pool) =>
      pool.diff(from, to, limit === undefined ? {} : { limit }),
    );
    print(context, flags, result, () => diffText(result));
    if (result.omitted > 0 && !flags.summary && !flags.json)
      note(context, `coppice: ${result.omitted} more are not listed.`);
    if (result.method !== 'generations') note(context, `coppice: ${slowerBecause[result.method]}`);
  }),
});

const slowerBecause = {
  records:
    'nothing tells when the two were last the same, so all that the file system knows of either was read.',
  files: 'only root may ask the file system what was written, so every file of both was looked at.',
} as const;

/** @throws CoppiceError invalid_argument */
function parseLimit(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new CoppiceError('invalid_argument', `"${text}" is not a valid limit: it is a count of changes.`);
}
