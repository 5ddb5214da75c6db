import { buildCommand, type Command } from '@stricli/core';
import { formatSize } from '../../model/sizes.ts';
import { print, reporting } from '../command.ts';
import { type CliContext, type PoolFlags, poolFlags, toggle, withExamples, word } from '../context.ts';

interface Flags extends PoolFlags {
  readonly format: 'raw' | 'qcow2';
  readonly overwrite: boolean;
}

export const exportCommand: Command<CliContext> = buildCommand<Flags, [string, string], CliContext>({
  docs: {
    brief: 'Write a volume, template or snapshot to a file',
    fullDescription: withExamples(
      'Writes a volume, template or snapshot to a raw or qcow2 file. A volume in use is written as it was at one instant. The file appears when it is complete, or never.',
      'coppice export vm-1 /backup/vm-1.raw',
      'coppice export vm-1@clean vm-1.qcow2 --format qcow2',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      format: { kind: 'enum', values: ['raw', 'qcow2'], brief: 'Format of the file', default: 'raw' },
      overwrite: toggle('Replace a file that is there'),
    },
    positional: {
      kind: 'tuple',
      parameters: [
        word('NAME[@SNAPSHOT]', 'What to export', 'reference'),
        word('FILE', 'Path of the file', 'file'),
      ],
    },
  },
  func: reporting(async (context, flags: Flags, source: string, file: string) => {
    const { withPool } = await import('../session.ts');
    const { showProgress } = await import('../progress.ts');
    const exported = await withPool(context, flags, async (pool) => {
      using progress = showProgress(context, `export ${source}`);
      return await pool.export(source, file, {
        onProgress: progress.onProgress,
        signal: progress.signal,
        format: flags.format,
        overwrite: flags.overwrite,
      });
    });
    print(
      context,
      flags,
      exported,
      () => `Exported ${source} to ${exported.file}: ${formatSize(exported.bytes)}, ${exported.format}.`,
    );
  }),
});
