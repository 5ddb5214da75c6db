import { parseArgs } from 'node:util';

export type DriverName = 'btrfs' | 'xfs';

export interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly drivers: readonly DriverName[];
  /** How many volumes there are where there are many. */
  readonly volumes: number;
  /** Only this scene, or this round. */
  readonly scene?: string;
  readonly round?: number;
}

export const usage = `npm run torture -- [--minutes 60] [--seed N] [--driver btrfs|xfs] [--volumes 20000] [--scene NAME] [--round N]`;

export function parseOptions(args: readonly string[]): Options {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args: [...args],
    options: { minutes: text, seed: text, driver: text, volumes: text, scene: text, round: text },
  });
  const { driver, scene } = values;
  if (driver !== undefined && driver !== 'btrfs' && driver !== 'xfs')
    throw new Error(`${driver} is no driver; ${usage}`);
  const round = values.round === undefined ? undefined : numberOf('round', values.round);
  return {
    minutes: numberOf('minutes', values.minutes ?? '60'),
    seed: numberOf('seed', values.seed ?? String(Math.floor(Math.random() * 2 ** 31))),
    drivers: driver === undefined ? ['btrfs', 'xfs'] : [driver],
    volumes: numberOf('volumes', values.volumes ?? '20000'),
    ...(scene !== undefined && { scene }),
    ...(round !== undefined && { round }),
  };
}

function numberOf(name: string, value: string): number {
  const number = Number(value);
  if (value.trim() === '' || !(number >= 0)) throw new Error(`--${name} ${value} is no number; ${usage}`);
  return number;
}
