import { buildCommand, type Command } from '@stricli/core';
import { print, reporting } from '../command.ts';
import { type CliContext, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';
import { counted, sizeNote } from '../table.ts';

export const sealCommand: Command<CliContext> = buildCommand<PoolFlags, [string, string], CliContext>({
  docs: {
    brief: 'Make a template from a volume or a snapshot',
    fullDescription: withExamples(
      'Makes a template from the present state of a volume or from a snapshot. The volume stays as it is. For a template without traces of a running system, stop the guest first.',
      'coppice seal vm-1 debian-12-patched',
      'coppice seal vm-1@clean golden',
    ),
  },
  parameters: {
    flags: poolFlags,
    positional: {
      kind: 'tuple',
      parameters: [
        word('VOLUME', 'A volume, or VOLUME@SNAPSHOT', 'reference'),
        word('TEMPLATE', 'Name of the new template'),
      ],
    },
  },
  func: reporting(async (context, flags: PoolFlags, source: string, template: string) => {
    const { withPool } = await import('../session.ts');
    const sealed = await withPool(context, flags, (pool) => pool.seal(source, template));
    print(
      context,
      flags,
      sealed,
      () =>
        `Sealed ${source} as template ${template}${sizeNote(sealed.bytes)}${sealed.extents > 0 ? `, ${counted(sealed.extents, 'extent')}` : ''}.`,
    );
  }),
});
