import { buildCommand, type Command } from '@stricli/core';
import type { PoliciesApplied } from '../../../engine/policy/apply.ts';
import { note, print, reporting, warn } from '../../command.ts';
import { type CliContext, severalPools, toggle, withExamples, word } from '../../context.ts';
import { named } from '../../names.ts';
import { counted } from '../../table.ts';
import { lineWidth } from '../../terminal.ts';
import { decisionTable } from './decision-table.ts';
import { endWith, inEachPool, type SeveralPoolsFlags } from './several-pools.ts';

interface Flags extends SeveralPoolsFlags {
  readonly dryRun: boolean;
}

export const policyApplyCommand: Command<CliContext> = buildCommand<Flags, string[], CliContext>({
  docs: {
    brief: 'Take the snapshots that are due, and remove those that are over',
    fullDescription: withExamples(
      'Follows the policies of volumes, of all when none is named: takes the snapshots that are due, then removes what they do not keep any more. Only what a policy has taken goes, and what has expired; never what is held, the newest that was proven, or what a clone depends on. One that fails does not stop the others. While another process does this for the pool, nothing is done.',
      'coppice policy apply',
      'coppice policy apply --dry-run',
      'coppice policy apply crypt --dry-run',
      'coppice policy apply --pool /var/lib/coppice --pool zfs:vmpool',
    ),
  },
  parameters: {
    flags: {
      ...severalPools,
      dryRun: toggle('Say what would be taken and what would go, and change nothing'),
    },
    positional: { kind: 'array', parameter: word('VOLUME', 'A volume', 'entry') },
  },
  func: reporting(async (context, flags: Flags, ...volumes: string[]) => {
    const results = await inEachPool(context, flags, volumes, (pool) =>
      applyTo(context, flags, pool, volumes),
    );
    endWith(context, flags, results);
  }),
});

async function applyTo(
  context: CliContext,
  flags: Flags,
  path: string | undefined,
  volumes: readonly string[],
): Promise<PoliciesApplied> {
  const { withPool, warnOfSpace } = await import('../../session.ts');
  const { showProgress } = await import('../../progress.ts');
  return await withPool(context, path === undefined ? {} : { pool: path }, async (pool) => {
    const result = await (async () => {
      using progress = showProgress(context, 'policy', 'from the first progress');
      const { onProgress, signal } = progress;
      const named = volumes.length === 0 ? {} : { volumes };
      return await pool.applyPolicies({ ...named, dryRun: flags.dryRun, onProgress, signal });
    })();
    const width = lineWidth(context.process.stdout, context.process);
    print(context, flags, result, () => (flags.dryRun ? planned(result, width) : told(result)));
    if (!flags.json) noteRest(context, result);
    warn(context, [result]);
    if (!flags.dryRun) await warnOfSpace(context, pool);
    return result;
  });
}

function planned(result: PoliciesApplied, width: number | undefined): string {
  const { taken, removed, underPressure } = result;
  const rows = decisionTable(result, width);
  const lines = [
    ...(rows === '' ? [] : [rows, '']),
    `Would take ${counted(taken.length, 'snapshot')}, and remove ${removed.length}.`,
    ...(underPressure.length === 0
      ? []
      : [
          `Less space is free than a policy wants: until there is enough, these would go, one after the other: ${named(underPressure)}.`,
        ]),
  ];
  return lines.join('\n');
}

function told({ otherRun, taken, removed }: PoliciesApplied): string {
  if (otherRun) return 'Policies are being applied to this pool at the moment; nothing to do.';
  const references = taken.map(({ reference }) => reference);
  const lines = [
    ...(references.length > 0 ? [`Took ${named(references)}.`] : []),
    ...(removed.length > 0 ? [`Removed ${named(removed.map(({ reference }) => reference))}.`] : []),
  ];
  return lines.length > 0 ? lines.join('\n') : 'Nothing is due, and nothing is over.';
}

function noteRest(context: CliContext, { putOff, failed }: PoliciesApplied): void {
  for (const { reference, message } of putOff)
    note(context, `coppice: ${reference} goes another time: ${message}`);
  for (const { reference, error } of failed) note(context, `coppice: ${reference}: ${error.message}`);
}
