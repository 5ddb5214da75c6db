import { buildCommand, type Command } from '@stricli/core';
import { print, reporting } from '../../command.ts';
import { type CliContext, jsonFlag, optionalText, toggle, withExamples } from '../../context.ts';
import { poolPath } from '../../pool-path.ts';

interface Flags {
  readonly pool?: readonly string[];
  readonly json: boolean;
  readonly dryRun: boolean;
  readonly unitDirectory?: string;
}

export const policyInstallCommand: Command<CliContext> = buildCommand<Flags, [], CliContext>({
  docs: {
    brief: 'Have systemd apply policies by itself',
    fullDescription: withExamples(
      'Writes coppice-policy.service and .timer, which apply policies every five minutes, and coppice-verify.service and .timer, which prove what is due, and says how to start them. A host that runs "coppice serve" needs them not: the daemon does both for its pools by itself; both together do no harm.',
      'coppice policy install',
      'coppice policy install --pool /var/lib/coppice --pool zfs:vmpool',
      'coppice policy install --dry-run',
    ),
  },
  parameters: {
    flags: {
      pool: {
        ...optionalText(
          'PATH',
          'Directory of a pool, or zfs:DATASET [default = $COPPICE_POOL, else /var/lib/coppice]',
          'directory',
        ),
        variadic: true,
      },
      json: jsonFlag,
      dryRun: toggle('Print what would be written, and change nothing'),
      unitDirectory: optionalText(
        'PATH',
        'Where to write the units, for tests and for images of other machines [default = /etc/systemd/system]',
        'directory',
      ),
    },
    positional: { kind: 'tuple', parameters: [] },
  },
  func: reporting(async (context, flags: Flags) => {
    const { installPolicies } = await import('../../../server/install-policies.ts');
    const { dryRun, unitDirectory, pool = [] } = flags;
    const pools = pool.length > 0 ? pool : [poolPath(context, undefined)];
    const result = installPolicies(context.process, {
      pools,
      dryRun,
      ...(unitDirectory !== undefined && { unitDirectory }),
    });
    const { files, written, nextSteps } = result;
    print(context, flags, result, () =>
      dryRun
        ? files.map(({ file, text }) => `# ${file}\n${text}`).join('\n')
        : [...(written ?? []), '', 'Then:', ...nextSteps.map((step) => `  ${step}`)].join('\n'),
    );
  }),
});
