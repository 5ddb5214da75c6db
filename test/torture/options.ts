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

const text = { type: 'string' } as const;
const flags = { minutes: text, seed: text, driver: text, volumes: text, scene: text, round: text } as const;

/** @throws Error with what to write instead */
export function parseOptions(args: readonly string[], scenes: readonly string[]): Options {
  const usage = `npm run torture -- [--minutes 60] [--seed N] [--driver btrfs|xfs] [--scene ${scenes.join('|')}] [--volumes 20000] [--round N]`;
  const { values } = parse(args, usage);
  const { driver, scene } = values;
  if (driver !== undefined && driver !== 'btrfs' && driver !== 'xfs')
    throw new Error(`There is no driver ${driver}: ${usage}`);
  if (scene !== undefined && !scenes.includes(scene)) throw new Error(`There is no scene ${scene}: ${usage}`);
  const numberOf = (name: string, value: string): number => {
    const number = Number(value);
    if (value.trim() !== '' && number >= 0) return number;
    throw new Error(`--${name} ${value} is no number: ${usage}`);
  };
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

function parse(args: readonly string[], usage: string) {
  try {
    return parseArgs({ args: [...args], options: flags });
  } catch (cause) {
    throw new Error(usage, { cause });
  }
}
