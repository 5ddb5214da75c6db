import { buildCommand, type Command } from '@stricli/core';
import { formatSize } from '../../model/sizes.ts';
import { note, print, reporting } from '../command.ts';
import { type CliContext, optionalText, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';
import { counted, roundedNote } from '../table.ts';

interface Flags extends PoolFlags {
  readonly format?: 'raw' | 'qcow2';
  readonly sha256?: string;
}

export const importCommand: Command<CliContext> = buildCommand<Flags, [string, string], CliContext>({
  docs: {
    brief: 'Make a template from a raw or qcow2 disk image',
    fullDescription: withExamples(
      'Makes a template from a raw or qcow2 disk image. Holes stay holes; blocks are shared with the source where it lies on the same file system. A qcow2 image is checked first, and read where it can reach no other file. The name appears when the template is complete, or never.',
      'coppice import debian-12 debian-12-genericcloud-amd64.qcow2',
      'coppice import debian-12 image.raw --sha256 9f86d0...',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      format: {
        kind: 'enum',
        values: ['raw', 'qcow2'],
        brief: 'Format of the source [default = told from its first bytes]',
        optional: true,
      },
      sha256: optionalText('HEX', 'Refuse the source unless it has this SHA-256'),
    },
    positional: {
      kind: 'tuple',
      parameters: [word('NAME', 'Name of the new template'), word('SOURCE', 'Path of the image', 'file')],
    },
  },
  func: reporting(async (context, flags: Flags, name: string, source: string) => {
    const { withPool, warnOfSpace } = await import('../session.ts');
    const { showProgress } = await import('../progress.ts');
    await withPool(context, flags, async (pool) => {
      using progress = showProgress(context, `import ${name}`);
      const { format, sha256 } = flags;
      const imported = await pool.import(name, source, {
        onProgress: progress.onProgress,
        signal: progress.signal,
        ...(format && { format }),
        ...(sha256 !== undefined && { sha256 }),
      });
      print(context, flags, imported, () => {
        const shared = imported.shared ? ', sharing its blocks with the source' : '';
        return `Imported template ${name}: ${formatSize(imported.bytes)}${roundedNote(imported.roundedFrom)}, ${counted(imported.extents, 'extent')}${shared}.`;
      });
      const { snapshotsLeftOut: left } = imported;
      if (left !== undefined && !flags.json) {
        note(
          context,
          `coppice: warning: ${source} has ${counted(left, 'snapshot')} inside, which ${left === 1 ? 'was' : 'were'} not imported; to import one, write it to a file of its own first, with "qemu-img convert -l SNAPSHOT".`,
        );
      }
      await warnOfSpace(context, pool);
    });
  }),
});
