import { buildCommand, type Command } from '@stricli/core';
import type { SnapshotSummary, VolumeDetails } from '../../engine/operations/list.ts';
import { printable } from '../../model/printable.ts';
import { formatSize } from '../../model/sizes.ts';
import { print, reporting } from '../command.ts';
import { consistencyOf } from '../consistency-text.ts';
import { type CliContext, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';
import { marksOf } from '../snapshot-marks.ts';
import { properties } from '../table.ts';

export const showCommand: Command<CliContext> = buildCommand<PoolFlags, [string], CliContext>({
  docs: {
    brief: 'Show everything about one template or volume',
    fullDescription: withExamples(
      "Shows everything about one template or volume: its lineage, its snapshots, and what was changed behind Coppice's back.",
      'coppice show vm-1',
    ),
  },
  parameters: {
    flags: poolFlags,
    positional: { kind: 'tuple', parameters: [word('NAME', 'A template or volume', 'entry')] },
  },
  func: reporting(async (context, flags: PoolFlags, name: string) => {
    const { withPool } = await import('../session.ts');
    const details = await withPool(context, flags, (pool) => pool.show(name));
    print(context, flags, details, () =>
      [
        properties([
          ['Name', details.name],
          ['Type', details.kind === 'tree' ? `${details.type} (directory tree)` : details.type],
          ['Size', size(details)],
          ['Path', details.path],
          ['At', at(details)],
          ['Created', details.created],
          ['Made by', details.method],
          ['Extents', details.extents === undefined ? undefined : String(details.extents)],
          [
            'Lineage',
            details.ancestors
              .map((ancestor) => ancestor.name + (ancestor.snapshot ? `@${ancestor.snapshot}` : ''))
              .join(' < ') || undefined,
          ],
          ['ID', details.id],
        ]),
        ...(details.snapshotList.length > 0
          ? [
              'Snapshots:',
              ...details.snapshotList.map((entry) =>
                printable(
                  `  ${entry.name}  ${entry.created ?? ''}  ${consistencyOf(entry)}${[whyTaken(entry), ...marksOf(entry)].map((each) => (each === '' ? '' : `  ${each}`)).join('')}${entry.group === undefined ? '' : `  group ${entry.group}`}`,
                ),
              ),
            ]
          : []),
        ...details.problems.map((problem) => printable(`PROBLEM: ${problem}`)),
      ].join('\n'),
    );
  }),
});

function whyTaken({ reason }: SnapshotSummary): string {
  if (reason === 'rollback') return 'kept by a rollback';
  return reason === 'policy' ? 'by its policy' : '';
}

/** Of a directory tree, whose size nobody has counted, there is none; that it is gone is a problem, which is told as such. */
function size({ bytes, kind }: VolumeDetails): string | undefined {
  if (bytes !== undefined) return `${formatSize(bytes)} (${bytes} bytes)`;
  return kind === 'tree' ? undefined : 'missing';
}

function at({ at: place }: VolumeDetails): string | undefined {
  if (!place) return undefined;
  const boot = place.how === 'link' ? '' : `, at boot by ${place.boot ?? 'nobody'}`;
  return `${place.path} (${place.how}${boot})`;
}
