import { buildCommand, type Command } from '@stricli/core';
import type { DueVerified } from '../../../engine/policy/verify-due.ts';
import { note, print, reporting } from '../../command.ts';
import { type CliContext, severalPools, toggle, withExamples, word } from '../../context.ts';
import { named } from '../../names.ts';
import { describeChecks } from '../../proof-text.ts';
import { endWith, inEachPool, type Outcome, type SeveralPoolsFlags } from './several-pools.ts';

interface Flags extends SeveralPoolsFlags {
  readonly dryRun: boolean;
}

export const policyVerifyCommand: Command<CliContext> = buildCommand<Flags, string[], CliContext>({
  docs: {
    brief: 'Prove the snapshots that are due',
    fullDescription: withExamples(
      'Proves of each volume whose setting policy.verify wants it by now (hourly, daily, weekly, monthly, yearly) the newest snapshot that was taken for its database, as "coppice verify" does. What could not be looked at is tried again in the next period. While another process does this for the pool, nothing is done.',
      'coppice policy verify',
      'coppice policy verify --dry-run',
      'coppice policy verify --pool /var/lib/coppice --pool zfs:vmpool',
    ),
  },
  parameters: {
    flags: { ...severalPools, dryRun: toggle('Say what would be proven, and start nothing') },
    positional: { kind: 'array', parameter: word('VOLUME', 'A volume', 'entry') },
  },
  func: reporting(async (context, flags: Flags, ...volumes: string[]) => {
    const results = await inEachPool(context, flags, volumes, (pool) =>
      verifyIn(context, flags, pool, volumes),
    );
    endWith(context, flags, results, (names) => `Not all snapshots of ${names} can be relied on.`);
  }),
});

async function verifyIn(
  context: CliContext,
  flags: Flags,
  path: string | undefined,
  volumes: readonly string[],
): Promise<Outcome> {
  const { withPool } = await import('../../session.ts');
  const { showProgress } = await import('../../progress.ts');
  return await withPool(context, path === undefined ? {} : { pool: path }, async (pool) => {
    const result = await (async () => {
      using progress = showProgress(context, 'verify', 'from the first progress');
      const { onProgress, signal } = progress;
      const wanted = volumes.length === 0 ? {} : { volumes };
      return await pool.verifyDue({ ...wanted, dryRun: flags.dryRun, onProgress, signal });
    })();
    print(context, flags, result, () => (flags.dryRun ? planned(result) : told(result)));
    if (!flags.json)
      for (const { reference, error } of result.failed)
        note(context, `coppice: ${reference}: ${error.message}`);
    return { ...result, failed: [...badIn(result), ...result.failed] };
  });
}

/** A snapshot that was looked at and can't be relied on is the worst that can be told here. */
function badIn({ verified }: DueVerified): Outcome['failed'] {
  return verified
    .filter(({ result }) => result === 'failed')
    .map(({ reference }) => ({
      reference,
      error: { code: 'damaged', message: `${reference} can not be relied on.` },
    }));
}

function planned({ due }: DueVerified): string {
  return due.length === 0 ? 'Nothing is due.' : `Would verify ${named(due)}.`;
}

function told({ otherRun, due, verified }: DueVerified): string {
  if (otherRun) return 'Snapshots of this pool are being verified at the moment; nothing to do.';
  return due.length === 0 ? 'Nothing is due.' : verified.map(describeChecks).join('\n');
}
