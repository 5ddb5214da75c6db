import { buildCommand, type Command } from '@stricli/core';
import type { PoolLoss } from '../../../engine/pools/destroy.ts';
import { CoppiceError } from '../../../model/errors.ts';
import { note, print, reporting } from '../../command.ts';
import { type CliContext, jsonFlag, optionalText, toggle, withExamples, word } from '../../context.ts';
import { counted } from '../../table.ts';

interface Flags {
  readonly json: boolean;
  readonly yes: boolean;
  readonly force: boolean;
  readonly dryRun: boolean;
  readonly fstab?: string;
  readonly unitDirectory?: string;
}

export const poolDestroyCommand: Command<CliContext> = buildCommand<Flags, [string], CliContext>({
  docs: {
    brief: 'Destroy a pool with everything in it',
    fullDescription: withExamples(
      'Names what will be lost, has the path of the pool typed, and then destroys it: unmounts it, takes out what mounts it at boot, deletes its file or wipes the signature from its device. Of an adopted directory only what Coppice made is removed.',
      'coppice pool destroy /srv/vms --dry-run',
      'coppice pool destroy /srv/vms --yes',
    ),
  },
  parameters: {
    flags: {
      json: jsonFlag,
      yes: toggle('Do not ask'),
      force: toggle('Go on although disks are open'),
      dryRun: toggle('Name what would be lost and what is in the way, and change nothing'),
      fstab: optionalText('FILE', 'The fstab to take the line out of [default = /etc/fstab]', 'file'),
      unitDirectory: optionalText(
        'DIR',
        'Where its mount unit may lie [default = /etc/systemd/system]',
        'directory',
      ),
    },
    positional: {
      kind: 'tuple',
      parameters: [word('PATH', 'Directory of the pool; never guessed', 'directory')],
    },
  },
  func: reporting(async (context, flags: Flags, path: string) => {
    const { describeLoss, destroyPool } = await import('../../../engine/pools/destroy.ts');
    const loss = describeLoss(path);
    if (flags.dryRun) {
      print(context, flags, loss, () => `Would destroy ${lossText(loss)}${obstaclesText(loss)}`);
      return;
    }
    if (!flags.yes) await confirm(context, loss);
    const { force, fstab, unitDirectory } = flags;
    const destroyed = destroyPool(path, {
      force,
      ...(fstab !== undefined && { fstab }),
      ...(unitDirectory !== undefined && { unitDirectory }),
    });
    print(context, flags, destroyed, () => `Destroyed ${lossText(destroyed)}`);
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
  // Ctrl-C, Ctrl-D and the end of the input are answers too; the promise alone would wait for ever for the last.
  const ended = new Promise<void>((resolve) => void prompt.once('close', resolve));
  const typed = await Promise.race([
    prompt.question('Type the path of the pool to go on: ').catch(() => undefined),
    ended,
  ]);
  prompt.close();
  if (typed?.trim() === loss.path) return;
  const answer = typed === undefined ? 'Nothing was typed' : `That is not ${loss.path}`;
  throw new CoppiceError('cancelled', `${answer}; nothing was changed.`);
}

function obstaclesText({ blockers = [] }: PoolLoss): string {
  return blockers.map(({ what, remedy }) => `\nIn the way: ${what}; ${remedy}.`).join('');
}

function lossText(loss: PoolLoss): string {
  const named = (names: readonly string[]): string =>
    names.length === 0 ? '' : ` (${names.slice(0, 10).join(', ')}${names.length > 10 ? ', ...' : ''})`;
  return `the pool ${loss.path}${loss.backing === undefined ? '' : ` on ${loss.backing}`}: ${counted(loss.templates.length, 'template')}${named(loss.templates)}, ${counted(loss.volumes.length, 'volume')}${named(loss.volumes)}, ${counted(loss.snapshots, 'snapshot')}.`;
}
