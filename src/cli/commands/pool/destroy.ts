import { buildCommand, type Command } from '@stricli/core';
import type { PoolLoss } from '../../../engine/pools/destroy.ts';
import { CoppiceError } from '../../../model/errors.ts';
import { note, print, reporting } from '../../command.ts';
import {
  type CliContext,
  optionalText,
  type PoolFlags,
  poolFlags,
  toggle,
  withExamples,
  word,
} from '../../context.ts';

interface Flags extends PoolFlags {
  readonly yes: boolean;
  readonly force: boolean;
  readonly dryRun: boolean;
  readonly fstab?: string;
}

export const poolDestroyCommand: Command<CliContext> = buildCommand<Flags, [string], CliContext>({
  docs: {
    brief: 'Destroy a pool with everything in it',
    fullDescription: withExamples(
      'Names what will be lost, has the path of the pool typed, and then destroys it: unmounts it, deletes its file or wipes the signature from its device, takes its line out of fstab. Of an adopted directory only what Coppice made is removed.',
      'coppice pool destroy /srv/vms --dry-run',
      'coppice pool destroy /srv/vms --yes',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      yes: toggle('Do not ask'),
      force: toggle('Go on although disks are open'),
      dryRun: toggle('Name what would be lost, and change nothing'),
      fstab: optionalText('FILE', 'The fstab to take the line out of [default = /etc/fstab]'),
    },
    positional: { kind: 'tuple', parameters: [word('PATH', 'Directory of the pool; never guessed')] },
  },
  func: reporting(async (context, flags: Flags, path: string) => {
    const { describeLoss, destroyPool } = await import('../../../engine/pools/destroy.ts');
    const loss = describeLoss(path);
    if (flags.dryRun) {
      print(context, flags, loss, () => `Would destroy ${lossText(loss)}`);
      return;
    }
    if (!flags.yes) await confirm(context, loss);
    destroyPool(path, { force: flags.force, ...(flags.fstab !== undefined && { fstab: flags.fstab }) });
    print(context, flags, loss, () => `Destroyed ${lossText(loss)}`);
  }),
});

async function confirm(context: CliContext, loss: PoolLoss): Promise<void> {
  if (!context.process.stdin.isTTY) {
    throw new CoppiceError(
      'invalid_argument',
      `Destroying ${loss.path} needs its path typed on a terminal, or --yes; it would destroy ${lossText(loss)}`,
    );
  }
  const { createInterface } = await import('node:readline/promises');
  note(context, `This destroys ${lossText(loss)}`);
  const prompt = createInterface({ input: context.process.stdin, output: context.process.stderr });
  const typed = await prompt.question(`Type the path of the pool to go on: `);
  prompt.close();
  if (typed.trim() !== loss.path)
    throw new CoppiceError('cancelled', `That is not ${loss.path}; nothing was changed.`);
}

function lossText(loss: PoolLoss): string {
  const named = (names: readonly string[]): string =>
    names.length === 0 ? '' : ` (${names.slice(0, 10).join(', ')}${names.length > 10 ? ', ...' : ''})`;
  return `the pool ${loss.path}${loss.backing === undefined ? '' : ` on ${loss.backing}`}: ${loss.templates.length} templates${named(loss.templates)}, ${loss.volumes.length} volumes${named(loss.volumes)}, ${loss.snapshots} snapshots.`;
}
