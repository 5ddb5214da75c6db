import { buildCommand, type Command } from '@stricli/core';
import { printable } from '../../../model/printable.ts';
import { print, reporting } from '../../command.ts';
import { type CliContext, type PoolFlags, poolFlags, poolPathArgument, withExamples } from '../../context.ts';

export const poolCheckCommand: Command<CliContext> = buildCommand<PoolFlags, [string?], CliContext>({
  docs: {
    brief: "Look for what needs attention: space, changes behind Coppice's back, leftovers",
    fullDescription: withExamples(
      'Looks through a pool for what a person should know, and changes nothing. Exits with 0 when all is well, with 10 when there are warnings, with 11 when there are errors: run it from cron or monitoring.',
      'coppice pool check',
      'coppice pool check --json',
    ),
  },
  parameters: { flags: poolFlags, positional: { kind: 'tuple', parameters: [poolPathArgument] } },
  func: reporting(async (context, flags: PoolFlags, path?: string) => {
    const { withPool } = await import('../../session.ts');
    const pool = path ?? flags.pool;
    const findings = await withPool(context, pool === undefined ? {} : { pool }, (opened) => opened.check());
    print(context, flags, findings, () =>
      findings.length === 0
        ? 'All is well.'
        : findings.map((finding) => printable(`${finding.severity}: ${finding.message}`)).join('\n'),
    );
    if (findings.some((finding) => finding.severity === 'error')) context.process.exitCode = 11;
    else if (findings.length > 0) context.process.exitCode = 10;
  }),
});
