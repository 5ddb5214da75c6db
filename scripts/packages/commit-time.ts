import { spawnSync } from 'node:child_process';

/**
 * The time that packages carry instead of the time of their making: seconds since 1970, from SOURCE_DATE_EPOCH
 * (https://reproducible-builds.org/specs/source-date-epoch/) or of the last commit.
 */
export function commitTime(): number {
  const given = process.env['SOURCE_DATE_EPOCH'] ?? lastCommit();
  if (!/^\d{1,10}$/.test(given)) {
    throw new Error(
      `There is no time to put into the packages: '${given}' is none; set SOURCE_DATE_EPOCH to seconds since 1970.`,
    );
  }
  return Number(given);
}

/** Empty where this is no clone of a repository. */
function lastCommit(): string {
  const { stdout } = spawnSync('git', ['log', '-1', '--format=%ct'], { encoding: 'utf8' });
  return stdout?.trim() ?? '';
}
