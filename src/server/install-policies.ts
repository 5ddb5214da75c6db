import { join, resolve } from 'node:path';
import { requireOurs, write } from './install/own-file.ts';
import {
  policyMarker,
  policyService,
  policyTimer,
  verifyService,
  verifyTimer,
} from './install/policy-units.ts';

const usualUnitDirectory = '/etc/systemd/system';

export interface InstallPoliciesOptions {
  /** Where each pool is. */
  readonly pools: readonly string[];
  readonly unitDirectory?: string;
  readonly dryRun: boolean;
}

export interface PolicyUnits {
  readonly files: ReadonlyArray<{ readonly file: string; readonly text: string }>;
  /** What was done with each, in words; absent in a dry run. */
  readonly written?: readonly string[];
  readonly nextSteps: readonly string[];
}

/**
 * Has systemd apply policies every five minutes, and look every hour whether a snapshot is to be proven. Run again it replaces what it has written itself, and nothing else.
 * @throws CoppiceError already_exists when somebody else has written one of the files, invalid_argument for a path that no unit can say
 */
export function installPolicies(process: NodeJS.Process, options: InstallPoliciesOptions): PolicyUnits {
  const { unitDirectory = usualUnitDirectory, dryRun } = options;
  const pools = options.pools.map((path) => (path.startsWith('zfs:') ? path : resolve(path)));
  const at = (name: string): string => join(resolve(unitDirectory), name);
  const files = [
    { file: at('coppice-policy.service'), text: policyService(process, pools) },
    { file: at('coppice-policy.timer'), text: policyTimer() },
    { file: at('coppice-verify.service'), text: verifyService(process, pools) },
    { file: at('coppice-verify.timer'), text: verifyTimer() },
  ];
  for (const { file } of files) requireOurs(file, policyMarker, 'coppice policy install');
  const enabling =
    'systemctl daemon-reload && systemctl enable --now coppice-policy.timer coppice-verify.timer';
  const elsewhere =
    options.unitDirectory === undefined
      ? []
      : [`Copy all to ${usualUnitDirectory} of the machine that is to run them. Then, there:`];
  const nextSteps = [...elsewhere, enabling, "systemctl list-timers 'coppice-*'"];
  if (dryRun) return { files, nextSteps };
  return { files, written: files.map(({ file, text }) => write(file, text)), nextSteps };
}
