import { buildCommand, type Command } from '@stricli/core';
import { formatSize } from '../../model/sizes.ts';
import { note, nothingYet, printList, reporting } from '../command.ts';
import { type CliContext, type PoolFlags, poolFlags, toggle, withExamples, word } from '../context.ts';
import { table } from '../table.ts';
import { lineWidth } from '../terminal.ts';

interface Flags extends PoolFlags {
  readonly exact: boolean;
}

export const usageCommand: Command<CliContext> = buildCommand<Flags, string[], CliContext>({
  docs: {
    brief: 'Show how much space volumes and snapshots take',
    fullDescription: withExamples(
      'Shows three sizes: LOGICAL is the disk as a guest sees it; REFERENCED are the blocks that it uses, shared ones included; EXCLUSIVE are the blocks that nothing else uses, which removing just this would free. EXCLUSIVE is the last value measured, with its time; --exact measures it now by walking every extent.',
      'coppice usage',
      'coppice usage vm-1 vm-1@before-upgrade --exact',
    ),
  },
  parameters: {
    flags: { ...poolFlags, exact: toggle('Measure the exclusive bytes now, to the block') },
    positional: {
      kind: 'array',
      parameter: word('NAME[@SNAPSHOT]', 'What to measure; everything when none is named', 'reference'),
    },
  },
  func: reporting(async (context, flags: Flags, ...references: string[]) => {
    const { withPool } = await import('../session.ts');
    const { showProgress } = await import('../progress.ts');
    const report = await withPool(context, flags, async (pool) => {
      using progress = showProgress(context, 'usage', 'never');
      return await pool.usage(references, { exact: flags.exact, onProgress: progress.onProgress });
    });
    const { usages, leftOut = [] } = report;
    const trees = `directory trees (${leftOut.length}, with their snapshots) are left out, because all of their files would have to be looked at; name them, or use --exact.`;
    const list = { result: report, rows: usages, nothing: leftOut.length > 0 ? trees : nothingYet };
    printList(context, flags, list, (rows) =>
      table(
        rows,
        [
          { title: 'NAME', value: (row) => row.reference, shortens: true },
          { title: 'LOGICAL', value: (row) => formatSize(row.logicalBytes), align: 'right', givesWay: 2 },
          {
            title: 'REFERENCED',
            value: (row) => formatSize(row.referencedBytes),
            align: 'right',
            givesWay: 3,
          },
          {
            title: 'EXCLUSIVE',
            value: (row) => (row.exclusiveBytes === undefined ? 'unknown' : formatSize(row.exclusiveBytes)),
            align: 'right',
          },
          { title: 'TRUE AT', value: (row) => row.exclusiveAt ?? '-', givesWay: 1 },
        ],
        lineWidth(context.process.stdout, context.process),
      ),
    );
    if (leftOut.length > 0 && usages.length > 0 && !flags.json) note(context, `coppice: ${trees}`);
    if (report.settled === false)
      note(
        context,
        'coppice: deleted blocks could not be waited for (that needs root, and on btrfs kernel 6.13 or newer), so some may still count as shared.',
      );
  }),
});
