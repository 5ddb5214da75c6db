import { buildCommand, type Command } from '@stricli/core';
import type { PoliciesApplied } from '../../../engine/policy/apply.ts';
import type { VolumePolicy } from '../../../engine/policy/policies.ts';
import { note, print, printList, reporting } from '../../command.ts';
import { type CliContext, optionalWord, type PoolFlags, poolFlags, withExamples } from '../../context.ts';
import { properties, table } from '../../table.ts';
import { lineWidth } from '../../terminal.ts';
import { decisionTable } from './decision-table.ts';

export const policyShowCommand: Command<CliContext> = buildCommand<PoolFlags, [string?], CliContext>({
  docs: {
    brief: 'Show the policies of volumes',
    fullDescription: withExamples(
      'Shows which volumes have a policy, what it says and how far it has come; of one volume also each of its snapshots, and why it stays or would go now.',
      'coppice policy show',
      'coppice policy show crypt',
    ),
  },
  parameters: {
    flags: poolFlags,
    positional: { kind: 'tuple', parameters: [optionalWord('VOLUME', 'A volume', 'entry')] },
  },
  func: reporting(async (context, flags: PoolFlags, volume?: string) => {
    const { withPool } = await import('../../session.ts');
    const width = lineWidth(context.process.stdout, context.process);
    if (volume !== undefined) {
      const [policy, outlook] = await withPool(context, flags, async (pool) => {
        const told = await pool.applyPolicies({ volumes: [volume], dryRun: true });
        return [(await pool.policies()).find((each) => each.volume === volume), told] as const;
      });
      const { decisions } = outlook;
      print(context, flags, { ...(policy && { policy }), decisions }, () =>
        describe(volume, policy, outlook, width),
      );
      return;
    }
    const policies = await withPool(context, flags, (pool) => pool.policies());
    const nothing =
      'No volume has a policy; "coppice set VOLUME policy.hourly=24 policy.daily=7" gives it one.';
    printList(context, flags, { result: policies, rows: policies, nothing }, (rows) =>
      table(
        rows,
        [
          { title: 'VOLUME', value: (row) => row.volume, shortens: true },
          { title: 'SCHEDULE', value: (row) => row.schedule ?? 'none', givesWay: 3 },
          { title: 'KEEPS', value: keeps },
          { title: 'SNAPSHOTS', value: (row) => String(row.snapshots), align: 'right', givesWay: 2 },
          { title: 'LAST', value: (row) => utc(row.newest), givesWay: 1 },
        ],
        width,
      ),
    );
    if (!flags.json)
      for (const { volume: name, problem } of policies)
        if (problem) note(context, `coppice: warning: ${name}: ${problem.message}`);
  }),
});

function describe(
  volume: string,
  policy: VolumePolicy | undefined,
  outlook: PoliciesApplied,
  width: number | undefined,
): string {
  const about: Array<readonly [string, string | undefined]> = policy
    ? [
        ['Schedule', policy.schedule ?? 'none'],
        ['Keeps', keeps(policy)],
        ['Last', utc(policy.newest)],
        ['Due', policy.isDue ? 'now' : 'no'],
        ['Proves', policy.settings['policy.verify']],
        ['Problem', policy.problem?.message],
      ]
    : [['Policy', 'none']];
  const rows = decisionTable(outlook, width);
  return [properties([['Volume', volume], ...about]), ...(rows === '' ? [] : ['', rows])].join('\n');
}

/** What it keeps, with the limits to that. */
function keeps({ keeps: numbers, settings, problem }: VolumePolicy): string {
  if (problem) return 'not understood';
  const parts = [
    numbers,
    settings['policy.max-age'] && `not older than ${settings['policy.max-age']}`,
    settings['policy.min-free'] && `while ${settings['policy.min-free']} are free`,
    settings['policy.keep-at-least'] && `at least ${settings['policy.keep-at-least']}`,
  ].filter((part) => part);
  return parts.length === 0 ? 'all' : parts.join(', ');
}

/** As policies count: in UTC, to the minute. */
function utc(time: string | undefined): string {
  return time === undefined ? '-' : `${time.slice(0, 16).replace('T', ' ')}Z`;
}
