import type { Event } from '../support/histories.ts';
import type { DriverName } from './options.ts';

/** What a scene is given: everything that is by chance in it comes from `random`. */
export interface Stage {
  readonly driver: DriverName;
  readonly random: () => number;
  readonly volumes: number;
  /** What is undone at the end; when the scene fails, after the evidence was kept. */
  readonly owned: AsyncDisposableStack;
  /** For the summary: adds up over all rounds. */
  count(what: string, times?: number): void;
  /** Kept when the scene fails: what was done, and the file with the pool. */
  readonly evidence: { histories: ReadonlyArray<readonly Event[]>; plan?: unknown; image?: string };
}

/** @throws whatever is wrong */
export interface Scene {
  readonly name: string;
  play(stage: Stage): Promise<void>;
}

export function between(random: () => number, least: number, most: number): number {
  return least + Math.floor(random() * (most - least + 1));
}
