import { buildCommand, type Command } from '@stricli/core';
import type { Grown } from '../../engine/operations/grow.ts';
import type { GrownDisk, Notified } from '../../hypervisors/notify.ts';
import { formatSize, parseSize } from '../../model/sizes.ts';
import { print, reporting } from '../command.ts';
import { type CliContext, optionalText, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';
import { roundedNote } from '../table.ts';

interface Flags extends PoolFlags {
  readonly notify?: string;
}

export const growCommand: Command<CliContext> = buildCommand<Flags, [string, string], CliContext>({
  docs: {
    brief: 'Make a volume larger',
    fullDescription: withExamples(
      'Makes a volume larger, also while it is in use. It is never made smaller. A running guest then has to be told by its hypervisor, which --notify does, and has to grow its partition and file system.',
      'coppice grow vm-1 20G',
      'coppice grow vm-1 20G --notify qmp:/run/vm-1/qmp.sock',
      'coppice grow vm-1 20G --notify firecracker:/run/vm-1/api.sock,drive=root',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      notify: optionalText(
        'TARGET',
        'Tell the hypervisor: qmp:SOCKET[,device=ID], firecracker:SOCKET,drive=ID, cloud-hypervisor:SOCKET,disk=ID or hook:PROGRAM',
      ),
    },
    positional: {
      kind: 'tuple',
      parameters: [word('NAME', 'The volume', 'entry'), word('SIZE', 'Its new size, such as 20G')],
    },
  },
  func: reporting(async (context, flags: Flags, name: string, size: string) => {
    const { withPool } = await import('../session.ts');
    const bytes = parseSize(size);
    const notify = flags.notify === undefined ? undefined : await notifier(flags.notify);
    const { grown, notified } = await withPool(context, flags, async (pool) => {
      const grown = await pool.grow(name, { bytes });
      const notified = notify && (await notify({ ...grown, path: await pool.diskPath(name) }));
      return { grown, notified };
    });
    print(context, flags, { ...grown, ...(notified && { notified }) }, () => {
      const change =
        grown.bytes === grown.previousBytes
          ? `${name} has ${formatSize(grown.bytes)} already.`
          : `Grew ${name} from ${formatSize(grown.previousBytes)} to ${formatSize(grown.bytes)}${roundedNote(grown.roundedFrom)}.`;
      const loops =
        grown.loopDevices.length > 0
          ? [`Updated the loop devices on it: ${grown.loopDevices.join(', ')}.`]
          : [];
      return [change, ...loops, ...hints(grown, notified)].join('\n');
    });
  }),
});

/** What is wrong with the target is said before anything grows. */
async function notifier(text: string): Promise<(disk: GrownDisk) => Promise<Notified>> {
  const { parseHypervisorTarget } = await import('../../hypervisors/target.ts');
  const { notifyHypervisor, requireSafeTarget } = await import('../../hypervisors/notify.ts');
  const target = parseHypervisorTarget(text);
  requireSafeTarget(target);
  return (disk) => notifyHypervisor(target, disk);
}

function hints({ inUse }: Grown, notified: Notified | undefined): readonly string[] {
  if (notified) {
    const reported =
      notified.reportedBytes === undefined
        ? ''
        : `, which says it has ${formatSize(notified.reportedBytes)} now`;
    return [
      `Told ${notified.told}${reported}.`,
      'In the guest:',
      ...notified.guestSteps.map((step, index) => `  ${index + 1}. ${step}`),
    ];
  }
  return inUse
    ? ['It is in use: tell the hypervisor, then grow the partition and the file system in the guest.']
    : [];
}
