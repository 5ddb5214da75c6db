import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { runProgram } from '../../src/linux/programs.ts';
import type { Stage } from './scene.ts';

interface Failure {
  readonly seed: number;
  readonly scene: string;
  readonly driver: string;
  readonly round: number;
  readonly error: unknown;
}

/** Keeps what is needed to find out what went wrong; returns the directory. */
export function keepEvidence({ error, ...failure }: Failure & Stage['evidence']): string {
  const { histories, plan, image, ...facts } = failure;
  const directory = mkdtempSync(join(tmpdir(), `coppice-torture-${facts.seed}-${facts.round}-`));
  writeFileSync(join(directory, 'failure.txt'), `${JSON.stringify(facts)}\n${inspect(error)}\n`);
  writeFileSync(join(directory, 'plan.json'), toJson(plan ?? null, 1));
  const lines = histories.flatMap((events, lane) => events.map((event) => toJson({ lane, ...event })));
  writeFileSync(join(directory, 'history.jsonl'), `${lines.join('\n')}\n`);
  if (image !== undefined && existsSync(image))
    runProgram('cp', ['--sparse=always', '--', image, join(directory, 'pool.img')]);
  return directory;
}

function toJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? String(inner) : inner), indent);
}
