import { buildCommand, type Command } from '@stricli/core';
import { print, reporting } from '../command.ts';
import { type CliContext, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';

export const pathCommand: Command<CliContext> = buildCommand<PoolFlags, [string], CliContext>({
  docs: {
    brief: 'Print the path that a virtual machine monitor opens',
    fullDescription: withExamples(
      'Prints the path of the disk: a regular file or, on zfs, a block device, for Firecracker, cloud-hypervisor, QEMU and every other tool; of a directory tree the directory, which is mounted if it is not.',
      'qemu-system-x86_64 -drive file="$(coppice path vm-1)",format=raw',
      'coppice path vm-1@before-upgrade',
    ),
  },
  parameters: {
    flags: poolFlags,
    positional: {
      kind: 'tuple',
      parameters: [word('NAME[@SNAPSHOT]', 'A volume, template or snapshot', 'reference')],
    },
  },
  func: reporting(async (context, flags: PoolFlags, reference: string) => {
    const { withPool } = await import('../session.ts');
    const path = await withPool(context, flags, (pool) => pool.diskPath(reference));
    print(context, flags, { reference, path }, () => path);
  }),
});
