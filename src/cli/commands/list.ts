import { buildCommand, type Command } from '@stricli/core';
import type { SnapshotSummary, VolumeSummary } from '../../engine/operations/list.ts';
import { formatSize } from '../../model/sizes.ts';
import { nothingYet, printList, reporting } from '../command.ts';
import { consistencyOf } from '../consistency-text.ts';
import { type CliContext, type PoolFlags, poolFlags, withExamples } from '../context.ts';
import { marksOf } from '../snapshot-marks.ts';
import { type Column, table } from '../table.ts';
import { lineWidth } from '../terminal.ts';

type Type = 'all' | 'template' | 'volume' | 'snapshot';

interface Flags extends PoolFlags {
  readonly type: Type;
}

export const listCommand: Command<CliContext> = buildCommand<Flags, [], CliContext>({
  docs: {
    brief: 'List templates and volumes, or snapshots',
    fullDescription: withExamples(
      'Lists the templates and volumes of a pool, or with --type snapshot the snapshots. What Coppice did not make is shown as "foreign" and never touched.',
      'coppice list',
      'coppice list --type snapshot',
      'coppice list --json',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      type: {
        kind: 'enum',
        values: ['all', 'template', 'volume', 'snapshot'],
        brief: 'What to list',
        default: 'all',
      },
    },
    aliases: { t: 'type' },
  },
  func: reporting(async (context, flags: Flags) => {
    const { withPool } = await import('../session.ts');
    const width = lineWidth(context.process.stdout, context.process);
    if (flags.type === 'snapshot') {
      const snapshots = await withPool(context, flags, (pool) => pool.listSnapshots());
      const nothing = 'No snapshots yet; "coppice snapshot VOLUME" takes one.';
      printList(context, flags, { result: snapshots, rows: snapshots, nothing }, (rows) =>
        table(
          rows,
          [
            { title: 'SNAPSHOT', value: (row) => row.reference, shortens: true },
            { title: 'SIZE', value: (row) => size(row), align: 'right', givesWay: 3 },
            { title: 'CONSISTENCY', value: (row) => consistencyOf(row), givesWay: 1 },
            { title: 'REASON', value: (row) => row.reason ?? '-', givesWay: 2 },
            { title: 'CREATED', value: (row) => when(row.created), givesWay: 4 },
            ...(rows.some((row) => marksOf(row).length > 0) ? [marks] : []),
          ],
          width,
        ),
      );
      return;
    }
    const all = await withPool(context, flags, (pool) => pool.list());
    const entries = all.filter((entry) => flags.type === 'all' || entry.type === flags.type);
    const nothing =
      all.length === 0 ? nothingYet : `No ${flags.type}s here; "coppice list" shows what there is.`;
    printList(context, flags, { result: entries, rows: entries, nothing }, (rows) =>
      table(
        rows,
        [
          { title: 'NAME', value: (row) => row.name, shortens: true },
          {
            title: 'TYPE',
            value: (row) => (row.kind === 'tree' ? `${row.type} (tree)` : row.type),
            givesWay: 4,
          },
          { title: 'SIZE', value: (row) => size(row), align: 'right', givesWay: 5 },
          { title: 'SNAPSHOTS', value: (row) => String(row.snapshots), align: 'right', givesWay: 2 },
          ...(rows.some(({ at }) => at)
            ? [
                {
                  title: 'AT',
                  value: (row: VolumeSummary) => row.at?.path ?? '-',
                  givesWay: 6,
                  shortens: true as const,
                },
              ]
            : []),
          { title: 'ORIGIN', value: (row) => originOf(row), givesWay: 3, shortens: true },
          { title: 'CREATED', value: (row) => when(row.created), givesWay: 1 },
        ],
        width,
      ),
    );
  }),
});

/** Only where there are any. */
const marks: Column<SnapshotSummary> = {
  title: 'MARKS',
  value: (row) => marksOf(row).join(', ') || '-',
  givesWay: 5,
};

function originOf({ origin }: VolumeSummary): string {
  if (!origin) return '-';
  return origin.snapshot ? `${origin.name}@${origin.snapshot}` : origin.name;
}

function size({ bytes, kind }: Pick<VolumeSummary, 'bytes' | 'kind'>): string {
  if (bytes !== undefined) return formatSize(bytes);
  return kind === 'tree' ? '-' : 'missing';
}

/** Local time, to the minute, in an order that sorts. */
function when(time: string | undefined): string {
  if (time === undefined) return '-';
  return new Date(time).toLocaleString('sv-SE').slice(0, 16);
}
